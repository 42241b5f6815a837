//! The verbs of blkcp that are about contents, and the one that is about the way; what becomes of contents when their names change.

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use super::support::client::start_over;
use super::support::hosts::Host;
use super::support::{files, ready, within};
use super::verbs::{SERVER, Scene, at, json};

#[test]
fn cat_streams() {
    if !ready("cat_streams") {
        return;
    }
    let scene = Scene::new();
    let sizes = [0, 1, 4095, (8 << 20) - 1, (8 << 20) + 1, 40_000_003];
    let mut expected = Vec::new();
    let mut words = Vec::new();
    for (number, size) in sizes.into_iter().enumerate() {
        let path = scene.export.join(number.to_string());
        files::write(&path, size, number as u64);
        expected.extend(fs::read(path).expect("it can be read"));
        words.push(at(&format!("@{number}")));
    }
    for datapath in ["auto", "udp", "copy"] {
        let mut command = scene.command("cat");
        command.args(["--datapath", datapath]).args(&words);
        let output = command.output().expect("blkcp can be started");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            output.stdout == expected,
            "over {datapath} it is something else"
        );
    }
    // Only the right to read is needed.
    let fixed = scene.run("cat", &["HOST:fixed/file"]);
    assert_eq!(fixed.ok().stdout, "fixed");
    let some = scene.run("cat", &["@none", "@1"]);
    some.fails(5, &["none"]);
    scene.make(&["d"], &[]);
    scene.run("cat", &["@d"]).fails(7, &["directory"]);
    scene.run("cat", &["@../x"]).fails(6, &["outside"]);
    scene.run("cat", &["-"]).fails(2, &["HOST:EXPORT/PATH"]);
    scene.run("cat", &[]).fails(2, &["usage"]);
}

#[test]
fn a_closed_pipe_is_no_failure_and_a_full_one_can_be_interrupted() {
    if !ready("a_closed_pipe_is_no_failure_and_a_full_one_can_be_interrupted") {
        return;
    }
    let scene = Scene::new();
    files::write(&scene.export.join("large"), 64 << 20, 1);
    for name in 0..5000 {
        let name = format!("{name:0200}");
        fs::write(scene.export.join(name), "").expect("cannot write a file");
    }
    for words in [&["cat", "@large"][..], &["ls", "@"], &["ls", "--json", "@"]] {
        let mut command = scene.command(words[0]);
        command.args(words[1..].iter().map(|word| at(word)));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("blkcp can be started");
        let mut first = [0; 100];
        let mut pipe = child.stdout.take().expect("a pipe");
        pipe.read_exact(&mut first).expect("it says something");
        drop(pipe);
        let ended = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!((ended.status.code(), &*said), (Some(0), ""), "{words:?}");
    }
    // Nobody reads.
    let mut command = scene.command("cat");
    command
        .arg(at("@large"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("blkcp can be started");
    let mut pipe = child.stdout.take().expect("a pipe");
    pipe.read_exact(&mut [0; 100]).expect("it says something");
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, Signal::INT).expect("it runs");
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("interrupted"));
    drop(pipe);
}

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

#[test]
fn ping_measures() {
    if !ready("ping_measures") {
        return;
    }
    let scene = Scene::new();
    let told = json(scene.run("ping", &["--json", "-c", "5", "HOST"]).ok());
    let told = &told[0];
    assert_eq!((&told["probes"], &told["mtu"]), (&5.into(), &1500.into()));
    assert_eq!(told["client_datapath"], "udp");
    assert_eq!(told["server_datapath"], "af_xdp-copy");
    assert_eq!(told["address"], format!("{SERVER}:7440"));
    let times = ["min", "median", "max"].map(|time| told["round_trip_seconds"][time].as_f64());
    assert!(times[0] > Some(0.0) && times.is_sorted(), "{told}");
    assert!(told["payload"].as_u64() >= Some(1024), "{told}");
    let over = scene.run("ping", &["--datapath", "copy", "HOST:data"]);
    for word in [
        "here: af_xdp-copy on blk1",
        "there: af_xdp-copy",
        "of 10 probes",
    ] {
        assert!(over.ok().stdout.contains(word), "{}", over.stdout);
    }
    assert!(!scene.hosts.has_xdp(Host::Client));
    scene.run("ping", &["10.77.0.99"]).fails(3, &["10.77.0.99"]);
    scene
        .run("ping", &["--port", "7999", "HOST"])
        .fails(3, &["7999"]);
    scene.run("ping", &["a/b"]).fails(2, &["no host"]);
    scene.run("ping", &["-c", "0", "HOST"]).fails(2, &["0"]);
}
