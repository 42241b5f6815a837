//! `blkcp mv`.

use std::fs;
use std::os::unix::fs::symlink;

use super::super::support::{files, ready};
use super::{Scene, json};

#[test]
fn mv_renames() {
    if !ready("mv_renames") {
        return;
    }
    let scene = Scene::new();
    scene.make(
        &["d/empty", "full/x"],
        &[("a", "a"), ("b", "b"), ("c", "c")],
    );
    scene.run("mv", &["@a", "@a2"]).ok();
    assert_eq!(scene.text("a2"), "a");
    scene.run("mv", &["@a2", "@b"]).fails(14, &["-f"]);
    assert_eq!(scene.text("b"), "b");
    scene.run("mv", &["-f", "@a2", "@b"]).ok();
    assert_eq!(scene.text("b"), "a");
    let moved = json(scene.run("mv", &["--json", "@b", "@c", "@d"]).ok());
    assert_eq!(moved[1]["to"]["path"], "d/c");
    assert_eq!(scene.text("d/c"), "c");
    scene.run("mv", &["-fT", "@d/empty", "@full/x"]).ok();
    scene
        .run("mv", &["-fT", "@d", "@full"])
        .fails(14, &["empty"]);
    scene.run("mv", &["@full", "@moved"]).ok();
    assert_eq!(files::names(&scene.export), ["d", "moved"]);

    scene.run("mv", &["@none", "@x"]).fails(5, &["none"]);
    scene.run("mv", &["@d/b", "@none/"]).fails(5, &["none"]);
    scene.run("mv", &["@d/b", "@none/x"]).fails(5, &["none"]);
    scene.run("mv", &["@d/b", "@d/c/"]).fails(7, &["directory"]);
    scene.run("mv", &["@d/b", "@d/c", "@x"]).fails(5, &["x"]);
    scene
        .run("mv", &["-fT", "@d/b", "@moved"])
        .fails(7, &["directory"]);
    scene.run("mv", &["@d", "@d/in"]).fails(6, &["itself"]);
    scene.run("mv", &["@d/b", "@../b"]).fails(6, &["outside"]);
    scene.run("mv", &["@d/b", "@d/b"]).fails(2, &["one name"]);
    scene.run("mv", &["@", "@d/x"]).fails(2, &["export"]);
    scene
        .run("mv", &["@d/b", "HOST:other/b"])
        .fails(2, &["copy"]);
    scene
        .run("mv", &["@d/b", "10.77.0.99:data/b"])
        .fails(2, &["copy"]);
    scene
        .run("mv", &["@d/b", "b"])
        .fails(2, &["HOST:EXPORT/PATH"]);
    scene
        .run("mv", &["-T", "@d/b", "@d/c", "@d"])
        .fails(2, &["-T"]);
    scene.run("mv", &["@d/b"]).fails(2, &["usage"]);
    scene
        .run("mv", &["HOST:fixed/file", "HOST:fixed/new"])
        .fails(9, &["read-only"]);
    assert_eq!(files::names(&scene.export.join("d")), ["b", "c"]);
}

#[test]
fn mv_loses_no_file() {
    if !ready("mv_loses_no_file") {
        return;
    }
    let scene = Scene::new();
    scene.make(&["a", "b", "d"], &[("a/x", "a"), ("b/x", "b"), ("f", "f")]);
    scene
        .run("mv", &["-f", "@f", "@a/x", "@b/x", "@d"])
        .fails(2, &["a/x", "b/x", "one name"]);
    assert!(files::names(&scene.export.join("d")).is_empty());
    assert_eq!(
        (scene.text("a/x"), scene.text("b/x")),
        ("a".into(), "b".into())
    );

    // Hard links: the old name goes, if it is another one.
    fs::hard_link(scene.export.join("f"), scene.export.join("d/g")).expect("cannot link");
    symlink("d", scene.export.join("way")).expect("cannot make a link");
    scene.run("mv", &["@f", "@d/g"]).fails(14, &["-f"]);
    scene
        .run("mv", &["-f", "@d/g", "@way/g"])
        .fails(6, &["one name"]);
    scene.run("mv", &["-f", "@f", "@d/g"]).ok();
    assert!(!scene.export.join("f").exists());
    assert_eq!(scene.text("d/g"), "f");

    // A slash at the end is for directories, not for links to them.
    scene
        .run("mv", &["@d/g/", "@h"])
        .fails(7, &["no directory"]);
    scene
        .run("mv", &["@way/", "@h"])
        .fails(7, &["no directory"]);
    scene
        .run("mv", &["-T", "@d/g", "@h/"])
        .fails(7, &["no directory"]);
    scene.run("mv", &["@none/", "@h"]).fails(5, &["none"]);
    scene.run("mv", &["-T", "@d/", "@h/"]).ok();
    assert_eq!(files::names(&scene.export), ["a", "b", "h", "way"]);
    assert_eq!(scene.text("h/g"), "f");
}
