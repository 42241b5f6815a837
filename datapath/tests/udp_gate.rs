//! What a guarded port lets through, over the loopback of a namespace of its own.

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use blk_datapath::udp::{Gate, Grouping, UdpCounters, UdpLink, UdpPort};
use blk_datapath::umem::Umem;
use blk_proto::net::{self, Path};
use blk_proto::wire::{HEADER_LEN, KIND_AT, Kind};
use blk_xdp::HandshakeLimit;
use support::netns;

const FRAMES: u32 = 1024;
/// Bytes of a packet of ours, from its Ethernet header on, when it is as long as expected.
const PACKET_LEN: usize = 1200;
const HELLO: u8 = Kind::Hello as u8;
const DATA: u8 = Kind::Data as u8;

/// A guarded link, and another that sends to it.
struct Ends {
    umem: Umem,
    guarded: UdpLink,
    sender: (Umem, UdpLink),
    path: Path,
}

impl Ends {
    fn new(address: IpAddr, allow: &[&str], handshakes: Option<HandshakeLimit>) -> Self {
        let allow: Vec<_> = allow.iter().map(|text| text.parse().unwrap()).collect();
        let gate = Arc::new(Gate::new(&allow, handshakes));
        let port = UdpPort::listen(0, None, 1).unwrap().remove(0);
        let port = port.guarded_by(gate);
        let remote = SocketAddr::new(address, port.port());
        let (mut umem, sender_umem) = (frames(), frames());
        let mut guarded = UdpLink::new(Arc::new(port), &umem, PACKET_LEN).unwrap();
        assert_eq!(guarded.fill(&mut umem, 512), 512);
        let port = UdpPort::connect(remote).unwrap();
        let path = Path::new([0; 6], [0; 6], port.local().unwrap(), remote);
        let sender = UdpLink::new(Arc::new(port), &sender_umem, PACKET_LEN).unwrap();
        Self {
            umem,
            guarded,
            sender: (sender_umem, sender),
            path,
        }
    }

    /// Sends datagrams of these kinds and lengths, in as few messages as go, each filled with its number. The numbers of those
    /// that get through.
    fn send(&mut self, datagrams: &[(u8, usize)]) -> Vec<usize> {
        let (umem, link) = &mut self.sender;
        for (number, &(kind, len)) in datagrams.iter().enumerate() {
            let mut frame = umem.allocate().unwrap();
            let packet = umem.packet_mut(&mut frame);
            let at = self.path.write_headers(packet, len).unwrap();
            packet[at..at + len].fill(number as u8);
            if len > KIND_AT {
                packet[at + KIND_AT] = kind;
            }
            link.transmit(umem, frame, at + len, Grouping::Allowed)
                .unwrap();
        }
        link.kick(umem);
        assert_eq!(link.queued(), 0);
        link.complete(umem, &mut Vec::new());
        self.receive(datagrams)
    }

    /// The loopback delivers before send returns: all that will come is there.
    fn receive(&mut self, datagrams: &[(u8, usize)]) -> Vec<usize> {
        let mut through = Vec::new();
        for _ in 0..datagrams.len() {
            let mut batch = Vec::new();
            self.guarded.receive(&mut self.umem, &mut batch);
            for frame in batch {
                let packet = net::parse(self.umem.packet(&frame)).unwrap();
                assert_eq!(packet.source, self.path.source);
                let number = usize::from(packet.payload[0]);
                let (kind, len) = datagrams[number];
                assert_eq!((packet.payload[KIND_AT], packet.payload.len()), (kind, len));
                let rest = &packet.payload[KIND_AT + 1..];
                assert!(rest.iter().all(|&byte| usize::from(byte) == number));
                through.push(number);
                self.umem.release(frame);
            }
        }
        self.guarded.fill(&mut self.umem, 512);
        self.umem.assert_conserved();
        assert_eq!(self.umem.counts().fill, 512);
        through
    }

    fn refused(&self) -> [u64; 3] {
        let UdpCounters {
            not_allowed,
            too_short,
            handshakes_limited,
            ..
        } = self.guarded.counters();
        [not_allowed, too_short, handshakes_limited]
    }
}

fn frames() -> Umem {
    Umem::anonymous(FRAMES).unwrap()
}

#[test]
fn of_a_message_each_handshake_counts_and_the_rest_passes() {
    if !netns::enter_loopback() {
        return;
    }
    let handshakes = HandshakeLimit::new(1, 3).unwrap();
    for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let headers = if address.is_ipv6() { 62 } else { 42 };
        // As long as expected, where each datagram lies in a frame; shorter, where they lie across; longer, then expected.
        for (len, count) in [(PACKET_LEN - headers, 40), (HEADER_LEN, 64), (2000, 30)] {
            let mut ends = Ends::new(address, &[], Some(handshakes));
            let kind = |number| if number % 3 == 1 { HELLO } else { DATA };
            let datagrams: Vec<_> = (0..count).map(|number| (kind(number), len)).collect();
            let hellos = |most| {
                let mut left = most;
                (0..count)
                    .filter(move |&number| {
                        let limited = kind(number) == HELLO && left == 0;
                        left -= usize::from(kind(number) == HELLO && left > 0);
                        !limited
                    })
                    .collect::<Vec<_>>()
            };
            assert_eq!(ends.send(&datagrams), hellos(3), "{len}");
            assert_eq!(ends.send(&datagrams), hellos(0), "{len}");
            let greetings = datagrams.iter().filter(|&&(kind, _)| kind == HELLO).count();
            assert_eq!(ends.refused(), [0, 0, 2 * greetings as u64 - 3]);
            assert!(
                ends.guarded.counters().receive_calls < 8,
                "they came in groups"
            );
        }
    }
}

#[test]
fn who_is_not_allowed_and_what_is_too_short_costs_no_frame() {
    if !netns::enter_loopback() {
        return;
    }
    let mut ends = Ends::new(Ipv4Addr::LOCALHOST.into(), &["127.0.0.2", "::/0"], None);
    assert!(ends.send(&[(DATA, 1000); 50]).is_empty());
    assert_eq!(ends.refused(), [50, 0, 0]);

    let mut ends = Ends::new(Ipv4Addr::LOCALHOST.into(), &["127.0.0.0/8"], None);
    assert!(ends.send(&[(DATA, 1); 130]).is_empty());
    assert_eq!(ends.refused(), [0, 130, 0]);
    // One short datagram at the end of a message, and an empty one of its own.
    let empty = UdpSocket::bind("127.0.0.1:0").unwrap();
    empty.send_to(&[], ends.path.destination).unwrap();
    let datagrams = [(DATA, 100), (DATA, 100), (DATA, HEADER_LEN - 1)];
    assert_eq!(ends.send(&datagrams), [0, 1]);
    assert_eq!(ends.refused(), [0, 132, 0]);
}
