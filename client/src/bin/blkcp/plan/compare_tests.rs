//! Each case a few names at both ends.

use super::*;
use std::path::PathBuf;

use FileKind::{Directory, File, Other, Symlink};

const RULES: Rules = Rules {
    way: Way::Sent,
    ignore_times: false,
    existing: false,
    ignore_existing: false,
    update: false,
    links: false,
    attributes: false,
    delete: false,
};

fn of(kind: FileKind, size: u64, mtime_ns: i64) -> Attributes {
    Attributes {
        kind,
        size,
        mode: 0o755,
        mtime_ns,
    }
}

/// A tree of names, kinds, sizes and times; links lead to `to`.
fn tree(names: &[(&str, FileKind, u64, i64)]) -> Tree<PathBuf> {
    let mut tree: Tree<PathBuf> = names
        .iter()
        .map(|&(name, kind, size, time)| Found {
            place: PathBuf::from("/source").join(name),
            name: name.as_bytes().to_vec(),
            attributes: of(kind, size, time),
            link: (kind == Symlink).then(|| b"to".to_vec()),
            version: None,
        })
        .collect();
    tree.sort_by(|one, other| one.name.cmp(&other.name));
    tree
}

fn there(names: &[(&str, FileKind, u64, i64)]) -> There {
    let mut there = There::default();
    for &(name, kind, size, time) in names {
        there.add(name.as_bytes().to_vec(), of(kind, size, time));
    }
    there
}

fn plan(source: &Tree<PathBuf>, there: &There, rules: Rules) -> Plan<PathBuf, PathBuf> {
    compare(source.clone(), there, &PathBuf::from("/to"), &rules)
}

fn targets<T>(of: &[T], target: impl Fn(&T) -> &PathBuf) -> Vec<String> {
    let shown = |one| {
        target(one)
            .strip_prefix("/to")
            .unwrap()
            .display()
            .to_string()
    };
    of.iter().map(shown).collect()
}

fn files(plan: &Plan<PathBuf, PathBuf>) -> Vec<String> {
    targets(&plan.files, |file| &file.target)
}

#[test]
fn files_of_the_same_size_and_time_are_unchanged() {
    let source = tree(&[
        ("d", Directory, 0, 1),
        ("d/same", File, 3, 5),
        ("d/size", File, 3, 5),
        ("d/nanosecond", File, 3, 5),
        ("d/new", File, 3, 5),
        ("future", File, 3, i64::MAX - 1),
        ("beyond", File, 3, i64::MAX),
        ("before", File, 3, i64::MIN),
    ]);
    let has = there(&[
        ("d", Directory, 0, 9),
        ("d/same", File, 3, 5),
        ("d/size", File, 4, 5),
        ("d/nanosecond", File, 3, 6),
        ("future", File, 3, i64::MAX - 1),
        ("beyond", File, 3, i64::MAX),
        ("before", File, 3, i64::MIN),
    ]);
    let decided = plan(&source, &has, RULES);
    assert_eq!(
        files(&decided),
        ["before", "beyond", "d/nanosecond", "d/new", "d/size"]
    );
    assert_eq!((decided.unchanged.files, decided.unchanged.bytes), (2, 6));
    assert!(decided.directories.is_empty());
    let all = Rules {
        ignore_times: true,
        ..RULES
    };
    assert_eq!(files(&plan(&source, &has, all)).len(), 7);
    // A target that was not looked at has nothing.
    let blind = plan(&source, &There::default(), RULES);
    assert_eq!((blind.files.len(), blind.directories.len()), (7, 1));
}

#[test]
fn options_leave_what_is_there_or_what_is_not() {
    let source = tree(&[
        ("new", Directory, 0, 1),
        ("new/x", File, 1, 1),
        ("older", File, 1, 5),
        ("newer", File, 1, 5),
        ("same time", File, 1, 5),
    ]);
    let has = there(&[
        ("older", File, 2, 4),
        ("newer", File, 2, 6),
        ("same time", File, 2, 5),
    ]);
    let with = |rules: Rules| {
        let decided = plan(&source, &has, rules);
        (
            files(&decided),
            decided.passed_over.files,
            decided.directories.len(),
        )
    };
    let existing = Rules {
        existing: true,
        ..RULES
    };
    assert_eq!(
        with(existing),
        (
            ["newer", "older", "same time"].map(str::to_owned).to_vec(),
            1,
            0
        )
    );
    let ignore_existing = Rules {
        ignore_existing: true,
        ..RULES
    };
    assert_eq!(with(ignore_existing), (vec!["new/x".to_owned()], 3, 1));
    let update = Rules {
        update: true,
        ..RULES
    };
    let expected = ["new/x", "older", "same time"].map(str::to_owned).to_vec();
    assert_eq!(with(update), (expected, 1, 1));
}

#[test]
fn links_are_compared_by_where_they_lead() {
    let source = tree(&[
        ("changed", Symlink, 2, 1),
        ("file", Symlink, 2, 1),
        ("new", Symlink, 2, 1),
        ("same", Symlink, 2, 1),
        ("special", Other, 0, 1),
    ]);
    let mut has = there(&[
        ("changed", Symlink, 2, 1),
        ("file", File, 2, 1),
        ("same", Symlink, 2, 9),
    ]);
    has.set_link(b"same", b"to".to_vec());
    has.set_link(b"changed", b"ot".to_vec());
    let decided = plan(&source, &has, RULES);
    assert_eq!((decided.links.len(), decided.skipped.len()), (0, 5));
    let decided = plan(
        &source,
        &has,
        Rules {
            links: true,
            ..RULES
        },
    );
    let made = targets(&decided.links, |(target, _)| target);
    assert_eq!(made, ["changed", "file", "new"]);
    assert_eq!((decided.unchanged.files, decided.skipped.len()), (1, 1));
    let lines: Vec<_> = decided.changes.iter().map(ToString::to_string).collect();
    let expected = [
        "cLc........ changed -> to",
        "cL+++++++++ file -> to",
        "cL+++++++++ new -> to",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn what_the_source_does_not_have_is_removed_the_deepest_first() {
    let source = tree(&[
        ("d", Directory, 0, 1),
        ("d/x", File, 1, 1),
        ("d/was-directory", File, 1, 1),
        ("d/was-file", Directory, 0, 1),
    ]);
    let mut has = there(&[
        ("d", Directory, 0, 1),
        ("d/x", File, 1, 1),
        ("d/was-directory", Directory, 0, 1),
        ("d/was-directory/y", File, 1, 1),
        ("d/was-file", File, 1, 1),
        ("d/old", Directory, 0, 1),
        ("d/old/link", Symlink, 1, 1),
        ("d/kept", Directory, 0, 1),
        ("d/kept/z", File, 1, 1),
        ("d/special", Other, 0, 1),
    ]);
    has.hide(b"d/kept/excluded");
    let rules = Rules {
        delete: true,
        ..RULES
    };
    let decided = plan(&source, &has, rules);
    let names = |of: &[(PathBuf, FileKind)]| targets(of, |(target, _)| target);
    let expected = ["d/was-file", "d/was-directory/y", "d/was-directory"];
    assert_eq!(names(&decided.obstacles), expected);
    assert_eq!(
        names(&decided.extras),
        ["d/special", "d/old/link", "d/old", "d/kept/z"]
    );
    assert_eq!(decided.deletions(), 7);
    assert_eq!(plan(&source, &has, RULES).deletions(), 0);
}

#[test]
fn a_directory_that_is_named_is_never_in_the_way() {
    let source = vec![Found {
        name: Vec::new(),
        ..tree(&[("x", File, 1, 1)]).remove(0)
    }];
    let mut has = There::default();
    has.add(Vec::new(), of(Directory, 0, 1));
    let decided = plan(
        &source,
        &has,
        Rules {
            delete: true,
            ..RULES
        },
    );
    assert_eq!((decided.files.len(), decided.deletions()), (1, 0));
}

#[test]
fn directories_get_their_times_when_all_is_in_them() {
    let source = tree(&[
        ("", Directory, 0, 1),
        ("new", Directory, 0, 1),
        ("same", Directory, 0, 1),
        ("touched", Directory, 0, 1),
        ("touched/x", File, 1, 1),
        ("time", Directory, 0, 1),
        ("time/mode", File, 1, 1),
    ]);
    let mut has = there(&[
        ("", Directory, 0, 1),
        ("same", Directory, 9, 1),
        ("touched", Directory, 0, 1),
        ("time", Directory, 0, 2),
    ]);
    let mode = Attributes {
        mode: 0o600,
        ..of(File, 1, 1)
    };
    has.add(b"time/mode".to_vec(), mode);
    let rules = Rules {
        attributes: true,
        ..RULES
    };
    let decided = plan(&source, &has, rules);
    let set = targets(&decided.attributions, |of| &of.target);
    assert_eq!(set, ["time/mode", "touched", "time", "new", ""]);
    let lines: Vec<_> = decided.changes.iter().map(ToString::to_string).collect();
    let expected = [
        "cd+++++++++ new/",
        ".d..t...... time/",
        ".f...p..... time/mode",
        "<f+++++++++ touched/x",
    ];
    assert_eq!(lines, expected);
    assert!(plan(&source, &has, RULES).attributions.is_empty());
    has.is_linked = true;
    let decided = plan(&source, &has, rules);
    let set = targets(&decided.attributions, |of| &of.target);
    assert_eq!(set, ["time/mode", "touched", "time", "new"]);
}

fn names(of: &[(PathBuf, FileKind)]) -> Vec<String> {
    targets(of, |(target, _)| target)
}

#[test]
fn a_link_in_the_place_of_a_directory_goes_whatever_the_options() {
    let source = tree(&[
        ("x", Directory, 0, 1),
        ("x/deep", Directory, 0, 1),
        ("x/deep/f", File, 3, 5),
        // Its directory is not copied, as a filter can leave it.
        ("named/f", File, 3, 5),
    ]);
    // What a look through the links would see.
    let has = there(&[
        ("x", Symlink, 4, 1),
        ("x/deep", Directory, 0, 1),
        ("x/deep/f", File, 3, 5),
        ("named", Symlink, 4, 1),
        ("named/f", File, 3, 5),
    ]);
    for (delete, update, ignore_times) in [
        (false, false, false),
        (true, false, false),
        (false, true, false),
        (false, false, true),
    ] {
        let rules = Rules {
            delete,
            update,
            ignore_times,
            ..RULES
        };
        let decided = plan(&source, &has, rules);
        assert_eq!(names(&decided.obstacles), ["x", "named"]);
        assert_eq!(decided.extras, []);
        assert_eq!(files(&decided), ["named/f", "x/deep/f"]);
        assert_eq!((decided.directories.len(), decided.unchanged.files), (2, 0));
    }
}

#[test]
fn options_that_leave_what_is_there_leave_links_and_nothing_goes_through() {
    let source = tree(&[
        ("x", Directory, 0, 1),
        ("x/deep", Directory, 0, 1),
        ("x/deep/f", File, 3, 5),
        ("y", File, 3, 5),
    ]);
    let has = there(&[("x", Symlink, 4, 1)]);
    let ignore_existing = Rules {
        ignore_existing: true,
        attributes: true,
        delete: true,
        ..RULES
    };
    let existing = Rules {
        existing: true,
        ..ignore_existing
    };
    for (rules, copied) in [(ignore_existing, 1), (existing, 0)] {
        let decided = plan(&source, &has, rules);
        assert_eq!((decided.files.len(), decided.deletions()), (copied, 0));
        assert!(decided.directories.is_empty() && decided.attributions.is_empty());
        assert_eq!(decided.passed_over.files, 2 - copied as u64);
    }
}

#[test]
fn a_directory_whose_source_is_none_keeps_what_is_in_it() {
    let source = tree(&[
        ("", Directory, 0, 1),
        ("socket", Other, 0, 1),
        ("link", Symlink, 2, 1),
        ("file", File, 1, 1),
        ("d", Directory, 0, 1),
    ]);
    let has = there(&[
        ("", Directory, 0, 1),
        ("socket", Directory, 0, 1),
        ("socket/f", File, 1, 1),
        ("link", Directory, 0, 1),
        ("link/deep", Directory, 0, 1),
        ("link/deep/f", File, 1, 1),
        ("file", Directory, 0, 1),
        ("file/f", File, 1, 1),
        ("d", Directory, 0, 1),
        ("d/old", File, 1, 1),
    ]);
    let skipping = Rules {
        delete: true,
        ignore_existing: true,
        ..RULES
    };
    let decided = plan(&source, &has, skipping);
    assert_eq!(decided.obstacles, []);
    assert_eq!(names(&decided.extras), ["d/old"]);
    // What is copied takes the place of the directory, with all in it.
    let copying = Rules {
        delete: true,
        links: true,
        ..RULES
    };
    let decided = plan(&source, &has, copying);
    let expected = ["link/deep/f", "link/deep", "link", "file/f", "file"];
    assert_eq!(names(&decided.obstacles), expected);
    assert_eq!(names(&decided.extras), ["d/old"]);
}

#[test]
fn only_what_is_copied_may_go_at_the_source() {
    let source = tree(&[
        ("beyond", File, 3, i64::MAX),
        ("changed", File, 3, 5),
        ("link", Symlink, 2, 1),
        ("new", File, 3, 5),
        ("new link", Symlink, 2, 1),
        ("same", File, 3, 5),
    ]);
    let mut has = there(&[
        ("beyond", File, 3, i64::MAX),
        ("changed", File, 4, 5),
        ("link", Symlink, 2, 1),
        ("same", File, 3, 5),
    ]);
    has.set_link(b"link", b"to".to_vec());
    for ignore_times in [false, true] {
        let rules = Rules {
            ignore_times,
            links: true,
            ..RULES
        };
        let decided = plan(&source, &has, rules);
        let places = decided.originals.iter().map(|original| &original.place);
        let removed: Vec<_> = places.map(|place| place.file_name().unwrap()).collect();
        assert_eq!(removed, ["changed", "new", "new link"]);
    }
}

#[test]
fn a_single_file_is_known_by_its_own_name() {
    let source = vec![Found {
        name: Vec::new(),
        ..tree(&[("x", File, 1, 1)]).remove(0)
    }];
    let mut has = There::default();
    let mode = Attributes {
        mode: 0o600,
        ..of(File, 1, 1)
    };
    has.add(Vec::new(), mode);
    let rules = Rules {
        attributes: true,
        ..RULES
    };
    let decided = plan(&source, &has, rules);
    assert_eq!(decided.changes[0].to_string(), ".f...p..... x");
}
