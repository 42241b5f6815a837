//! Names that change while what they stand for is read or put.

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use super::super::support::client::start_over;
use super::super::support::hosts::Host;
use super::super::support::{files, ready, within};
use super::{Scene, at};

#[test]
fn what_is_read_while_its_name_changes_fails_and_is_not_taken_for_good() {
    if !ready("what_is_read_while_its_name_changes_fails_and_is_not_taken_for_good") {
        return;
    }
    let scene = Scene::new();
    files::write(&scene.export.join("large"), 64 << 20, 1);
    let expected = fs::read(scene.export.join("large")).expect("it can be read");
    for change in [&["mv", "@large", "@moved"][..], &["rm", "@moved"]] {
        let mut command = scene.command("cat");
        command.arg(at(change[1]));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("blkcp can be started");
        // With a pipe that is full it cannot have read more than some pieces.
        let mut pipe = child.stdout.take().expect("a pipe");
        let mut read = vec![0; 100];
        pipe.read_exact(&mut read).expect("it says something");
        scene.run(change[0], &change[1..]).ok();
        pipe.read_to_end(&mut read).expect("the rest");
        let ended = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains("changed while it was read"), "{said}");
        assert!(read.len() < expected.len() && expected.starts_with(&read));
    }
    assert!(files::names(&scene.export).is_empty());
}

#[test]
fn what_is_put_while_its_name_changes_has_the_name_in_the_end() {
    if !ready("what_is_put_while_its_name_changes_has_the_name_in_the_end") {
        return;
    }
    let scene = Scene::new();
    let source = scene.directory.join("source-file");
    files::write(&source, 512 << 20, 1);
    scene.make(&["d"], &[("other", "other")]);
    let words = [
        source.to_str().expect("a plain path").to_owned(),
        at("@d/target"),
    ];
    let copy = start_over(&scene.hosts, Host::Client, "udp", &scene.directory, &words);
    let partials = scene.export.join(".blockd");
    let has_begun = || fs::read_dir(&partials).is_ok_and(|mut names| names.next().is_some());
    assert!(within(Duration::from_secs(60), has_begun), "no put begins");
    copy.signal(Signal::STOP);
    assert!(
        !scene.export.join("d/target").exists(),
        "the put is over already"
    );
    // Something else gets the name, and its directory another one.
    scene.run("mv", &["@other", "@d/target"]).ok();
    assert_eq!(scene.text("d/target"), "other");
    scene.run("mv", &["@d", "@e"]).ok();
    copy.signal(Signal::CONT);
    copy.outcome().ok();
    files::assert_same(&source, &scene.export.join("e/target"));
    assert!(!scene.export.join("d").exists());
}
