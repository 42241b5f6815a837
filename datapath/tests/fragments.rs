//! Packets in several frames on a veth pair, each test in a network namespace of its own. Needs root and Linux 6.6; see
//! [`support::netns`].

mod support;

use std::ops::Range;
use std::time::{Duration, Instant};

use blk_datapath::chain::Chain;
use blk_datapath::umem::{Frame, FrameCounts, Held, PAYLOAD_MAX, Rx, Umem};
use blk_datapath::xsk::{BindMode, XskConfig, XskSocket};
use support::{
    PatternFile,
    bpf::Redirect,
    netns::{self, ENDS, interface_index},
};

const ETHERTYPE: u16 = 0x88B5;
/// Bytes before the payload.
const HEADERS: usize = 512;
const FRAMES: u32 = 2048;
const RINGS: u32 = 2048;
const LIMIT: Duration = Duration::from_secs(20);

struct End {
    umem: Umem,
    socket: XskSocket,
    batch: Vec<Frame<Rx>>,
    long: Vec<Range<usize>>,
}

impl End {
    fn open(name: &str) -> Self {
        Self::with_ring(name, 512)
    }

    fn with_ring(name: &str, tx_ring: u32) -> Self {
        let mut umem = Umem::with_fragments(FRAMES, RINGS, RINGS).expect("an AF_XDP UMEM");
        let mut config = XskConfig::new(name, 0, BindMode::Copy);
        (config.fill_ring, config.completion_ring) = (RINGS, RINGS);
        config.tx_ring = tx_ring;
        let socket = XskSocket::open(&config, &mut umem).expect("an AF_XDP socket");
        Self {
            umem,
            socket,
            batch: Vec::new(),
            long: Vec::new(),
        }
    }

    /// Queues packet `number`, with `payload` bytes of pattern, the held frames in pieces as long as can be. `offset` bytes
    /// stand before the payload.
    fn send(&mut self, number: u64, payload: usize, offset: usize) {
        let mut bytes = vec![0; payload];
        PatternFile::fill(&mut bytes, number * 65_536);
        let mut first = self.umem.allocate().expect("a free frame");
        let area = self.umem.packet_mut(&mut first);
        area[..12].fill(0xff);
        area[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
        area[14..offset].fill(0);
        area[14..22].copy_from_slice(&number.to_be_bytes());
        let mut held = Vec::new();
        for piece in bytes.chunks(PAYLOAD_MAX) {
            let mut frame = self.umem.allocate().expect("a free frame");
            self.umem.payload_mut(&mut frame)[..piece.len()].copy_from_slice(piece);
            held.push(self.umem.free_to_held(frame, piece.len() as u16));
        }
        self.socket
            .transmit_parts(&mut self.umem, vec![(first, offset)], Chain::Many(held))
            .expect("room");
        self.socket.kick().expect("kick");
    }

    /// So many frames of 100 bytes.
    fn held(&mut self, count: usize) -> Chain<Frame<Held>> {
        let frames = (0..count).map(|_| {
            let frame = self.umem.allocate().expect("a free frame");
            self.umem.free_to_held(frame, 100)
        });
        Chain::Many(frames.collect())
    }

    /// Takes all frames back that were sent; how many payload frames there were.
    fn take_back(&mut self) -> usize {
        let (mut returned, deadline) = (Vec::new(), Instant::now() + LIMIT);
        while self.umem.counts().tx > 0 {
            assert!(Instant::now() < deadline, "{:?}", self.umem.counts());
            self.socket.complete(&mut self.umem, &mut returned);
        }
        let count = returned.len();
        returned
            .into_iter()
            .for_each(|frame| self.umem.release(frame));
        self.umem.assert_conserved();
        count
    }

    /// Takes what has come; the packets' lengths and numbers, after a look at their bytes. `offset` bytes stand before their
    /// payloads, which stay where they are if they are long and lie where they should.
    fn receive(&mut self, offset: usize) -> Vec<(u64, usize)> {
        while self
            .socket
            .receive_parts(&mut self.umem, &mut self.batch, &mut self.long)
            > 0
        {}
        let mut frames = self.batch.drain(..);
        let (mut at, mut packets) = (0, Vec::new());
        for range in self.long.drain(..) {
            assert_eq!(range.start, at, "only long packets here");
            at = range.end;
            let parts: Vec<_> = frames.by_ref().take(range.len()).collect();
            let packet = self.umem.linear(&parts);
            let number = u64::from_be_bytes(packet[14..22].try_into().expect("8 bytes"));
            let payload = packet.len() - offset;
            let (parts, moved) = self.umem.take_payloads(parts, offset, payload as u16);
            assert_eq!(moved, offset != HEADERS || payload <= PAYLOAD_MAX);
            let mut bytes = Vec::new();
            parts.for_each(|frame| {
                let piece = self.umem.payload(&frame);
                assert!((piece.as_ptr() as usize).is_multiple_of(512));
                bytes.extend_from_slice(piece);
                self.umem.release(frame);
            });
            assert_eq!(PatternFile::mismatch(&bytes, number * 65_536), None);
            packets.push((number, payload));
        }
        assert_eq!(frames.len(), 0);
        drop(frames);
        self.umem.assert_conserved();
        packets
    }
}

/// Two ends, each with a program that gives packets to the other's socket.
fn pair(mtu: u32) -> Option<([End; 2], [Redirect; 2])> {
    if !netns::enter(mtu) {
        return None;
    }
    let programs = ENDS.map(|end| Redirect::attach_for_fragments(interface_index(end)));
    let ends = ENDS.map(End::open);
    for (program, end) in programs.iter().zip(&ends) {
        program.insert(0, end.socket.fd());
    }
    Some((ends, programs))
}

#[test]
fn packets_in_several_frames_arrive_in_both_directions() {
    for (mtu, payloads) in [
        (9000, vec![3584, 4096, 6656, 6657, 8191, 8192]),
        (65_535, vec![3584, 10_240, 53_248, 53_759, 53_760]),
    ] {
        let Some((mut ends, _programs)) = pair(mtu) else {
            return;
        };
        for from in [0, 1] {
            let to = 1 - from;
            for end in &mut ends {
                end.socket.fill(&mut end.umem, 256);
            }
            let mut sent = Vec::new();
            for (number, &payload) in payloads.iter().enumerate() {
                ends[from].send(number as u64, payload, HEADERS);
                sent.push((number as u64, payload));
            }
            let frames: usize = payloads.iter().map(|len| len.div_ceil(PAYLOAD_MAX)).sum();
            assert_eq!(ends[from].take_back(), frames);
            assert_eq!(ends[to].receive(HEADERS), sent, "MTU {mtu}");
            let received = ends[to].socket.statistics().expect("statistics");
            let there: usize = payloads
                .iter()
                .map(|len| (HEADERS + len).div_ceil(PAYLOAD_MAX))
                .sum();
            assert_eq!(received.rx_fragments, there as u64);
            assert_eq!(
                (received.rx_fragments_dropped, received.rx_misplaced),
                (0, 0)
            );
            let sent = ends[from].socket.statistics().expect("statistics");
            assert_eq!(sent.tx_fragments, (frames + payloads.len()) as u64);
            assert_eq!(sent.tx_invalid_descriptors, 0);
        }
    }
}

#[test]
fn payloads_off_their_place_are_moved() {
    let Some((mut ends, _programs)) = pair(65_535) else {
        return;
    };
    let [here, there] = &mut ends;
    for (number, offset) in [508, 516, 504, 128].into_iter().enumerate() {
        there.socket.fill(&mut there.umem, 256);
        here.send(number as u64, 53_760, offset);
        here.take_back();
        assert_eq!(there.receive(offset), [(number as u64, 53_760)]);
    }
}

#[test]
fn a_packet_that_finds_too_few_frames_is_lost_whole() {
    const FILL: usize = 20;
    let Some((mut ends, _programs)) = pair(65_535) else {
        return;
    };
    let [here, there] = &mut ends;
    assert_eq!(there.socket.fill(&mut there.umem, FILL), FILL);
    // Of the first there is room for all 16 frames; of the second for four.
    here.send(0, 53_760, HEADERS);
    here.send(1, 53_760, HEADERS);
    here.take_back();
    assert_eq!(there.receive(HEADERS), [(0, 53_760)]);
    let statistics = there.socket.statistics().expect("statistics");
    assert!(
        statistics.rx_dropped + statistics.rx_fill_ring_empty > 0,
        "{statistics:?}"
    );
    assert_eq!(statistics.rx_fragments_dropped, 0, "none of it has come");
    there.socket.fill(&mut there.umem, FILL);
    here.send(2, 53_760, HEADERS);
    here.take_back();
    assert_eq!(there.receive(HEADERS), [(2, 53_760)]);
    there.socket.fill(&mut there.umem, FILL);
    assert_eq!(
        there.umem.counts(),
        FrameCounts {
            free: FRAMES as usize - FILL,
            fill: FILL,
            ..FrameCounts::default()
        }
    );
}

#[test]
fn a_ring_without_room_takes_nothing_of_a_packet() {
    const RING: u32 = 64;
    if !netns::enter(65_535) {
        return;
    }
    let mut end = End::with_ring(ENDS[0], RING);
    for left in [48, 32, 16, 0] {
        let (first, held) = (end.umem.allocate().expect("free"), end.held(15));
        end.socket
            .transmit_parts(&mut end.umem, vec![(first, 100)], held)
            .expect("room");
        assert_eq!(end.socket.transmit_space(), left);
        if left == 16 {
            // One frame more than there is room for.
            let (first, held) = (end.umem.allocate().expect("free"), end.held(16));
            let before = end.umem.counts();
            let back = end
                .socket
                .transmit_parts(&mut end.umem, vec![(first, 100)], held)
                .expect_err("no room");
            assert_eq!((back.parts.len(), back.held.len()), (1, 16));
            assert_eq!(end.umem.counts(), before);
            assert_eq!(end.socket.transmit_space(), left);
            back.held.for_each(|frame| end.umem.release(frame));
            for (frame, _) in back.parts {
                end.umem.release(frame);
            }
        }
    }
    end.socket.kick().expect("kick");
    assert_eq!(end.take_back(), 60);
}
