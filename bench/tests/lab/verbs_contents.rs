//! The verb of blkcp that is about contents, and the one that is about the way.

use std::fs;

use super::support::hosts::Host;
use super::support::{files, ready};
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
    scene.run("cat", &["@d/"]).fails(7, &["directory"]);
    scene.run("cat", &["@1/"]).fails(7, &["no directory"]);
    scene.run("cat", &["@../x"]).fails(6, &["outside"]);
    scene.run("cat", &["-"]).fails(2, &["HOST:EXPORT/PATH"]);
    scene.run("cat", &[]).fails(2, &["usage"]);
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
