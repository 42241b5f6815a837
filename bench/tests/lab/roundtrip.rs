//! Files there and back, byte for byte, on a clean link.

use std::path::Path;

use super::support::client::{Outcome, blkcp};
use super::support::daemon::Daemon;
use super::support::hosts::{Hosts, Link};
use super::support::{Directory, files, ready};

/// Around the sizes of sectors, pages and gather writes.
const SIZES: [u64; 11] = [
    0,
    1,
    511,
    512,
    513,
    4095,
    4096,
    4097,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
];

/// 2 GiB in CI, else something quicker.
fn big() -> u64 {
    let wanted = ["CI", "BLK_TEST_BIG"]
        .iter()
        .any(|name| std::env::var(name).is_ok_and(|v| v == "1" || v == "true"));
    if wanted { 2 << 30 } else { 256 << 20 }
}

/// Puts a file under `host:data/NAME` and gets it back; both copies are right. Gives what blkcp said about each.
fn there_and_back(
    hosts: &Hosts,
    directory: &Directory,
    host: &str,
    source: &Path,
) -> (Outcome, Outcome) {
    let name = source
        .file_name()
        .and_then(|name| name.to_str())
        .expect("test files have plain names");
    let remote = format!("{host}:data/{name}");
    let back = directory.subdirectory("back").join(name);
    let put = blkcp(
        hosts,
        directory,
        &[
            source.to_str().expect("test files have plain paths"),
            &remote,
        ],
    );
    put.ok();
    files::assert_same(source, &directory.join("export").join(name));
    let got = blkcp(
        hosts,
        directory,
        &[&remote, back.to_str().expect("test files have plain paths")],
    );
    got.ok();
    files::assert_same(source, &back);
    (put, got)
}

/// Every size on one link.
fn every_size(test: &str, mtu: u32, host: &str) {
    if !ready(test) {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let hosts = Hosts::up(Link::of(mtu));
    let _daemon = Daemon::start(&hosts, &export, &directory);
    for size in SIZES {
        let source = directory.join(&format!("file-{size}"));
        files::write(&source, size, size + u64::from(mtu));
        let (put, got) = there_and_back(&hosts, &directory, host, &source);
        for outcome in [put, got] {
            assert_eq!(outcome.number("bytes"), size);
            assert_eq!(outcome.number("files"), 1);
        }
    }
}

/// The largest file on one link. Gives what the put counted.
fn one_big_file(mtu: u32) -> Outcome {
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let hosts = Hosts::up(Link::of(mtu));
    let _daemon = Daemon::start(&hosts, &export, &directory);
    let source = directory.join("big");
    // Not a whole number of sectors.
    files::write(&source, big() + 1_000, u64::from(mtu));
    let (put, _) = there_and_back(&hosts, &directory, "10.77.0.1", &source);
    put
}

#[test]
fn every_size_at_mtu_1500() {
    every_size("every_size_at_mtu_1500", 1500, "10.77.0.1");
}

#[test]
fn every_size_at_mtu_3498() {
    every_size("every_size_at_mtu_3498", 3498, "10.77.0.1");
}

#[test]
fn every_size_at_mtu_9000() {
    every_size("every_size_at_mtu_9000", 9000, "10.77.0.1");
}

#[test]
fn every_size_over_ipv6() {
    every_size("every_size_over_ipv6", 3498, "[fd77::1]");
}

#[test]
fn a_big_file_at_mtu_1500() {
    if ready("a_big_file_at_mtu_1500") {
        one_big_file(1500);
    }
}

#[test]
fn a_big_file_at_mtu_9000() {
    if ready("a_big_file_at_mtu_9000") {
        one_big_file(9000);
    }
}

#[test]
fn a_big_file_at_mtu_3498_goes_from_frame_to_disk() {
    if !ready("a_big_file_at_mtu_3498_goes_from_frame_to_disk") {
        return;
    }
    let put = one_big_file(3498);
    let (direct, copied) = (put.number("zero_copy_bytes"), put.number("copied_bytes"));
    assert_eq!(
        direct + copied,
        big() + 1_000,
        "the counters do not add up to the file"
    );
    assert!(
        direct * 100 >= (direct + copied) * 95,
        "{direct} bytes of {} without a copy",
        direct + copied
    );
}

#[test]
fn a_tree_keeps_its_names_and_content() {
    if !ready("a_tree_keeps_its_names_and_content") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let tree = directory.subdirectory("tree");
    for folder in ["empty", "deep/er/still", "with space", "ünïcode"] {
        std::fs::create_dir_all(tree.join(folder)).expect("cannot make a test directory");
    }
    let names = [
        "a",
        "deep/er/still/b",
        "with space/c d",
        "ünïcode/é",
        ".hidden",
        "deep/-dash",
    ];
    for (seed, name) in names.iter().enumerate() {
        files::write(&tree.join(name), 10_000 * seed as u64 + 7, seed as u64);
    }
    let hosts = Hosts::up(Link::of(3498));
    let _daemon = Daemon::start(&hosts, &export, &directory);
    let back = directory.join("back");
    let path = |path: &Path| {
        path.to_str()
            .expect("test files have plain paths")
            .to_owned()
    };
    let put = blkcp(
        &hosts,
        &directory,
        &["-r", &path(&tree), "10.77.0.1:data/new/parent"],
    );
    put.ok();
    assert_eq!(put.number("files"), names.len() as u64);
    blkcp(
        &hosts,
        &directory,
        &["-r", "10.77.0.1:data/new/parent/tree/", &path(&back)],
    )
    .ok();
    for copy in [export.join("new/parent/tree"), back] {
        for name in names {
            files::assert_same(&tree.join(name), &copy.join(name));
        }
        assert!(copy.join("empty").is_dir(), "an empty directory was lost");
        assert_eq!(files::names(&copy), files::names(&tree));
    }
}

#[test]
fn a_put_replaces_the_old_file() {
    if !ready("a_put_replaces_the_old_file") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    files::write(&export.join("file"), 100_000, 1);
    let source = directory.join("file");
    files::write(&source, 5_000, 2);
    let hosts = Hosts::up(Link::of(1500));
    let _daemon = Daemon::start(&hosts, &export, &directory);
    there_and_back(&hosts, &directory, "10.77.0.1", &source);
    assert_eq!(files::names(&export), ["file"]);
}
