//! Bad input: a message of its own and an exit status for each, and nothing under the final name.

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use blk_proto::wire::{Kind, REFUSE_LEN, VERSION, VERSION_AT};

use super::flood::hello;
use super::support::client::{Outcome, Running, blkcp};
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::traffic::on_host;
use super::support::{Directory, binary, files, must, ready};

/// A link with blockd on it, and a file to send.
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
        Self::with_export(directory, export)
    }

    fn with_export(directory: Directory, export: PathBuf) -> Self {
        files::write(&directory.join("file"), 100_000, 1);
        let hosts = Hosts::up(Link::of(3498));
        let daemon = Daemon::start(&hosts, &export, &directory);
        Self {
            _daemon: daemon,
            hosts,
            export,
            directory,
        }
    }

    fn path(&self, name: &str) -> String {
        self.directory
            .join(name)
            .to_str()
            .expect("test files have plain paths")
            .to_owned()
    }

    fn blkcp(&self, arguments: &[&str]) -> Outcome {
        blkcp(&self.hosts, &self.directory, arguments)
    }

    /// Puts the file to a place that must be refused.
    fn put_to(&self, target: &str) -> Outcome {
        self.blkcp(&[&self.path("file"), target])
    }

    /// Gets from a place that must be refused; nothing appears under the local name.
    fn get_from(&self, source: &str) -> Outcome {
        let outcome = self.blkcp(&[source, &self.path("back")]);
        assert!(
            !self.directory.join("back").exists(),
            "a file appeared:\n{}",
            outcome.stderr
        );
        outcome
    }

    /// The export holds these names and no others.
    #[track_caller]
    fn holds(&self, names: &[&str]) {
        assert_eq!(files::names(&self.export), names);
    }
}

#[test]
fn no_such_host() {
    if !ready("no_such_host") {
        return;
    }
    let scene = Scene::new();
    // An address on the link that nobody has.
    let outcome = scene.put_to("10.77.0.99:data/file");
    outcome.fails(3, &["10.77.0.99"]);
    assert!(outcome.time < Duration::from_secs(30), "{:?}", outcome.time);
    scene
        .put_to("no-such-host.invalid:data/file")
        .fails(3, &["no-such-host.invalid"]);
    scene
        .put_to("192.0.2.1:data/file")
        .fails(3, &["192.0.2.1", "route"]);
    scene.holds(&[]);
}

#[test]
fn port_closed() {
    if !ready("port_closed") {
        return;
    }
    let scene = Scene::new();
    let outcome = scene.blkcp(&["--port", "7999", &scene.path("file"), "10.77.0.1:data/file"]);
    outcome.fails(3, &["10.77.0.1", "7999"]);
    assert!(outcome.time < Duration::from_secs(30), "{:?}", outcome.time);
    scene.holds(&[]);
}

/// Greets in another version of the protocol; gives the answer.
fn greet_in_another_version() -> Vec<u8> {
    let socket = UdpSocket::bind("10.77.0.2:0").expect("there is a port");
    let patience = Some(Duration::from_millis(500));
    socket
        .set_read_timeout(patience)
        .expect("a timeout can be set");
    let mut hello = hello(1);
    hello[VERSION_AT] = VERSION + 1;
    let mut answer = vec![0; 1500];
    for _ in 0..10 {
        socket
            .send_to(&hello, "10.77.0.1:7440")
            .expect("the server has an address");
        if let Ok(len) = socket.recv(&mut answer) {
            answer.truncate(len);
            return answer;
        }
    }
    panic!("no answer to a Hello in another version");
}

#[test]
fn another_version_of_the_protocol() {
    if !ready("another_version_of_the_protocol") {
        return;
    }
    let scene = Scene::new();
    let greeting = on_host(&scene.hosts, Host::Client, greet_in_another_version);
    let answer = greeting.join().expect("blockd answers");
    let packet = blk_proto::wire::open(&answer).expect("a whole packet");
    assert_eq!((packet.kind, answer.len()), (Kind::Refuse, REFUSE_LEN));
    scene.put_to("10.77.0.1:data/file").ok();
}

#[test]
fn no_such_export() {
    if !ready("no_such_export") {
        return;
    }
    let scene = Scene::new();
    scene
        .put_to("10.77.0.1:nowhere/file")
        .fails(5, &["nowhere", "export"]);
    scene
        .get_from("10.77.0.1:nowhere/file")
        .fails(5, &["nowhere", "export"]);
    scene.holds(&[]);
}

#[test]
fn no_such_file() {
    if !ready("no_such_file") {
        return;
    }
    let scene = Scene::new();
    scene
        .get_from("10.77.0.1:data/missing")
        .fails(5, &["missing"]);
    let missing = scene.path("not-here");
    scene
        .blkcp(&[&missing, "10.77.0.1:data/file"])
        .fails(5, &["not-here"]);
    scene.holds(&[]);
}

#[test]
fn names_outside_the_export() {
    if !ready("names_outside_the_export") {
        return;
    }
    let scene = Scene::new();
    files::write(&scene.directory.join("secret"), 100, 9);
    std::fs::create_dir(scene.export.join("folder")).expect("cannot make a test directory");
    std::os::unix::fs::symlink("../secret", scene.export.join("link")).expect("cannot make a link");
    std::os::unix::fs::symlink("..", scene.export.join("up")).expect("cannot make a link");
    let absolute = format!("10.77.0.1:data/{}", scene.path("secret"));
    let ways = [
        "10.77.0.1:data/../secret",
        "10.77.0.1:data/folder/../../secret",
        "10.77.0.1:data/up/secret",
        &absolute,
    ];
    for way in ways {
        scene.get_from(way).fails(6, &["data"]);
        scene.put_to(way).fails(6, &["data"]);
    }
    scene.get_from("10.77.0.1:data/link").fails(6, &["link"]);
    files::write(&scene.directory.join("the same"), 100, 9);
    files::assert_same(
        &scene.directory.join("the same"),
        &scene.directory.join("secret"),
    );
    scene.holds(&["folder", "link", "up"]);
}

#[test]
fn target_is_a_directory() {
    if !ready("target_is_a_directory") {
        return;
    }
    let scene = Scene::new();
    std::fs::create_dir_all(scene.export.join("folder/file"))
        .expect("cannot make a test directory");
    // The file would go into the folder under its own name, and there is a directory of that name.
    scene
        .put_to("10.77.0.1:data/folder")
        .fails(7, &["directory"]);
    // A directory is no file, and a file is no directory.
    scene
        .get_from("10.77.0.1:data/folder")
        .fails(7, &["directory", "-r"]);
    files::write(&scene.export.join("plain"), 10, 1);
    scene
        .put_to("10.77.0.1:data/plain/below")
        .fails(7, &["directory"]);
    scene.holds(&["folder", "plain"]);
    assert!(files::names(&scene.export.join("folder/file")).is_empty());
}

#[test]
fn no_space_left() {
    if !ready("no_space_left") {
        return;
    }
    let mut directory = Directory::new();
    let export = directory.small_disk("small", 16);
    let before = files::names(&export);
    let scene = Scene::with_export(directory, export);
    files::write(&scene.directory.join("large"), 64 << 20, 2);
    let outcome = scene.blkcp(&[&scene.path("large"), "10.77.0.1:data/large"]);
    outcome.fails(8, &["space"]);
    assert_eq!(files::names(&scene.export), before);
    // What fits still goes through.
    scene.put_to("10.77.0.1:data/file").ok();
    files::assert_same(&scene.directory.join("file"), &scene.export.join("file"));
}

#[test]
fn no_privileges() {
    if !ready("no_privileges") {
        return;
    }
    let scene = Scene::new();
    // A place that anybody can reach: the target directory need not be one.
    let open = std::env::temp_dir().join(format!("blk-test-{}", std::process::id()));
    std::fs::create_dir_all(&open).expect("cannot make a directory");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755))
        .expect("cannot open a directory");
    std::fs::copy(binary("blkcp"), open.join("blkcp")).expect("cannot copy blkcp");
    std::fs::copy(scene.directory.join("file"), open.join("file")).expect("cannot copy the file");
    let mut command = scene.hosts.command(Host::Client, "setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all",
        "--",
    ]);
    command
        .arg(open.join("blkcp"))
        .args(["--json", "--datapath", "copy"])
        .arg(open.join("file"));
    let outcome = Running::start(command.arg("10.77.0.1:data/file"), &scene.directory).outcome();
    let _ = std::fs::remove_dir_all(&open);
    outcome.fails(9, &["CAP_NET_ADMIN"]);
    scene.holds(&[]);
}

#[test]
fn an_unreadable_or_unwritable_place() {
    if !ready("an_unreadable_or_unwritable_place") {
        return;
    }
    let scene = Scene::new();
    // Root passes permissions, but not the immutable attribute.
    let folder = scene.export.join("locked");
    std::fs::create_dir(&folder).expect("cannot make a test directory");
    must(std::process::Command::new("chattr").arg("+i").arg(&folder));
    let outcome = scene.put_to("10.77.0.1:data/locked/new");
    must(std::process::Command::new("chattr").arg("-i").arg(&folder));
    outcome.fails(9, &["permi"]);
    assert!(files::names(&folder).is_empty());
}

#[test]
fn an_interface_without_native_xdp() {
    if !ready("an_interface_without_native_xdp") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let hosts = Hosts::up(Link::of(3498));
    let mut daemon = Daemon::spawn(&hosts, "lo", &export, &directory);
    let status = daemon.wait(Duration::from_secs(10));
    assert_eq!(
        status.and_then(|status| status.code()),
        Some(11),
        "{}",
        daemon.log()
    );
    assert!(
        daemon.log().contains("lo") && daemon.log().contains("XDP"),
        "{}",
        daemon.log()
    );

    let mut daemon = Daemon::spawn(&hosts, "nothing0", &export, &directory);
    let status = daemon.wait(Duration::from_secs(10));
    assert_eq!(
        status.and_then(|status| status.code()),
        Some(11),
        "{}",
        daemon.log()
    );
    assert!(daemon.log().contains("nothing0"), "{}", daemon.log());
}

#[test]
fn an_export_that_is_not_there() {
    if !ready("an_export_that_is_not_there") {
        return;
    }
    let directory = Directory::new();
    let hosts = Hosts::up(Link::of(3498));
    let mut daemon = Daemon::spawn(&hosts, "blk0", &directory.join("missing"), &directory);
    let status = daemon.wait(Duration::from_secs(10));
    assert_eq!(
        status.and_then(|status| status.code()),
        Some(5),
        "{}",
        daemon.log()
    );
    assert!(daemon.log().contains("missing"), "{}", daemon.log());
    assert!(!hosts.has_xdp(Host::Server), "blockd left its XDP program");
}

#[test]
fn wrong_flags() {
    if !ready("wrong_flags") {
        return;
    }
    let scene = Scene::new();
    scene
        .blkcp(&["--no-such-flag"])
        .fails(2, &["--no-such-flag"]);
    scene.blkcp(&[&scene.path("file")]).fails(2, &["usage"]);
    scene
        .blkcp(&[
            "--parallel",
            "many",
            &scene.path("file"),
            "10.77.0.1:data/x",
        ])
        .fails(2, &["many"]);
    // Two local names: nothing for blkcp to do.
    scene
        .blkcp(&[&scene.path("file"), &scene.path("copy")])
        .fails(2, &["HOST:"]);
    scene.holds(&[]);
}
