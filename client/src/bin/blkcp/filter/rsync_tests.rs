//! The oracle: rsync itself, asked what it would copy of generated trees under generated filters.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::{FilesFrom, Filter};
use crate::plan::{Found, Selection, look, scan_local};
use blk_proto::message::FileKind;

const TREES: usize = 200;

/// Names that patterns meet often, and some that are hard to write down.
fn component() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => "[ab]{1,2}(\\.o)?".prop_map(String::into_bytes),
        1 => Just(b"a b".to_vec()),
        1 => Just(b"\xff\n".to_vec()),
        1 => Just(b"[a]".to_vec()),
        1 => Just(b"a\\b".to_vec()),
        1 => Just("\u{e4}".as_bytes().to_vec()),
    ]
}

/// Relative paths and whether each is a directory.
fn names() -> impl Strategy<Value = Vec<(Vec<u8>, bool)>> {
    let path = prop::collection::vec(component(), 1..4).prop_map(|parts| parts.join(&b'/'));
    prop::collection::vec((path, any::<bool>()), 0..15)
}

/// Rules of all forms, most of short patterns of few letters.
fn rules() -> impl Strategy<Value = Vec<(String, bool)>> {
    let word = "/?([ab]|\\*|\\*\\*|\\?|\\[ab\\]|\\[!a\\]|\\.o|a\\\\b|\\[\\[:alpha:\\]\\]|/){1,5}(/|/\\*\\*\\*)?";
    let rule = (word, any::<bool>()).prop_map(|(pattern, excludes)| {
        // rsync reads a pattern of only slashes in a way of its own.
        (pattern.replace("//", "/"), excludes)
    });
    prop::collection::vec(rule, 0..5)
}

fn build(root: &Path, names: &[(Vec<u8>, bool)]) {
    fs::create_dir(root).unwrap();
    for (name, is_directory) in names {
        let path = root.join(OsStr::from_bytes(name));
        // Where an earlier name stands in the way, this one is left out.
        if *is_directory {
            let _ = fs::create_dir_all(&path);
        } else if fs::create_dir_all(path.parent().unwrap()).is_ok() && !path.exists() {
            let _ = fs::write(&path, b"x");
        }
    }
}

/// What rsync would copy, by name, with a slash behind directories.
fn asked(arguments: &[String], from: &str, to: &Path) -> Vec<Vec<u8>> {
    let output = Command::new("rsync")
        .args(["-n", "-i", "--from0", "--out-format=%n"])
        .args(arguments)
        .arg(from)
        .arg(to)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    let lines = output.stdout.split(|&byte| byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty() && *line != b"./");
    let mut names: Vec<Vec<u8>> = lines.map(unescape).collect();
    names.sort();
    names
}

/// rsync writes what it does not print as `\#` and three octal digits.
fn unescape(line: &[u8]) -> Vec<u8> {
    let mut name = Vec::new();
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        let octal = rest.strip_prefix(b"\\#").and_then(|digits| digits.get(..3));
        let value =
            octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match value {
            Some(value) => {
                name.push(value);
                rest = &rest[5..];
            }
            None => {
                name.push(byte);
                rest = after;
            }
        }
    }
    name
}

/// What blkcp would copy, in the same form.
fn ours(place: PathBuf, name: &[u8], selection: Selection<'_>) -> Vec<Vec<u8>> {
    let (attributes, version) = look(&place).unwrap();
    let root = Found {
        place,
        name: name.to_vec(),
        attributes,
        link: None,
        version: Some(version),
    };
    let tree = scan_local(vec![root], selection).unwrap();
    let slash = |found: &Found<PathBuf>| match found.attributes.kind {
        FileKind::Directory => b"/".to_vec(),
        _ => Vec::new(),
    };
    let named = tree.iter().filter(|found| !found.name.is_empty());
    let mut names: Vec<_> = named
        .map(|found| [found.name.clone(), slash(found)].concat())
        .collect();
    names.sort();
    names
}

fn whole(filter: &Filter) -> Selection<'_> {
    Selection {
        recursive: true,
        links: false,
        filter,
        files_from: None,
    }
}

fn has_rsync(test: &str) -> bool {
    if Command::new("rsync").arg("--version").output().is_ok() {
        return true;
    }
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{test}: no rsync"
    );
    eprintln!("SKIPPED: {test}: rsync is not installed");
    false
}

/// Always the same trees.
fn runner() -> TestRunner {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(Config::default(), rng)
}

#[test]
fn trees_are_filtered_as_by_rsync() {
    if !has_rsync("trees_are_filtered_as_by_rsync") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("to");
    fs::create_dir(&to).unwrap();
    let mut runner = runner();
    let mut left_out = 0;
    for number in 0..TREES {
        let names = names().new_tree(&mut runner).unwrap().current();
        let rules = rules().new_tree(&mut runner).unwrap().current();
        let root = place.path().join(format!("t{number}"));
        build(&root, &names);
        let mut filter = Filter::default();
        let mut arguments = vec!["-r".to_owned()];
        for (pattern, excludes) in &rules {
            filter.add(pattern.as_bytes(), *excludes);
            let option = if *excludes { "exclude" } else { "include" };
            arguments.push(format!("--{option}={pattern}"));
        }
        // The directory, and only what is in it: patterns with a slash in front tell them apart.
        let plain = root.display().to_string();
        let (content, own) = (format!("{plain}/"), format!("t{number}"));
        for (from, name) in [(&plain, own.as_bytes()), (&content, b"")] {
            let expected = asked(&arguments, from, &to);
            let found = ours(root.clone(), name, whole(&filter));
            assert_eq!(found, expected, "{rules:?} on {names:?}");
        }
        let all = ours(root.clone(), b"", whole(&Filter::default()));
        left_out += usize::from(all != ours(root.clone(), b"", whole(&filter)));
    }
    assert!(
        left_out > TREES / 4,
        "the filters left out something of {left_out} trees only"
    );
}

#[test]
fn named_files_are_found_as_by_rsync() {
    if !has_rsync("named_files_are_found_as_by_rsync") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let (root, to, list) = (
        place.path().join("from"),
        place.path().join("to"),
        place.path().join("list"),
    );
    fs::create_dir(&to).unwrap();
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    for file in ["a/x", "a/b/y", "a/b/c/z", "top"] {
        fs::write(root.join(file), b"x").unwrap();
    }
    for named in ["top\0a/b/y\0", "a/b\0", "./a//b/\0top\0", "a/b/c/z\0a\0"] {
        fs::write(&list, named).unwrap();
        let names: FilesFrom = super::read_files_from(&list, true).unwrap();
        for recursive in [false, true] {
            let mut arguments = vec![format!("--files-from={}", list.display())];
            arguments.extend(recursive.then(|| "-r".to_owned()));
            // A name with a slash at its end means to rsync what is directly in it too.
            if named.contains("b/\0") && !recursive {
                continue;
            }
            let selection = Selection {
                recursive,
                links: false,
                filter: &Filter::default(),
                files_from: Some(&names),
            };
            let expected = asked(&arguments, &format!("{}/", root.display()), &to);
            assert_eq!(
                ours(root.clone(), b"", selection),
                expected,
                "{named:?} {recursive}"
            );
        }
    }
}
