//! Files with content that no part of can be mistaken for another, and comparing them.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use crate::wire::random::Random;

const CHUNK: usize = 1 << 20;

/// Writes a file of `size` bytes. The same seed gives the same content.
pub fn write(path: &Path, size: u64, seed: u64) {
    let mut random = Random::new(seed);
    let mut file =
        BufWriter::with_capacity(CHUNK, File::create(path).expect("cannot make a test file"));
    for _ in 0..size / 8 {
        file.write_all(&random.bits().to_le_bytes())
            .expect("cannot write a test file");
    }
    let rest = (size % 8) as usize;
    file.write_all(&random.bits().to_le_bytes()[..rest])
        .expect("cannot write a test file");
    file.flush().expect("cannot write a test file");
}

/// The two files are equal, byte for byte.
///
/// # Panics
/// With the first place where they differ.
#[track_caller]
pub fn assert_same(expected: &Path, found: &Path) {
    let sizes = [expected, found].map(|path| {
        std::fs::metadata(path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            .len()
    });
    assert_eq!(
        sizes[0],
        sizes[1],
        "{} and {} differ in size",
        expected.display(),
        found.display()
    );
    let [mut left, mut right] =
        [expected, found].map(|path| File::open(path).expect("cannot open a test file"));
    let (mut a, mut b) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut offset = 0;
    while offset < sizes[0] {
        let length = (sizes[0] - offset).min(CHUNK as u64) as usize;
        left.read_exact(&mut a[..length])
            .expect("cannot read a test file");
        right
            .read_exact(&mut b[..length])
            .expect("cannot read a test file");
        if a[..length] != b[..length] {
            let place = (0..length).find(|i| a[*i] != b[*i]).unwrap_or_default() as u64 + offset;
            panic!(
                "{} differs from {} from byte {place} on",
                found.display(),
                expected.display()
            );
        }
        offset += length as u64;
    }
}

/// The names in a directory, sorted.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry
            .expect("cannot read a directory")
            .file_name()
            .to_string_lossy()
            .into_owned()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}
