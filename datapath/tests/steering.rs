//! From an ordinary UDP socket through the XDP program into an AF_XDP socket, and back. Needs root.
//!
//! ```text
//!  namespace a                      namespace b
//!  UdpSocket ---- veth ----> blk_xdp --port 9000--> XskSocket --+
//!      ^                        +------port 9001--> UdpSocket   |
//!      +---------------------- veth <----------- Path::reply_to-+
//! ```

#[path = "../../xdp-prog/tests/netns/mod.rs"]
mod netns;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use blk_datapath::umem::{Frame, Rx, Umem};
use blk_datapath::xsk::{BindMode, XskConfig, XskSocket};
use blk_proto::net::{Path, UdpFrame, fill_udp_checksum, parse};
use blk_xdp::{AttachMode, Program};
use netns::{B, is_root, pair};

const PATIENCE: Duration = Duration::from_secs(10);
const MAC_A: [u8; 6] = [2, 0, 0, 0, 0, 1];
const MAC_B: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// As long as the protocol's header: the program drops what is shorter.
const FOR_AF_XDP: [u8; 56] = [7; 56];
/// The same, to another port.
const FOR_THE_KERNEL: [u8; 56] = [8; 56];

/// The receiving end.
struct Receiver {
    // The program first: it goes before the socket does.
    program: Program,
    socket: XskSocket,
    umem: Umem,
}

impl Receiver {
    /// Attaches the program and puts an AF_XDP socket into the slot of queue 0 and port 9000.
    fn new() -> Self {
        let mut program = Program::attach(B, AttachMode::Native).unwrap();
        let mut umem = Umem::new(1024).unwrap();
        let config = XskConfig::new(B, 0, BindMode::Copy);
        let mut socket = XskSocket::open(&config, &mut umem).unwrap();
        assert!(socket.fill(&mut umem, 256) > 0);
        program.register(0, 9000, socket.fd()).unwrap();
        Self {
            program,
            socket,
            umem,
        }
    }

    /// Waits for one packet.
    fn receive(&mut self) -> Frame<Rx> {
        let (mut batch, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        while self.socket.receive(&mut self.umem, &mut batch) == 0 {
            assert!(Instant::now() < deadline, "{:?}", self.program.counters());
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(batch.len(), 1);
        batch.remove(0)
    }

    /// Sends the packet that `write` makes; it returns the packet's length.
    fn send(&mut self, write: impl FnOnce(&mut [u8]) -> usize) {
        let mut frame = self.umem.allocate().expect("a free frame");
        let len = write(self.umem.packet_mut(&mut frame));
        let sent = self.socket.transmit(&mut self.umem, frame, len);
        sent.expect("room on the ring");
        self.socket.kick().unwrap();
    }
}

/// Writes the reply to `packet` with this payload; returns its length.
fn reply(packet: &UdpFrame<'_>, payload: &[u8], out: &mut [u8]) -> usize {
    let headers = Path::reply_to(packet)
        .write_headers(out, payload.len())
        .unwrap();
    let len = headers + payload.len();
    out[headers..len].copy_from_slice(payload);
    len
}

fn there_and_back(from: IpAddr, to: IpAddr) {
    let (a, b) = pair("steer", 1);
    let mut receiver = b.run(Receiver::new);
    let ordinary = b.run(|| UdpSocket::bind((to, 9001)).unwrap());
    let client = a.run(|| UdpSocket::bind((from, 0)).unwrap());
    for socket in [&ordinary, &client] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    client.send_to(&FOR_AF_XDP, (to, 9000)).unwrap();
    client.send_to(&FOR_THE_KERNEL, (to, 9001)).unwrap();

    let mut buffer = [0; 64];
    let (len, sender) = ordinary.recv_from(&mut buffer).unwrap();
    assert_eq!(buffer[..len], FOR_THE_KERNEL);
    assert_eq!(sender, client.local_addr().unwrap());

    let frame = receiver.receive();
    let bytes = receiver.umem.packet(&frame).to_vec();
    let packet = parse(&bytes).unwrap();
    assert_eq!(packet.payload, FOR_AF_XDP);
    assert_eq!((packet.source_mac, packet.destination_mac), (MAC_A, MAC_B));
    assert_eq!(packet.source, client.local_addr().unwrap());
    assert_eq!(packet.destination, SocketAddr::new(to, 9000));
    receiver.umem.release(frame);
    let counters = receiver.program.counters().unwrap();
    assert_eq!(counters.redirected, 1, "{counters:?}");
    assert!(counters.not_ours >= 1, "{counters:?}");

    // Without a checksum IPv4 takes a packet and IPv6 does not; with one both do.
    receiver.send(|out| reply(&packet, b"without checksum", out));
    receiver.send(|out| {
        let len = reply(&packet, b"with checksum", out);
        fill_udp_checksum(&mut out[..len]).unwrap();
        len
    });
    let expected: &[&[u8]] = match to {
        IpAddr::V4(_) => &[b"without checksum", b"with checksum"],
        IpAddr::V6(_) => &[b"with checksum"],
    };
    for expected in expected {
        let (len, sender) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], *expected);
        assert_eq!(sender, SocketAddr::new(to, 9000));
    }
}

#[test]
fn an_ipv4_packet_goes_there_and_back() {
    if is_root("an_ipv4_packet_goes_there_and_back") {
        there_and_back([10, 77, 0, 1].into(), [10, 77, 0, 2].into());
    }
}

#[test]
fn an_ipv6_packet_goes_there_and_back() {
    if is_root("an_ipv6_packet_goes_there_and_back") {
        let host = |n| IpAddr::from([0xfd00, 0x77, 0, 0, 0, 0, 0, n]);
        there_and_back(host(1), host(2));
    }
}
