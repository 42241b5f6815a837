//! UDP links over the loopback of a namespace of their own: what one sends comes out of the other as it was, in groups.

mod support;

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blk_datapath::udp::{Grouping, UdpError, UdpLink, UdpPort};
use blk_datapath::umem::{Frame, Rx, Umem};
use blk_proto::net::{self, Ecn, Path};
use proptest::prelude::*;
use support::{PatternFile, netns};

/// Where the payload of an AF_XDP packet begins, from its Ethernet header.
const PAYLOAD_OFFSET: usize = 128;
const FRAMES: u32 = 2048;
const PATIENCE: Duration = Duration::from_secs(10);

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A link with its frames.
struct End {
    umem: Umem,
    link: UdpLink,
    port: Arc<UdpPort>,
    /// Of what it sends.
    grouping: Grouping,
}

impl End {
    fn new(port: UdpPort, packet_len: usize) -> Self {
        let mut umem = Umem::anonymous(FRAMES).unwrap();
        let port = Arc::new(port);
        let mut link = UdpLink::new(Arc::clone(&port), &umem, packet_len).unwrap();
        assert_eq!(link.fill(&mut umem, 512), 512);
        Self {
            umem,
            link,
            port,
            grouping: Grouping::Allowed,
        }
    }

    /// A server, and a client connected to it.
    fn pair(address: IpAddr, packet_len: usize) -> (Self, Self) {
        let server = UdpPort::listen(0, None, 1).unwrap().remove(0);
        let client = UdpPort::connect(SocketAddr::new(address, server.port())).unwrap();
        (Self::new(server, packet_len), Self::new(client, packet_len))
    }

    /// The way from a client to the server it is connected to.
    fn path(&self, server: &Self) -> Path {
        let local = self.port.local().unwrap();
        let remote = SocketAddr::new(local.ip(), server.port.port());
        Path::new([0; 6], [0; 6], local, remote)
    }

    /// Queues a packet of `len` bytes behind its headers, with bytes of the pattern from `position` on.
    fn queue(&mut self, path: &Path, len: usize, position: u64) {
        let mut frame = self.umem.allocate().unwrap();
        let packet = self.umem.packet_mut(&mut frame);
        let at = path.write_headers(packet, len).unwrap();
        PatternFile::fill(&mut packet[at..at + len], position);
        self.link
            .transmit(&mut self.umem, frame, at + len, self.grouping)
            .unwrap();
    }

    /// Sends all that is queued, and takes the frames back.
    fn flush(&mut self) {
        let (started, mut held) = (Instant::now(), Vec::new());
        while self.link.queued() > 0 {
            assert!(started.elapsed() < PATIENCE, "the kernel takes no packets");
            self.link.kick(&self.umem);
        }
        self.link.complete(&mut self.umem, &mut held);
        assert!(held.is_empty());
        self.umem.assert_conserved();
        assert_eq!(self.umem.counts().tx, 0);
    }

    /// Waits for `count` packets.
    fn receive(&mut self, count: usize) -> Vec<Frame<Rx>> {
        let (started, mut batch) = (Instant::now(), Vec::new());
        while batch.len() < count {
            assert!(
                started.elapsed() < PATIENCE,
                "{} of {count} packets came; {:?}",
                batch.len(),
                self.link.counters()
            );
            self.link.fill(&mut self.umem, 512);
            self.link.receive(&mut self.umem, &mut batch);
            self.umem.assert_conserved();
        }
        batch
    }

    /// Checks packets against the lengths they were sent with, one after the other in the pattern, and gives the frames back.
    fn check(&mut self, frames: Vec<Frame<Rx>>, path: &Path, lengths: &[usize]) {
        assert_eq!(frames.len(), lengths.len());
        let mut position = 0;
        for (frame, &len) in frames.into_iter().zip(lengths) {
            let packet = net::parse(self.umem.packet(&frame)).unwrap();
            assert_eq!(packet.source, path.source);
            assert_eq!(packet.destination, path.destination);
            assert_eq!(packet.payload_offset, path.header_len());
            assert_eq!(Ecn::from_bits(packet.ecn), Ecn::Capable0);
            assert_eq!(packet.payload.len(), len);
            assert_eq!(PatternFile::mismatch(packet.payload, position), None);
            position += len as u64;
            self.umem.release(frame);
        }
    }

    fn queue_all(&mut self, path: &Path, lengths: &[usize]) {
        let mut position = 0;
        for &len in lengths {
            self.queue(path, len, position);
            position += len as u64;
        }
    }
}

#[test]
fn what_is_expected_travels_in_groups_and_lies_in_place() {
    if !netns::enter_loopback() {
        return;
    }
    for address in [V4, V6] {
        let packet_len = PAYLOAD_OFFSET + 1024;
        let (mut server, mut client) = End::pair(address, packet_len);
        let there = client.path(&server);
        let mut lengths = vec![packet_len - there.header_len(); 200];
        lengths.push(77);
        client.queue_all(&there, &lengths);
        client.flush();
        let frames = server.receive(lengths.len());
        server.check(frames, &there, &lengths);
        let (sent, received) = (client.link.counters(), server.link.counters());
        assert_eq!((sent.sent, received.received), (201, 201));
        assert!(sent.send_calls <= 5, "{sent:?}");
        assert!(received.receive_calls <= 5, "{received:?}");
        assert_eq!((received.copied, received.oversized), (0, 0));
        assert_eq!((sent.unsegmented, sent.refused), (0, 0));
        // And back, from the address that was asked.
        let back = Path::new([0; 6], [0; 6], there.destination, there.source);
        server.queue_all(&back, &lengths);
        server.flush();
        let frames = client.receive(lengths.len());
        client.check(frames, &back, &lengths);
        assert_eq!(client.link.counters().copied, 0);
        assert!(client.link.counters().receive_buffer > 0);
    }
}

#[test]
fn packets_that_go_alone_share_no_message() {
    if !netns::enter_loopback() {
        return;
    }
    let packet_len = PAYLOAD_OFFSET + 1024;
    let (mut server, mut client) = End::pair(V4, packet_len);
    let there = client.path(&server);
    let lengths = [packet_len - there.header_len(); 30];
    client.queue_all(&there, &lengths[..10]);
    client.grouping = Grouping::Alone;
    client.queue_all(&there, &lengths[..10]);
    client.grouping = Grouping::Allowed;
    client.queue_all(&there, &lengths[..10]);
    client.flush();
    let frames = server.receive(lengths.len());
    assert_eq!(frames.len(), lengths.len());
    for frame in frames {
        server.umem.release(frame);
    }
    let sent = client.link.counters();
    assert_eq!((sent.sent, sent.send_calls), (30, 1 + 10 + 1), "{sent:?}");
}

#[test]
fn segments_of_another_length_are_copied_once_and_then_expected() {
    if !netns::enter_loopback() {
        return;
    }
    let (mut server, mut client) = End::pair(V4, PAYLOAD_OFFSET + 1024);
    let there = client.path(&server);
    for (len, count) in [(3670, 17), (600, 64), (1110, 59)] {
        let lengths = vec![len; count];
        for copied in [count as u64, 0] {
            let before = server.link.counters().copied;
            client.queue_all(&there, &lengths);
            client.flush();
            let frames = server.receive(count);
            server.check(frames, &there, &lengths);
            assert_eq!(server.link.counters().copied - before, copied, "{len}");
        }
    }
}

#[test]
fn a_datagram_that_fits_no_frame_is_dropped_and_counted() {
    if !netns::enter_loopback() {
        return;
    }
    let mut server = End::new(
        UdpPort::listen(0, None, 1).unwrap().remove(0),
        PAYLOAD_OFFSET + 1024,
    );
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = ("127.0.0.1", server.port.port());
    stranger.send_to(&[1; 60_000], to).unwrap();
    stranger.send_to(&[], to).unwrap();
    stranger.send_to(&[2; 10], to).unwrap();
    let frames = server.receive(1);
    assert_eq!(
        net::parse(server.umem.packet(&frames[0])).unwrap().payload,
        [2; 10]
    );
    assert_eq!(server.link.counters().oversized, 1);
    frames
        .into_iter()
        .for_each(|frame| server.umem.release(frame));
}

#[test]
fn flows_are_kept_apart() {
    if !netns::enter_loopback() {
        return;
    }
    let server = UdpPort::listen(0, None, 1).unwrap().remove(0);
    let remote = SocketAddr::new(V4, server.port());
    let mut server = End::new(server, PAYLOAD_OFFSET + 1024);
    let mut clients = [0; 2].map(|_| {
        let port = UdpPort::connect(remote).unwrap();
        End::new(port, PAYLOAD_OFFSET + 1024)
    });
    // One packet for each in turn: none of them may go to the other.
    for step in 0..20 {
        for client in &clients {
            let there = client.path(&server);
            let back = Path::new([0; 6], [0; 6], there.destination, there.source);
            server.queue(&back, 500, step * 500);
        }
    }
    server.flush();
    for client in &mut clients {
        let there = client.path(&server);
        let back = Path::new([0; 6], [0; 6], there.destination, there.source);
        let frames = client.receive(20);
        client.check(frames, &back, &[500; 20]);
    }
}

#[test]
fn a_closed_port_is_heard_of() {
    if !netns::enter_loopback() {
        return;
    }
    let closed = UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let port = UdpPort::connect(closed).unwrap();
    let mut client = End::new(port, PAYLOAD_OFFSET + 1024);
    let path = Path::new([0; 6], [0; 6], client.port.local().unwrap(), closed);
    let started = Instant::now();
    let heard = loop {
        client.queue(&path, 100, 0);
        client.flush();
        client.link.receive(&mut client.umem, &mut Vec::new());
        if let Some(error) = client.link.take_error() {
            break error;
        }
        assert!(started.elapsed() < PATIENCE, "nothing was heard");
    };
    assert_eq!(heard.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_port_is_taken_once_and_shared_by_its_workers() {
    if !netns::enter_loopback() {
        return;
    }
    let group = UdpPort::listen(0, None, 3).unwrap();
    assert_eq!(group.len(), 3);
    let port = group[0].port();
    assert!(group.iter().all(|member| member.port() == port));
    assert!(matches!(UdpPort::listen(port, None, 1), Err(UdpError::InUse(taken)) if taken == port));
    // Each flow has one worker.
    let mut workers: Vec<End> = group
        .into_iter()
        .map(|member| End::new(member, PAYLOAD_OFFSET + 1024))
        .collect();
    for _ in 0..8 {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..5 {
            client.send_to(&[1; 100], ("127.0.0.1", port)).unwrap();
        }
        // The loopback delivers before send returns.
        let mut came: Vec<usize> = Vec::new();
        for worker in &mut workers {
            let mut batch = Vec::new();
            worker.link.receive(&mut worker.umem, &mut batch);
            came.push(batch.len());
            batch
                .into_iter()
                .for_each(|frame| worker.umem.release(frame));
        }
        came.sort_unstable();
        assert_eq!(came, [0, 0, 5]);
    }
}

#[test]
fn a_port_of_an_interface_takes_no_packets_of_others() {
    if !netns::enter(1500) {
        return;
    }
    let [other, _] = netns::ENDS;
    let elsewhere = UdpPort::listen(0, Some(netns::interface_index(other)), 1).unwrap();
    let remote = SocketAddr::new(V4, elsewhere[0].port());
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(remote).unwrap();
    client.send(b"anyone?").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let refused = client.recv(&mut [0; 8]).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    // The loopback's own port of that number is free.
    let index = netns::interface_index("lo");
    let here = UdpPort::listen(remote.port(), Some(index), 2).unwrap();
    assert_eq!(here[1].port(), remote.port());
}

#[test]
fn lengths_in_any_order_come_as_they_were_sent() {
    if !netns::enter_loopback() {
        return;
    }
    let (server, client) = End::pair(V6, PAYLOAD_OFFSET + 3584);
    let there = client.path(&server);
    let ends = RefCell::new((server, client));
    let length = prop_oneof![3 => Just(3650_usize), 1 => 1_usize..3650, 1 => Just(66_usize)];
    let lengths = proptest::collection::vec(length, 1..150);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    runner
        .run(&lengths, |lengths| {
            let (server, client) = &mut *ends.borrow_mut();
            client.queue_all(&there, &lengths);
            client.flush();
            let frames = server.receive(lengths.len());
            server.check(frames, &there, &lengths);
            prop_assert_eq!(server.umem.counts().rx, 0);
            Ok(())
        })
        .unwrap();
}
