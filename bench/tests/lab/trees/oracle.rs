//! Generated trees, copied by blkcp and looked at by rsync: it must find nothing left to do.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::support::{nothing_missing, ready};
use super::{Scene, lines};

const TREES: u64 = 25;

/// Numbers that are the same at every run (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ bits >> 31) % end
    }

    /// A name of a few, so that trees of the same place meet the same names.
    fn name(&mut self) -> OsString {
        const NAMES: [&[u8]; 10] = [
            b"a",
            b"b",
            b"c.o",
            b"two words",
            b"new\nline",
            b"\xff\xfe",
            b"-dash",
            b"#hash",
            b"[x]*",
            b"\xc3\xa4",
        ];
        OsString::from_vec(NAMES[self.below(10) as usize].to_vec())
    }
}

/// Changes a tree, or makes one: files, holes, links, directories, modes; and removes some of what was there.
fn grow(root: &Path, numbers: &mut Numbers) {
    for _ in 0..numbers.below(14) {
        let mut place: PathBuf = root.to_owned();
        for _ in 0..numbers.below(4) {
            place.push(numbers.name());
        }
        if fs::create_dir_all(&place).is_err() {
            continue;
        }
        let path = place.join(numbers.name());
        let mode =
            fs::Permissions::from_mode([0o644, 0o600, 0o755, 0o500][numbers.below(4) as usize]);
        let there = fs::symlink_metadata(&path).ok();
        match (numbers.below(6), there) {
            (0, None) => symlink(numbers.name(), &path).expect("cannot make a link"),
            (1, None) => fs::create_dir(&path).expect("cannot make a directory"),
            (2, Some(found)) if found.is_dir() => fs::remove_dir_all(&path).expect("cannot remove"),
            (2 | 3, Some(found)) if !found.is_dir() => {
                fs::remove_file(&path).expect("cannot remove")
            }
            (_, found) if found.as_ref().is_none_or(fs::Metadata::is_file) => {
                let file = fs::File::create(&path).expect("cannot make a file");
                let size = [0, 1, 4096, 40_000, 5 << 20][numbers.below(5) as usize];
                file.set_len(size).expect("cannot size a file");
                let byte = [numbers.below(256) as u8];
                if size > 0 {
                    file.write_at(&byte, numbers.below(size))
                        .expect("cannot write");
                }
                file.set_permissions(mode).expect("cannot set a mode");
            }
            _ => {}
        }
    }
}

/// What rsync would do to make `to` as `from` is, its lines sorted; what it sends is written as blkcp writes what it does.
fn rsync(from: &Path, to: &Path, options: &[&str], way: char) -> Vec<String> {
    let output = Command::new("rsync")
        .env("LC_ALL", "C.UTF-8")
        .args(["-an", "--delete", "--out-format=%i %n%L"])
        .args(options)
        .args([from.join(""), to.join("")])
        .output()
        .expect("cannot run rsync");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8_lossy(&output.stdout);
    let sent = |line: &str| match (line.strip_prefix('>'), line.starts_with("cLc")) {
        (Some(rest), _) => format!("{way}{rest}"),
        (_, true) => format!("cLc........{}", &line[11..]),
        _ => line.to_owned(),
    };
    // blkcp leaves times of links.
    let wanted = text.lines().filter(|line| !line.starts_with(".L"));
    let mut lines: Vec<String> = wanted.map(sent).collect();
    lines.sort();
    lines
}

#[test]
fn rsync_finds_nothing_left_to_do() {
    let test = "rsync_finds_nothing_left_to_do";
    let has = Command::new("rsync").arg("--version").output().is_ok();
    let missing = (!has).then(|| "rsync is not installed".to_owned());
    if !ready(test) || !nothing_missing(test, missing) {
        return;
    }
    let scene = Scene::new();
    let (there, back) = (scene.export.join("t"), scene.directory.join("back"));
    fs::create_dir(&there).expect("cannot make a test directory");
    fs::create_dir(&back).expect("cannot make a test directory");
    let mut changes = 0;
    for seed in 0..TREES {
        grow(&scene.source, &mut Numbers(seed));
        // Each tree over the one before: much is to be made, replaced and deleted.
        for (words, from, to, way) in [
            (["/source/", "@t"], &scene.source, &there, '<'),
            (["@t/", "/back"], &there, &back, '>'),
        ] {
            let expected = rsync(from, to, &[], way);
            let dry = scene.run(&[&["-ani", "--delete"], &words[..]].concat());
            // What is replaced by something of another kind is told in other lines.
            let of_one_kind = replaced(from, to).is_empty();
            if of_one_kind {
                // rsync looks at whole seconds of directories.
                let changed = |lines: &[String]| {
                    let own = lines.iter().filter(|line| !line.starts_with(".d"));
                    own.cloned().collect::<Vec<_>>()
                };
                assert_eq!(changed(&lines(dry.ok())), changed(&expected), "tree {seed}");
            }
            changes += expected.len();
            scene.run(&[&["-a", "--delete"], &words[..]].concat()).ok();
            let left = rsync(from, to, &["--checksum"], way);
            assert!(left.is_empty(), "tree {seed}, {words:?}: {left:#?}");
        }
    }
    assert!(changes > 500, "only {changes} changes");
}

/// Names of another kind at both ends.
fn replaced(from: &Path, to: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        let (one, other) = (entry.path(), to.join(entry.file_name()));
        let kind = |path: &Path| {
            fs::symlink_metadata(path)
                .map(|found| found.file_type())
                .ok()
        };
        match (kind(&one), kind(&other)) {
            (Some(here), Some(there)) if here != there => found.push(other),
            (Some(here), Some(_)) if here.is_dir() => found.extend(replaced(&one, &other)),
            _ => {}
        }
    }
    found
}
