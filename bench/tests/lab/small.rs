//! A tree of many small files and some large ones, there and back.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::support::client::blkcp;
use super::support::daemon::Daemon;
use super::support::hosts::{Hosts, Link};
use super::support::{Directory, files, ready};

const DIRECTORIES: u64 = 10;
const IN_EACH: u64 = 300;
/// Besides the small ones.
const LARGE: [u64; 3] = [32 * 1024 + 1, 1 << 20, (5 << 20) + 7];

/// Makes the tree; how many files it has.
fn tree(root: &Path) -> u64 {
    for directory in 0..DIRECTORIES {
        let directory = root.join(format!("d{directory}"));
        fs::create_dir_all(&directory).expect("cannot make a test directory");
        for number in 0..IN_EACH {
            // Every size around a page, and some up to the largest small one.
            let size = [0, 1, 4095, 4096, 4097, 100, 9000, 32 * 1024][(number % 8) as usize];
            let path = directory.join(format!("f{number}"));
            files::write(&path, size, number);
            let mode = fs::Permissions::from_mode(if number % 2 == 0 { 0o640 } else { 0o755 });
            fs::set_permissions(&path, mode).expect("cannot set the mode of a test file");
        }
    }
    for (number, size) in LARGE.into_iter().enumerate() {
        files::write(&root.join(format!("large{number}")), size, 7);
    }
    DIRECTORIES * IN_EACH + LARGE.len() as u64
}

/// Both trees are the same: names, bytes, modes and times.
fn assert_same_tree(expected: &Path, found: &Path) {
    assert_eq!(files::names(expected), files::names(found));
    for name in files::names(expected) {
        let (one, other) = (expected.join(&name), found.join(&name));
        let look = |path: &Path| fs::metadata(path).expect("cannot look at a test file");
        let (left, right) = (look(&one), look(&other));
        if left.is_dir() {
            assert_same_tree(&one, &other);
            continue;
        }
        files::assert_same(&one, &other);
        let facts = |of: &fs::Metadata| (of.mode(), of.mtime(), of.mtime_nsec(), of.nlink());
        assert_eq!(facts(&left), facts(&right), "{}", other.display());
    }
}

#[test]
fn a_tree_of_small_files_comes_whole_with_few_syncs() {
    if !ready("a_tree_of_small_files_comes_whole_with_few_syncs") {
        return;
    }
    let directory = Directory::new();
    let hosts = Hosts::up(Link::of(9000));
    let (source, back) = (directory.subdirectory("source"), directory.join("back"));
    let export = directory.subdirectory("export");
    let count = tree(&source);
    let daemon = Daemon::start(&hosts, &export, &directory);
    let plain = |path: &Path| {
        path.to_str()
            .expect("test files have plain paths")
            .to_owned()
    };
    // The second time every file is replaced.
    for _ in 0..2 {
        let put = blkcp(
            &hosts,
            &directory,
            &[
                "-r".to_owned(),
                plain(&source.join("")),
                "10.77.0.1:data/tree".to_owned(),
            ],
        );
        put.ok();
        assert_eq!(put.number("files"), count);
        assert_same_tree(&source, &export.join("tree"));
    }
    let stats = daemon.statistics();
    let small = 2 * DIRECTORIES * IN_EACH;
    assert_eq!(stats["small_files"], small);
    assert_eq!(stats["small_failed"], 0);
    let syncs = stats["small_syncfs"] + stats["small_fsyncs"];
    assert!(syncs < small / 10, "{syncs} syncs for {small} files");
    let got = blkcp(
        &hosts,
        &directory,
        &[
            "-r".to_owned(),
            "10.77.0.1:data/tree/".to_owned(),
            plain(&back),
        ],
    );
    got.ok();
    assert_eq!(got.number("files"), count);
    assert_same_tree(&source, &back);
}

#[test]
fn small_files_that_find_no_room_are_told() {
    if !ready("small_files_that_find_no_room_are_told") {
        return;
    }
    let mut directory = Directory::new();
    let disk = directory.small_disk("disk", 8);
    let hosts = Hosts::up(Link::of(9000));
    let source = directory.subdirectory("source");
    for number in 0..400 {
        files::write(&source.join(format!("f{number}")), 32 * 1024, number);
    }
    let _daemon = Daemon::start(&hosts, &disk, &directory);
    let content = source.join("");
    let source = content.to_str().expect("test files have plain paths");
    blkcp(&hosts, &directory, &["-r", source, "10.77.0.1:data/tree"]).fails(8, &["no space left"]);
    // What has a name is whole.
    for name in files::names(&disk.join("tree")) {
        files::assert_same(
            &Path::new(source).join(&name),
            &disk.join("tree").join(&name),
        );
    }
}
