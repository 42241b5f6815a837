//! One option after the other, in both directions.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::super::support::{files, ready};
use super::{Scene, age, lines};

#[test]
fn what_the_other_end_has_is_not_copied_again() {
    if !ready("what_the_other_end_has_is_not_copied_again") {
        return;
    }
    let scene = Scene::new();
    scene.fill(&["a", "d/b", "d/e/c"]);
    files::write(&scene.source.join("large"), 5 << 20, 9);
    let in_future = fs::File::options().write(true).open(scene.source.join("a"));
    let time = std::time::SystemTime::now() + std::time::Duration::from_secs(1 << 30);
    in_future
        .and_then(|file| file.set_modified(time))
        .expect("cannot set a time");
    for (words, back) in [
        (["-r", "/source/", "@t"], "source"),
        (["-r", "@t/", "/back"], "back"),
    ] {
        let first = scene.run(&words);
        first.ok();
        assert_eq!(
            (first.number("files"), first.number("unchanged_files")),
            (4, 0)
        );
        let again = scene.run(&words);
        again.ok();
        assert_eq!((again.number("files"), again.number("bytes")), (0, 0));
        assert_eq!(again.number("unchanged_files"), 4);
        assert_eq!(again.number("unchanged_bytes"), first.number("bytes"));
        let forced = scene.run(&[&words[..], &["-I"]].concat());
        assert_eq!(forced.ok().number("files"), 4);
        // The same size, another time: by a nanosecond.
        let changed = scene.directory.join(back).join("d/b");
        let (from, to) = match back {
            "source" => (changed, scene.export.join("t/d/b")),
            _ => (scene.export.join("t/d/b"), changed),
        };
        files::write(&from, 101, 77);
        let before = fs::metadata(&to)
            .expect("it was copied")
            .modified()
            .expect("a time");
        let file = fs::File::options().write(true).open(&from);
        file.and_then(|file| file.set_modified(before + std::time::Duration::from_nanos(1)))
            .expect("cannot set a time");
        let part = scene.run(&words);
        assert_eq!(
            (part.ok().number("files"), part.number("unchanged_files")),
            (1, 3)
        );
        files::assert_same(&from, &to);
    }
    // A single file, under another name.
    for (files, words) in [
        (1, ["/source/large", "@big"]),
        (0, ["/source/large", "@big"]),
        (0, ["@big", "/source/large"]),
    ] {
        assert_eq!(scene.run(&words).ok().number("files"), files);
    }
    let whole = scene.run(&["-I", "@big", "/source/large"]);
    assert_eq!(whole.ok().number("bytes"), 5 << 20);
}

#[test]
fn a_slash_at_the_end_means_what_is_in_a_directory() {
    if !ready("a_slash_at_the_end_means_what_is_in_a_directory") {
        return;
    }
    let scene = Scene::new();
    scene.fill(&["d/x"]);
    for (word, to, expected) in [
        ("/source/d", "@one", "one/d/x"),
        ("/source/d", "@two/", "two/d/x"),
        ("/source/d/", "@three", "three/x"),
        ("/source/d/.", "@four/", "four/x"),
    ] {
        scene.run(&["-r", word, to]).ok();
        assert!(scene.export.join(expected).is_file(), "{word} {to}");
    }
    for (word, expected) in [
        ("@one/d", "back/d/x"),
        ("@one/d/", "back/x"),
        ("@one", "back/one/d/x"),
    ] {
        scene.run(&["-r", word, "/back"]).ok();
        assert!(scene.directory.join(expected).is_file(), "{word}");
    }
    scene.fill(&["e/x"]);
    scene
        .run(&["-r", "/source/d/", "/source/e/", "@both/"])
        .fails(2, &["source/d/x", "source/e/x"]);
    assert!(!scene.export.join("both").exists());
}

#[test]
fn options_say_which_files_are_left() {
    if !ready("options_say_which_files_are_left") {
        return;
    }
    let scene = Scene::new();
    scene.fill(&["new", "newer", "older"]);
    for name in ["newer", "older"] {
        age(&scene.source.join(name), 1000);
        files::write(&scene.export.join(name), 50, 3);
    }
    age(&scene.export.join("older"), 2000);
    let copied = |option: &str| {
        let dry = scene.run(&["-rni", option, "/source/", "@"]);
        lines(dry.ok())
    };
    assert_eq!(
        copied("--existing"),
        ["<f.st...... newer", "<f.st...... older"]
    );
    assert_eq!(copied("--ignore-existing"), ["<f+++++++++ new"]);
    assert_eq!(copied("--update"), ["<f+++++++++ new", "<f.st...... older"]);
    // Nothing was done so far.
    assert_eq!(files::names(&scene.export), ["newer", "older"]);
    let updated = scene.run(&["-ru", "/source/", "@"]);
    assert_eq!(
        (
            updated.ok().number("files"),
            updated.number("passed_over_files")
        ),
        (2, 1)
    );
    assert_eq!(
        fs::metadata(scene.export.join("newer"))
            .expect("it stays")
            .len(),
        50
    );
    let fetched = scene.run(&["-rni", "@", "/back"]);
    let expected = [
        ">f+++++++++ new",
        ">f+++++++++ newer",
        ">f+++++++++ older",
        "cd+++++++++ ./",
    ];
    assert_eq!(lines(fetched.ok()), expected);
    assert_eq!(fetched.number("files"), 3);
    assert!(!scene.directory.join("back").exists());
}

#[test]
fn sources_go_when_they_are_copied() {
    if !ready("sources_go_when_they_are_copied") {
        return;
    }
    let scene = Scene::new();
    scene.fill(&["a", "d/b", "left.o"]);
    symlink("a", scene.source.join("link")).expect("cannot make a link");
    let words = ["-rl", "--remove-source-files", "--exclude=*.o"];
    let put = scene.run(&[&words[..], &["/source/", "@t"]].concat());
    assert_eq!(put.ok().number("sources_removed"), 3);
    assert_eq!(files::names(&scene.source), ["d", "left.o"]);
    assert_eq!(files::names(&scene.export.join("t")), ["a", "d", "link"]);
    // What is there already stays.
    fs::create_dir(scene.directory.join("back")).expect("cannot make a test directory");
    scene.run(&["@t/a", "/back/"]).ok();
    let got = scene.run(&[&words[..], &["@t/", "/back"]].concat());
    assert_eq!(
        (got.ok().number("files"), got.number("sources_removed")),
        (1, 2)
    );
    assert_eq!(files::names(&scene.export.join("t")), ["a", "d"]);
    assert_eq!(
        files::names(&scene.directory.join("back")),
        ["a", "d", "link"]
    );
    assert!(files::names(&scene.export.join("t/d")).is_empty());
}

#[test]
fn links_are_skipped_and_named_unless_asked_for() {
    if !ready("links_are_skipped_and_named_unless_asked_for") {
        return;
    }
    let scene = Scene::new();
    scene.fill(&["x"]);
    symlink("/nowhere", scene.source.join("link")).expect("cannot make a link");
    scene
        .run(&["-r", "/source/", "@t"])
        .fails(1, &["skipped", "source/link"]);
    assert_eq!(files::names(&scene.export.join("t")), ["x"]);
    let put = scene.run(&["-rl", "/source/", "@t"]);
    assert_eq!(
        (put.ok().number("links"), put.number("unchanged_files")),
        (1, 1)
    );
    assert_eq!(
        scene.run(&["-rl", "/source/", "@t"]).ok().number("links"),
        0
    );
    let there = fs::read_link(scene.export.join("t/link")).expect("a link");
    assert_eq!(there.to_str(), Some("/nowhere"));
    scene.run(&["-rl", "@t/", "/back"]).ok();
    let here = fs::read_link(scene.directory.join("back/link")).expect("a link");
    assert_eq!(here.to_str(), Some("/nowhere"));
    scene
        .run(&["-r", "@t/", "/other"])
        .fails(1, &["skipped", "data/t/link"]);
}

#[test]
fn directories_get_mode_and_time_with_archive() {
    if !ready("directories_get_mode_and_time_with_archive") {
        return;
    }
    let scene = Scene::new();
    scene.fill(&["d/e/x"]);
    let facts = |path: &std::path::Path| {
        let found = fs::metadata(path).expect("it was copied");
        (found.mode(), found.mtime(), found.mtime_nsec())
    };
    let directories = ["d", "d/e"];
    for name in directories {
        let mode = fs::Permissions::from_mode(0o2750 & 0o777);
        fs::set_permissions(scene.source.join(name), mode).expect("cannot set a mode");
    }
    for _ in 0..2 {
        scene.run(&["-a", "/source/", "@t"]).ok();
        scene.run(&["-a", "@t/", "/back"]).ok();
        for name in directories.iter().chain(&["d/e/x"]) {
            let source = facts(&scene.source.join(name));
            assert_eq!(facts(&scene.export.join("t").join(name)), source, "{name}");
            assert_eq!(
                facts(&scene.directory.join("back").join(name)),
                source,
                "{name}"
            );
        }
        // A new file changes the time of its directory, at both ends.
        files::write(&scene.source.join("d/e/y"), 10, 1);
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(scene.source.join("d/e/x"), mode).expect("cannot set a mode");
    }
    scene.run(&["-a", "/source/", "@t"]).ok();
    assert_eq!(lines(scene.run(&["-ani", "/source/", "@t"]).ok()).len(), 0);
}

#[test]
fn too_much_is_not_deleted() {
    if !ready("too_much_is_not_deleted") {
        return;
    }
    let scene = Scene::new();
    scene.fill(&["d/x"]);
    scene.run(&["-r", "/source/", "@t"]).ok();
    for name in ["t/d/old", "t/d/more", "t/beside", "outside"] {
        files::write(&scene.export.join(name), 5, 1);
    }
    files::write(&scene.source.join("d/new"), 5, 1);
    let words = ["-r", "--delete", "/source/d", "@t"];
    let refused = scene.run(&[&words[..], &["--max-delete=1"]].concat());
    refused.fails(15, &["2", "--max-delete", "nothing was copied"]);
    assert_eq!(
        files::names(&scene.export.join("t/d")),
        ["more", "old", "x"]
    );
    scene
        .run(&["--delete", "/source/d", "@t"])
        .fails(2, &["--delete", "-r"]);
    let put = scene.run(&[&words[..], &["--max-delete=2", "--exclude=more"]].concat());
    assert_eq!(put.ok().number("deleted"), 1);
    assert_eq!(
        files::names(&scene.export.join("t/d")),
        ["more", "new", "x"]
    );
    // Only in the directories that are copied.
    assert_eq!(files::names(&scene.export), ["outside", "t"]);
    assert_eq!(files::names(&scene.export.join("t")), ["beside", "d"]);
    // A source that cannot be read deletes nothing.
    scene
        .run(&["-r", "--delete", "/source/none/", "@t"])
        .fails(5, &["none"]);
    scene
        .run(&["-r", "--delete", "@none/", "/source"])
        .fails(5, &["none"]);
    assert_eq!(files::names(&scene.source.join("d")), ["new", "x"]);
    // A file whose target is a directory does not take it away.
    scene
        .run(&["-r", "--delete", "/source/d/x", "@t"])
        .fails(7, &["directory"]);
    assert_eq!(files::names(&scene.export.join("t")), ["beside", "d"]);
}

#[test]
fn names_come_from_a_file() {
    if !ready("names_come_from_a_file") {
        return;
    }
    let scene = Scene::new();
    scene.fill(&["a/b/c", "a/not", "new\nline", "top"]);
    let list = scene.directory.join("list");
    fs::write(&list, b"a/b/c\0new\nline\0").expect("cannot write a list");
    let put = scene.run(&[
        "-0",
        &format!("--files-from={}", list.display()),
        "/source",
        "@t",
    ]);
    assert_eq!(put.ok().number("files"), 2);
    assert_eq!(files::names(&scene.export.join("t")), ["a", "new\nline"]);
    assert_eq!(files::names(&scene.export.join("t/a")), ["b"]);
    fs::write(&list, b"# one\na/b/c\n").expect("cannot write a list");
    let got = scene.run(&[&format!("--files-from={}", list.display()), "@t", "/back"]);
    assert_eq!(got.ok().number("files"), 1);
    assert!(scene.directory.join("back/a/b/c").is_file());
    fs::write(&list, b"../export\n").expect("cannot write a list");
    let out = scene.run(&[&format!("--files-from={}", list.display()), "/source", "@t"]);
    out.fails(2, &["../export"]);
}
