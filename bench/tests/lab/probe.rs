//! `blockd probe` on the hosts of the lab: what it says of veth, of a program that is in the way, and to whom.

use std::fs::{File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use aya::Ebpf;
use aya::programs::{Xdp, XdpMode};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::{Directory, binary, must, ready};

/// What a probe said and how it ended.
struct Probed {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Probed {
    fn of(command: &mut Command) -> Self {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().expect("the probe can be started");
        Self {
            code: status.code(),
            stdout: String::from_utf8(stdout).expect("text"),
            stderr: String::from_utf8(stderr).expect("text"),
        }
    }

    /// On the server, with these arguments.
    fn on_server(hosts: &Hosts, arguments: &[&str]) -> Self {
        let mut command = hosts.command(Host::Server, binary("blockd"));
        Self::of(command.arg("probe").args(arguments))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}\n{}", self.stdout, self.stderr))
    }

    #[track_caller]
    fn says(&self, words: &[&str]) {
        for word in words {
            assert!(
                self.stdout.contains(word),
                "no {word:?} in:\n{}",
                self.stdout
            );
        }
    }
}

/// The finding of a part about one thing.
#[track_caller]
fn finding<'a>(part: &'a Value, key: &str) -> &'a Value {
    let findings = part["findings"].as_array().expect("findings");
    findings
        .iter()
        .find(|finding| finding["key"] == key)
        .unwrap_or_else(|| panic!("nothing about {key}: {part}"))
}

/// Kernels before 6.3 do not tell what a driver can do.
fn told(interface: &Value) -> bool {
    !interface["native_xdp"].is_null()
}

#[test]
fn a_probe_of_veth_says_what_it_can_do() {
    if !ready("a_probe_of_veth_says_what_it_can_do") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let export = export.to_str().expect("test directories have plain paths");
    let hosts = Hosts::up(Link::of(3498));
    let probed = Probed::on_server(&hosts, &["-i", "blk0", "--path", export, "--json"]);
    let value = probed.json();
    assert_eq!(probed.code, Some(0), "{value:#}");
    assert_eq!(
        (&value["format"], &value["exit_code"]),
        (&1.into(), &0.into())
    );

    let host = &value["host"];
    assert_eq!(host["capabilities"]["CAP_NET_ADMIN"], true);
    assert_eq!(
        (&host["io_uring"], &host["af_xdp"]),
        (&true.into(), &true.into())
    );

    let interface = &value["interfaces"][0];
    assert_eq!(interface["name"], "blk0");
    assert_eq!(interface["driver"]["name"], "veth");
    assert_eq!(interface["queues"]["now"], 2);
    assert_eq!(interface["mtu"], 3498);
    assert_eq!(interface["xdp_program"], Value::Null);
    assert!(interface["addresses"].to_string().contains("10.77.0.1"));
    if told(interface) {
        assert_eq!(interface["native_xdp"], true);
        assert_eq!(interface["zero_copy"], false);
        let zero_copy = finding(interface, "zero_copy");
        assert_eq!(zero_copy["level"], "note");
        assert_eq!(
            zero_copy["text"],
            "no, driver veth has none; `auto` takes UDP sockets"
        );
    }
    let quirk = finding(interface, "quirk");
    assert!(
        quirk["source"]
            .as_str()
            .is_some_and(|source| source.contains("veth"))
    );

    let path = &value["paths"][0];
    assert_eq!(
        (&path["path"], &path["writable"]),
        (&export.into(), &true.into())
    );
    assert!(path["free_bytes"].as_u64().is_some_and(|free| free > 0));
    assert!(path["plan_write"].is_string());
    // Nothing is left behind, on the disk or on the interface.
    assert_eq!(std::fs::read_dir(export).expect("readable").count(), 0);
    assert!(!hosts.has_xdp(Host::Server), "a program was left");

    // Without names: all but lo, in words.
    let probed = Probed::on_server(&hosts, &[]);
    assert_eq!(probed.code, Some(0), "{}", probed.stdout);
    probed.says(&[
        "interface blk0",
        "native xdp",
        "veth",
        "blockd can run like this",
    ]);
    assert!(!probed.stdout.contains("interface lo"), "{}", probed.stdout);

    // Fewer RX queues than the other end has TX queues: then the driver takes no program.
    if told(interface) {
        let pair = "link add blkfew0 numrxqueues 1 numtxqueues 1 type veth \
                    peer name blkfew1 numrxqueues 4 numtxqueues 4";
        must(hosts.command(Host::Server, "ip").args(pair.split(' ')));
        let probed = Probed::on_server(&hosts, &["-i", "blkfew0", "--json"]);
        assert_eq!(probed.code, Some(11), "{}", probed.stdout);
        let value = probed.json();
        let native = finding(&value["interfaces"][0], "native_xdp");
        assert_eq!(native["level"], "missing");
        assert_eq!(native["fix"], "at the other end: ethtool -L PEER tx 1");
    }
}

#[test]
fn a_probe_of_what_cannot_be_used_says_so() {
    if !ready("a_probe_of_what_cannot_be_used_says_so") {
        return;
    }
    let hosts = Hosts::up(Link::of(3498));
    let probed = Probed::on_server(&hosts, &["-i", "nothing0"]);
    assert_eq!(probed.code, Some(11));
    probed.says(&["nothing0", "ip link", "exit code 11"]);

    let probed = Probed::on_server(&hosts, &["-i", "blk0", "--path", "/no/such/place"]);
    assert_eq!(probed.code, Some(5));
    probed.says(&["/no/such/place does not exist"]);

    let probed = Probed::on_server(&hosts, &["-i", "lo"]);
    assert_eq!(probed.code, Some(11));

    // A bridge: the answer names its port, and that of the port names the bridge.
    for arguments in [
        "link add blkbridge0 type bridge",
        "link set blk0 master blkbridge0",
    ] {
        must(hosts.command(Host::Server, "ip").args(arguments.split(' ')));
    }
    let arguments = ["-i", "blkbridge0", "-i", "blk0", "--json"];
    let probed = Probed::on_server(&hosts, &arguments);
    assert_eq!(probed.code, Some(11));
    let value = probed.json();
    let (bridge, port) = (&value["interfaces"][0], &value["interfaces"][1]);
    assert_eq!(
        (&bridge["kind"], &port["master"]),
        (&"bridge".into(), &"blkbridge0".into())
    );
    assert_eq!(bridge["members"], serde_json::json!(["blk0"]));
    let role = finding(bridge, "role");
    assert_eq!(role["level"], "missing");
    assert!(role["fix"].to_string().contains("(blk0)"), "{role}");
    let role = finding(port, "role");
    assert_eq!(role["level"], "warning");
    assert!(role["fix"].to_string().contains("nomaster"), "{role}");

    assert_eq!(Probed::on_server(&hosts, &["--no-such-flag"]).code, Some(2));
}

#[test]
fn a_probe_names_the_program_that_is_in_the_way() {
    if !ready("a_probe_names_the_program_that_is_in_the_way") {
        return;
    }
    let hosts = Hosts::up(Link::of(3498));
    let foreign = attach_foreign(&hosts);
    let probed = Probed::on_server(&hosts, &["-i", "blk0", "--json"]);
    let value = probed.json();
    let interface = &value["interfaces"][0];
    let program = &interface["xdp_program"];
    assert_eq!(probed.code, Some(11), "{value:#}");
    assert_eq!(
        (&program["mode"], &program["name"]),
        (&"native".into(), &"foreign".into())
    );
    assert_eq!(program["tag"].as_str().map(str::len), Some(16), "{program}");
    let taken = finding(interface, "xdp_program");
    assert_eq!(taken["level"], "missing");
    let text = taken["text"].as_str().expect("text");
    assert!(
        text.contains("\"foreign\" (id ") && text.contains(", tag "),
        "{text}"
    );

    // blockd's own program is no obstacle to whoever asks beside it.
    drop(foreign);
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let _daemon = Daemon::start(&hosts, &export, &directory);
    let probed = Probed::on_server(&hosts, &["-i", "blk0"]);
    assert_eq!(probed.code, Some(0), "{}", probed.stdout);
    probed.says(&["a blockd or blkcp has the interface now"]);
}

/// Puts a program on the server's interface that is not blockd's by its name: it is its object, with another name in it.
fn attach_foreign(hosts: &Hosts) -> Ebpf {
    let object = include_bytes!("../../../xdp-prog/blk_xdp.o");
    let (ours, theirs) = (b"blk_xdp\0", b"foreign\0");
    let mut object = object.to_vec();
    let places: Vec<usize> = (0..object.len() - ours.len())
        .filter(|at| object[*at..].starts_with(ours))
        .collect();
    assert_eq!(places.len(), 1, "the name is once in the object");
    object[places[0]..][..theirs.len()].copy_from_slice(theirs);

    let namespace = format!("/run/netns/{}", hosts.namespace(Host::Server));
    let attach = move || {
        let namespace = File::open(namespace).expect("the namespace is there");
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("cannot enter the namespace");
        let mut foreign = Ebpf::load(&object).expect("the object can be loaded");
        let program: &mut Xdp = foreign
            .program_mut("foreign")
            .expect("the program has the other name")
            .try_into()
            .expect("an XDP program");
        program.load().expect("the program can be loaded");
        program
            .attach("blk0", XdpMode::Driver)
            .expect("the program can be attached");
        foreign
    };
    // A thread of its own: there is no way back from the namespace.
    std::thread::spawn(attach).join().expect("attached")
}

#[test]
fn a_probe_by_an_ordinary_user_works_in_part() {
    if !ready("a_probe_by_an_ordinary_user_works_in_part") {
        return;
    }
    let hosts = Hosts::up(Link::of(3498));
    let _foreign = attach_foreign(&hosts);
    // A place that anybody can reach: the target directory need not be one.
    let open = std::env::temp_dir().join(format!("blk-test-probe-{}", std::process::id()));
    std::fs::create_dir_all(&open).expect("cannot make a directory");
    std::fs::set_permissions(&open, Permissions::from_mode(0o755))
        .expect("cannot open a directory");
    std::fs::copy(binary("blockd"), open.join("blockd")).expect("cannot copy blockd");
    let mut command = hosts.command(Host::Server, "setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.args(["--inh-caps=-all", "--"]);
    command.arg(open.join("blockd"));
    command.args(["probe", "-i", "blk0", "--json", "--path"]);
    let probed = Probed::of(command.arg(&open));
    let _ = std::fs::remove_dir_all(&open);
    let value = probed.json();
    assert_eq!(probed.code, Some(9), "{value:#}");

    let privileges = finding(&value["host"], "privileges");
    assert_eq!(privileges["level"], "missing");
    assert!(privileges["text"].to_string().contains("CAP_NET_ADMIN"));
    let interface = &value["interfaces"][0];
    assert_eq!(interface["driver"]["name"], "veth");
    assert_eq!(interface["queues"]["now"], 2);
    if told(interface) {
        assert_eq!(interface["native_xdp"], true);
    }
    // Whose the program is, only the privileged may ask; that there is one, anybody.
    let program = &interface["xdp_program"];
    assert!(program["id"].as_u64().is_some_and(|id| id > 0), "{program}");
    assert_eq!(program["name"], Value::Null);
    let taken = finding(interface, "xdp_program");
    assert_eq!(taken["level"], "unknown");
    assert!(
        taken["text"].to_string().contains("CAP_SYS_ADMIN"),
        "{taken}"
    );
    let path = &value["paths"][0];
    assert_eq!(
        (&path["found"], &path["writable"]),
        (&true.into(), &false.into())
    );
    assert_eq!(finding(path, "writable")["level"], "unknown");
}
