//! The program on a veth pair: it comes, it goes with its process, and what stands in its way is named.
//! Needs root.

mod netns;

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aya::programs::Xdp;
use aya::programs::xdp::XdpMode;
use blk_xdp::{
    AttachError, AttachMode, Attachment, HandshakeLimit, Hold, Program, ProgramInfoError,
    WhyUnshared, link_state, netlink, program_info,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use netns::{A, B, Namespace, is_root, pair};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with, sockopt};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

/// What this crate loads, loaded by hand.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../blk_xdp.o");
/// What the child prints when the program is attached.
const READY: &str = "the program is attached";
/// The payload of a packet that is long enough for the protocol.
const PACKET: [u8; 56] = [0; 56];
/// Set for the child that holds a program.
const HOLD: &str = "BLK_XDP_TEST_HOLD";

fn attach(interface: &str) -> Result<Program, AttachError> {
    Program::attach(interface, AttachMode::Native)
}

fn attach_error(interface: &str) -> AttachError {
    attach(interface).err().expect("an error")
}

/// Waits for the interface to have no program: a second, in which this process was not kept from looking.
fn gone_within_a_second(interface: &str) -> bool {
    for _ in 0..200 {
        if link_state(&interface.into()).unwrap().xdp.is_none() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

#[test]
fn the_program_comes_and_goes_with_its_owner() {
    if !is_root("the_program_comes_and_goes_with_its_owner") {
        return;
    }
    let (a, _b) = pair("xdp-attach", 2);
    a.run(|| {
        let program = attach(A).unwrap();
        assert_eq!(program.queues(), 2);
        assert_eq!(program.interface().name, A);
        assert!(program.is_attached());
        let info = program_info(program.id()).unwrap();
        assert!(info.is_ours() && info.tag != 0, "{info:?}");
        let state = link_state(&A.into()).unwrap();
        assert_eq!(state.xdp, Some((Attachment::Native, program.id())));
        assert!(program.link_id().unwrap() > 0);
        drop(program);
        assert!(gone_within_a_second(A));

        let index = link_state(&A.into()).unwrap().index;
        let program = Program::attach(index, AttachMode::Generic).unwrap();
        let state = link_state(&index.into()).unwrap();
        assert_eq!(state.xdp, Some((Attachment::Generic, program.id())));
        assert!(program.is_attached());
    });
    // `ip link set .. xdp off` cannot take away what a link holds; the end of the interface can.
    let program = a.run(|| attach(A).unwrap());
    a.ip(&format!("link del {A}"));
    assert!(!a.run(|| program.is_attached()));
}

/// Has the kernel send by one queue only, which the other end receives by its queue 0.
fn by_queue_0(sender: &Namespace) {
    let ethtool = sender.run(|| Command::new("ethtool").args(["-L", A, "tx", "1"]).status());
    assert!(ethtool.expect("ethtool").success());
}

/// Makes a port a service whose only socket is on a queue that no packet comes by.
fn service_on_queue_1(program: &mut Program, port: u16) -> OwnedFd {
    let (raw, cloexec) = (SocketType::RAW, SocketFlags::CLOEXEC);
    let socket = socket_with(AddressFamily::XDP, raw, cloexec, None).unwrap();
    sockopt::set_xdp_rx_ring_size(&socket, 64).unwrap();
    program.serve(port, 1).unwrap();
    program.register(1, port, socket.as_raw_fd()).unwrap();
    socket
}

#[test]
fn packets_without_a_socket_reach_ordinary_sockets_and_are_counted() {
    if !is_root("packets_without_a_socket_reach_ordinary_sockets_and_are_counted") {
        return;
    }
    let (a, b) = pair("xdp-pass", 2);
    by_queue_0(&a);
    for (from, to) in [("10.77.0.1", "10.77.0.2"), ("fd00:77::1", "fd00:77::2")] {
        let mut program = b.run(|| attach(B).unwrap());
        let _home = service_on_queue_1(&mut program, 9003);
        let receive = |port| {
            let socket = UdpSocket::bind((to, port)).unwrap();
            let timeout = Some(Duration::from_secs(5));
            socket.set_read_timeout(timeout).unwrap();
            socket
        };
        let (ours, other) = b.run(|| (receive(9003), receive(9004)));
        a.run(|| {
            let socket = UdpSocket::bind((from, 0)).unwrap();
            for port in [9003, 9003, 9004] {
                socket.send_to(&PACKET, (to, port)).unwrap();
            }
            socket.send_to(b"too short", (to, 9003)).unwrap();
        });
        for socket in [&ours, &ours, &other] {
            let mut buffer = [0; 100];
            assert_eq!(socket.recv(&mut buffer).unwrap(), PACKET.len());
        }
        let counters = program.counters().unwrap();
        assert_eq!(counters.no_socket, 2, "{counters:?}");
        // It came after the others on the same queue, and may still be on its way.
        let deadline = Instant::now() + Duration::from_secs(5);
        while program.counters().unwrap().too_short == 0 {
            assert!(Instant::now() < deadline, "{:?}", program.counters());
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(counters.not_ours >= 1, "{counters:?}");
        assert_eq!(counters.redirected, 0, "{counters:?}");
    }
}

#[test]
fn packets_reach_the_kernel_on_another_cpu() {
    if !is_root("packets_reach_the_kernel_on_another_cpu") {
        return;
    }
    let (a, b) = pair("xdp-cpumap", 2);
    by_queue_0(&a);
    // A packet that goes through a CPUMAP forgets that its checksum is still to be filled in.
    let ethtool = a.run(|| {
        Command::new("ethtool")
            .args(["-K", A, "tx", "off"])
            .status()
    });
    assert!(ethtool.expect("ethtool").success());
    let mut program = b.run(|| attach(B).unwrap());
    let _home = service_on_queue_1(&mut program, 9000);
    let socket = b.run(|| UdpSocket::bind(("10.77.0.2", 9000)).unwrap());
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let cpus = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    let last: u32 = cpus
        .trim()
        .rsplit([',', '-'])
        .next()
        .unwrap()
        .parse()
        .unwrap();
    for cpu in [last, 0] {
        program.tables_mut().set_kernel_cpus(&[cpu]).unwrap();
        let before = program.counters().unwrap().kernel_cpu;
        a.run(|| {
            let from = UdpSocket::bind(("10.77.0.1", 0)).unwrap();
            from.send_to(&PACKET, ("10.77.0.2", 9000)).unwrap();
        });
        let mut buffer = [0; 100];
        let received = socket.recv(&mut buffer);
        assert_eq!(received.unwrap(), PACKET.len(), "{:?}", program.counters());
        assert_eq!(program.counters().unwrap().kernel_cpu, before + 1);
    }
}

/// Not a test of its own: the process that other tests kill. What it attaches is said by the environment.
#[test]
#[ignore = "run by another test"]
fn hold_the_program() {
    let Ok(what) = std::env::var(HOLD) else {
        return;
    };
    let object = match what.as_str() {
        "ours" | "ours, restricted" => {
            if what != "ours" {
                restrict();
            }
            let _program = attach(A).unwrap();
            println!("{READY}");
            return std::thread::sleep(Duration::from_secs(60));
        }
        "foreign" => renamed(),
        _ => another_version(),
    };
    let mut object = aya::Ebpf::load(&object).unwrap();
    let (_, program) = object.programs_mut().next().unwrap();
    let program: &mut Xdp = program.try_into().unwrap();
    program.load().unwrap();
    program.attach(A, XdpMode::Driver).unwrap();
    println!("{READY}");
    std::thread::sleep(Duration::from_secs(60));
}

/// Leaves this thread the capabilities only that attaching takes.
fn restrict() {
    let enough = CapabilitySet::BPF | CapabilitySet::NET_ADMIN;
    let sets = CapabilitySets {
        effective: enough,
        permitted: enough,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).unwrap();
}

/// The object with another name of the program.
fn renamed() -> Vec<u8> {
    let (ours, theirs) = (b"blk_xdp\0", b"foreign\0");
    let mut bytes = OBJECT.to_vec();
    for at in 0..bytes.len() - ours.len() {
        if bytes[at..].starts_with(ours) {
            bytes[at..at + theirs.len()].copy_from_slice(theirs);
        }
    }
    bytes
}

/// The object with another instruction before the last exit: `r0 = XDP_PASS`.
fn another_version() -> Vec<u8> {
    use object::{Object, ObjectSection};
    let elf = object::File::parse(OBJECT).unwrap();
    let section = elf.section_by_name("xdp.frags").unwrap();
    let (start, len) = section.file_range().unwrap();
    let mut bytes = OBJECT.to_vec();
    let mut instructions = (start as usize..(start + len) as usize).step_by(8).rev();
    let exit = instructions
        .find(|&at| bytes[at..at + 8] == [0x95, 0, 0, 0, 0, 0, 0, 0])
        .expect("a program ends");
    bytes[exit - 8..exit].copy_from_slice(&[0xb7, 0, 0, 0, 2, 0, 0, 0]);
    bytes
}

/// A child process, killed when dropped.
struct Holder(Child);

impl Holder {
    /// Starts a process that attaches a program in the caller's namespace, and waits until it has.
    fn start(what: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["hold_the_program", "--exact", "--ignored", "--nocapture"])
            .env(HOLD, what)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let holder = Self(child);
        let ready = stdout.lines().any(|line| line.unwrap().contains(READY));
        assert!(ready, "the child did not attach the program");
        holder
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().unwrap(); // SIGKILL
        self.0.wait().unwrap();
    }
}

#[test]
fn a_program_is_shared_and_goes_with_the_last_process() {
    if !is_root("a_program_is_shared_and_goes_with_the_last_process") {
        return;
    }
    let (a, _b) = pair("xdp-share", 3);
    a.run(|| {
        let holder = Holder::start("ours");
        let (mode, id) = link_state(&A.into()).unwrap().xdp.expect("a program");
        assert_eq!(mode, Attachment::Native);
        let program = attach(A).unwrap();
        assert!(program.is_joined() && program.is_attached());
        assert_eq!((program.id(), program.queues()), (id, 3));
        program.counters().unwrap();
        let generic = Program::attach(A, AttachMode::Generic).err().unwrap();
        let why = matches!(
            generic,
            AttachError::Unshared {
                why: WhyUnshared::Mode,
                ..
            }
        );
        assert!(why, "{generic:?}");

        // The first dies, the second still has it.
        drop(holder);
        assert!(!gone_within_a_second(A), "gone with the first");
        assert!(program.is_attached());
        let holder = Holder::start("ours");
        drop(program);
        let program = attach(A).unwrap();
        drop(program);
        assert_eq!(link_state(&A.into()).unwrap().xdp, Some((mode, id)));
        drop(holder);
        assert!(gone_within_a_second(A), "still there after kill -9");
        assert!(!attach(A).expect("free again").is_joined());
        // One with few privileges cannot join, but be joined.
        assert!(gone_within_a_second(A));
        let holder = Holder::start("ours, restricted");
        assert!(attach(A).unwrap().is_joined());
        drop(holder);
    });
}

#[test]
fn many_come_and_go_at_once() {
    if !is_root("many_come_and_go_at_once") {
        return;
    }
    let (a, _b) = pair("xdp-race", 2);
    // The last of some goes just when the first of others comes, again and again.
    a.run(|| {
        for _ in 0..20 {
            let start = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        start.wait();
                        let program = attach(A).expect("attached or joined");
                        assert!(program.is_attached());
                    });
                }
            });
        }
        assert!(gone_within_a_second(A));
    });
}

#[test]
fn another_program_is_named_with_its_holder() {
    if !is_root("another_program_is_named_with_its_holder") {
        return;
    }
    let (a, _b) = pair("xdp-busy", 1);
    a.run(|| {
        let holder = Holder::start("foreign");
        let (_, id) = link_state(&A.into()).unwrap().xdp.expect("a program");
        let error = attach_error(A);
        let AttachError::Busy { interface, program } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(interface, A);
        let program = program.as_ref().unwrap();
        assert_eq!((program.id, program.name.as_deref()), (id, Some("foreign")));
        let message = error.to_string();
        let process = holder.0.id();
        let comm = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap();
        let words = [
            format!("\"foreign\" (id {id}), held by BPF link "),
            format!("; stop {} (process {process})", comm.trim()),
        ];
        for words in words {
            assert!(message.contains(&words), "{message}");
        }
        let generic = Program::attach(A, AttachMode::Generic).err();
        assert!(
            matches!(generic, Some(AttachError::Busy { .. })),
            "{generic:?}"
        );
        drop(holder);
        assert!(gone_within_a_second(A), "still there after kill -9");

        let holder = Holder::start("another version");
        let error = attach_error(A);
        let why = matches!(
            error,
            AttachError::Unshared {
                why: WhyUnshared::Version,
                ..
            }
        );
        assert!(why, "{error:?}");
        let message = error.to_string();
        assert!(message.contains("another version"), "{message}");
        assert!(
            message.contains(&format!("process {}", holder.0.id())),
            "{message}"
        );
    });
}

/// Puts a program, or none (-1), on an interface as `ip link set .. xdp` does.
fn set_by_netlink(interface: u32, program: i32) {
    let mut message = LinkMessage::default();
    message.header.index = interface;
    let native = 1 << 2; // XDP_FLAGS_DRV_MODE
    let xdp = vec![LinkXdp::Fd(program), LinkXdp::Flags(native)];
    message.attributes.push(LinkAttribute::Xdp(xdp));
    netlink::request(RouteNetlinkMessage::SetLink(message)).unwrap();
}

#[test]
fn a_program_that_no_process_holds_is_told_apart() {
    if !is_root("a_program_that_no_process_holds_is_told_apart") {
        return;
    }
    let (a, _b) = pair("xdp-netlink", 1);
    a.run(|| {
        let mut object = aya::Ebpf::load(OBJECT).unwrap();
        let program: &mut Xdp = object.program_mut("blk_xdp").unwrap().try_into().unwrap();
        program.load().unwrap();
        let index = link_state(&A.into()).unwrap().index;
        set_by_netlink(index, program.fd().unwrap().as_fd().as_raw_fd());
        drop(object);
        let error = attach_error(A);
        let AttachError::Busy {
            program: Some(other),
            ..
        } = &error
        else {
            panic!("{error:?}");
        };
        assert_eq!(other.hold, Hold::Interface);
        let remedy = format!("`ip link set dev {A} xdp off`");
        assert!(error.to_string().contains(&remedy), "{error}");
        set_by_netlink(index, -1);
        attach(A).expect("free again");
    });
}

#[test]
fn interfaces_that_cannot_have_it_are_refused_with_the_reason() {
    if !is_root("interfaces_that_cannot_have_it_are_refused_with_the_reason") {
        return;
    }
    let namespace = Namespace::new("xdp-refuse");
    namespace.run(|| {
        let error = attach_error("lo");
        assert!(matches!(&error, AttachError::NoNativeXdp { interface } if interface == "lo"));
        let message = error.to_string();
        assert!(
            message.contains("the driver of lo has no native XDP"),
            "{message}"
        );
        for name in ["blk-none", "", "a-name-longer-than-fifteen", "a/b"] {
            let error = attach_error(name);
            assert!(
                matches!(error, AttachError::NoInterface(_)),
                "{name}: {error:?}"
            );
        }
        let error = Program::attach(4711, AttachMode::Native).err();
        assert!(
            matches!(error, Some(AttachError::NoInterface(_))),
            "{error:?}"
        );
    });
}

#[test]
fn a_large_mtu_is_no_obstacle_for_a_program_with_frags() {
    if !is_root("a_large_mtu_is_no_obstacle_for_a_program_with_frags") {
        return;
    }
    let (a, b) = pair("xdp-mtu", 1);
    for mtu in [9000, 65535] {
        a.ip(&format!("link set {A} mtu {mtu}"));
        b.ip(&format!("link set {B} mtu {mtu}"));
        let program = a.run(|| attach(A).unwrap());
        assert_eq!(program.interface().mtu, mtu);
    }
}

#[test]
fn a_process_without_privileges_is_told_what_it_lacks() {
    if !is_root("a_process_without_privileges_is_told_what_it_lacks") {
        return;
    }
    let (a, _b) = pair("xdp-caps", 1);
    a.run(|| {
        // What the kernel can do is asked once in a process: not by a thread without privileges.
        drop(attach(A).unwrap());
        // Capabilities are per thread, and this thread ends with the closure.
        let none = CapabilitySet::empty();
        set_capabilities(
            None,
            CapabilitySets {
                effective: none,
                permitted: none,
                inheritable: none,
            },
        )
        .unwrap();
        let error = attach_error(A);
        assert!(
            matches!(error, AttachError::NoPrivileges { .. }),
            "{error:?}"
        );
        let message = error.to_string();
        assert!(message.contains("CAP_NET_ADMIN and CAP_BPF"), "{message}");
        assert_eq!(link_state(&A.into()).unwrap().xdp, None);
    });
}

#[test]
fn cap_bpf_and_cap_net_admin_are_enough() {
    if !is_root("cap_bpf_and_cap_net_admin_are_enough") {
        return;
    }
    let (a, _b) = pair("xdp-enough", 1);
    a.run(|| {
        drop(attach(A).unwrap());
        restrict();
        let mut program = attach(A).unwrap();
        assert!(program.is_attached());
        program.counters().unwrap();
        program.serve(9000, 0).unwrap();
        let tables = program.tables_mut();
        tables.allow("10.0.0.0/8".parse().unwrap()).unwrap();
        tables.enforce_allow_list(true).unwrap();
        let limit = HandshakeLimit::new(100, 100).unwrap();
        tables.set_handshake_limit(Some(limit)).unwrap();
        tables.set_kernel_cpus(&[0]).unwrap();
        // Somebody else's program is then known by its id only.
        let AttachError::Busy { program: other, .. } = attach_error(A) else {
            panic!("not busy");
        };
        let other = other.unwrap();
        assert_eq!(
            (other.id, other.name, other.hold),
            (program.id(), None, Hold::Unknown)
        );
        let info = program_info(program.id());
        assert!(
            matches!(info, Err(ProgramInfoError::NoPrivileges)),
            "{info:?}"
        );
    });
}
