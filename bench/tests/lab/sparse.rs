//! Files with holes: they arrive with them.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::support::client::{Outcome, blkcp};
use super::support::daemon::Daemon;
use super::support::hosts::{Hosts, Link};
use super::support::{Directory, files, ready};

const MIB: u64 = 1 << 20;

/// What a file system may take beside the data: blocks of its own for long lists of extents, and whole pages.
const AROUND: u64 = 256 << 10;

struct Scene {
    _daemon: Daemon,
    hosts: Hosts,
    export: PathBuf,
    directory: Directory,
}

impl Scene {
    fn new() -> Self {
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        let hosts = Hosts::up(Link::of(3498));
        Self {
            _daemon: Daemon::start(&hosts, &export, &directory),
            hosts,
            export,
            directory,
        }
    }

    /// Puts a file of `size` bytes with data at these offsets, `len` bytes at each.
    fn put(&self, size: u64, data: &[u64], len: usize) -> Outcome {
        let path = self.directory.join("file");
        let file = File::create(&path).expect("cannot make a test file");
        file.set_len(size).expect("cannot make a test file");
        for (number, offset) in data.iter().enumerate() {
            let bytes: Vec<u8> = (0..len).map(|at| (at * 7 + number) as u8 | 1).collect();
            file.write_all_at(&bytes, *offset)
                .expect("cannot write a test file");
        }
        file.sync_all().expect("cannot write a test file");
        let source = path.to_str().expect("test files have plain paths");
        let outcome = blkcp(
            &self.hosts,
            &self.directory,
            &[source, "10.77.0.1:data/file"],
        );
        outcome.ok();
        files::assert_same(&path, &self.export.join("file"));
        outcome
    }

    /// Bytes that the stored file takes.
    fn taken(&self) -> u64 {
        space(&self.export.join("file"))
    }
}

fn space(path: &Path) -> u64 {
    let metadata = path.metadata().expect("the file is there");
    metadata.blocks() * 512
}

#[test]
fn holes_stay_holes() {
    if !ready("holes_stay_holes") {
        return;
    }
    let scene = Scene::new();
    // A hole in front, between, and at an end that is no whole page; data that begins and ends within pages.
    let outcome = scene.put(64 * MIB + 5, &[8 * MIB + 100, 40 * MIB], MIB as usize);
    assert!(
        scene.taken() <= 2 * MIB + AROUND,
        "{} bytes taken",
        scene.taken()
    );
    let written = outcome.number("zero_copy_bytes") + outcome.number("copied_bytes");
    assert!(written <= 2 * MIB + AROUND, "{written} bytes sent");
    // Data up to the end.
    scene.put(16 * MIB + 5, &[16 * MIB - 100], 105);
    assert!(scene.taken() <= AROUND, "{} bytes taken", scene.taken());
}

#[test]
fn a_file_may_be_nothing_but_a_hole() {
    if !ready("a_file_may_be_nothing_but_a_hole") {
        return;
    }
    let scene = Scene::new();
    // Larger than the disk.
    let size = (1 << 40) + 5;
    let path = scene.directory.join("file");
    let file = File::create(&path).expect("cannot make a test file");
    file.set_len(size).expect("cannot make a test file");
    let source = path.to_str().expect("test files have plain paths");
    let put = blkcp(
        &scene.hosts,
        &scene.directory,
        &[source, "10.77.0.1:data/file"],
    );
    put.ok();
    assert_eq!(put.number("bytes"), size);
    let stored = scene.export.join("file").metadata();
    let stored = stored.expect("the file is there");
    assert_eq!(stored.len(), size);
    assert!(scene.taken() <= AROUND, "{} bytes taken", scene.taken());
}

#[test]
fn of_very_many_holes_some_are_filled() {
    if !ready("of_very_many_holes_some_are_filled") {
        return;
    }
    let scene = Scene::new();
    // 4096 holes, of which one request tells 1024: the larger ones.
    let data: Vec<u64> = (0..4096)
        .map(|n| n * 16384 + if n % 4 == 0 { 8192 } else { 0 })
        .collect();
    scene.put(64 * MIB, &data, 4096);
    assert!(
        scene.taken() < 64 * MIB,
        "{} bytes taken, and no hole is left",
        scene.taken()
    );
}
