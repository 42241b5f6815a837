//! Files with holes: they neither travel nor take space.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use super::support::client::{Outcome, blkcp};
use super::support::daemon::Daemon;
use super::support::hosts::{Hosts, Link};
use super::support::{Directory, files, must, ready};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// A file of `size` bytes with data in so many places, `len` bytes each.
fn make(path: &Path, size: u64, places: u64, len: u64) {
    let file = File::create(path).expect("cannot make a sparse file");
    file.set_len(size).expect("cannot size a sparse file");
    let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8 + 1).collect();
    for place in 0..places {
        let at = place * (size / places) + 8 * KIB;
        file.write_all_at(&bytes, at)
            .expect("cannot fill a sparse file");
    }
    file.sync_all().expect("cannot sync a sparse file");
}

/// Gets a file of the export; what blkcp said. The copy has the same bytes and takes no more space.
fn get(hosts: &Hosts, directory: &Directory, name: &str) -> Outcome {
    let (source, back) = (
        directory.join("export").join(name),
        directory.subdirectory("back").join(name),
    );
    let remote = format!("10.77.0.1:data/{name}");
    let got = blkcp(
        hosts,
        directory,
        &[&remote, back.to_str().expect("test files have plain paths")],
    );
    got.ok();
    must(Command::new("cmp").arg(&source).arg(&back));
    let (there, here) = (
        std::fs::metadata(&source).expect("the source is there"),
        std::fs::metadata(&back).expect("the copy is there"),
    );
    // In units of 512 bytes. The file system's own blocks, for long lists of extents, come in another order.
    let (blocks, most) = (here.blocks(), there.blocks() + 512);
    assert!(blocks <= most, "{name}: {blocks} blocks, not {most}");
    assert_eq!((here.len(), here.mtime()), (there.len(), there.mtime()));
    got
}

#[test]
fn holes_of_a_get_neither_travel_nor_take_space() {
    if !ready("holes_of_a_get_neither_travel_nor_take_space") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let hosts = Hosts::up(Link::of(3498));
    let _daemon = Daemon::start(&hosts, &export, &directory);
    // 8 MiB of data in 1 GiB.
    make(&export.join("gib"), 1024 * MIB, 64, 128 * KIB);
    let got = get(&hosts, &directory, "gib");
    assert_eq!(got.number("bytes"), 1024 * MIB);
    let written = got.number("zero_copy_bytes") + got.number("copied_bytes");
    assert_eq!(written, 8 * MIB);
    // Data to the end, which is no whole page.
    make(&export.join("end"), 20 * MIB + 777, 1, 19 * MIB);
    get(&hosts, &directory, "end");
    // A hole to the end, and nothing but a hole.
    make(&export.join("start"), 20 * MIB + 777, 4, 100);
    get(&hosts, &directory, "start");
    make(&export.join("hole"), 3 * MIB + 5, 0, 0);
    let hole = get(&hosts, &directory, "hole");
    assert_eq!(
        hole.number("zero_copy_bytes") + hole.number("copied_bytes"),
        0
    );
    // No holes.
    files::write(&export.join("whole"), 5 * MIB + 1, 3);
    let whole = get(&hosts, &directory, "whole");
    let written = whole.number("zero_copy_bytes") + whole.number("copied_bytes");
    assert_eq!(written, 5 * MIB + 1);
}

#[test]
fn any_number_of_holes_is_kept() {
    if !ready("any_number_of_holes_is_kept") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let hosts = Hosts::up(Link::of(3498));
    let _daemon = Daemon::start(&hosts, &export, &directory);
    // More than fit one request, and more than one reception remembers.
    for places in [1500, 5000] {
        let name = format!("file-{places}");
        make(&export.join(&name), places * 64 * KIB, places, 4 * KIB);
        let got = get(&hosts, &directory, &name);
        let written = got.number("zero_copy_bytes") + got.number("copied_bytes");
        assert_eq!(written, places * 4 * KIB);
    }
}
