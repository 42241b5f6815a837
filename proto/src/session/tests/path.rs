//! Paths that take less than both ends do, and change. No ICMP anywhere: what is too long vanishes.

use super::*;
use crate::geometry::span;

const SECTOR: usize = 512;
/// UDP payload of a Data packet with this payload.
fn datagram(payload: u16) -> usize {
    let span = span(wire::PAYLOAD_OFFSET as u16, Config::default().l4_overhead).unwrap();
    usize::from(span) + usize::from(payload)
}

/// A client that sends a file to a server, over a path that drops what is longer than it takes.
struct Path {
    pair: Pair,
    /// From one end to the other.
    delay: Duration,
    /// Longest UDP payload that gets through.
    fits: usize,
    /// Every so-many-th packet is lost; 0: none.
    lose_each: u32,
    count: u32,
    /// Share of packets lost at random, in percent.
    loss: u64,
    random: u64,
    /// What is not queued yet: offset and length, pieces of blocks that came back first.
    to_cut: Vec<(u64, u64)>,
    /// Sectors that arrived.
    arrived: Vec<bool>,
    limits: Vec<u16>,
    given_back: u64,
}

impl Path {
    fn new(fits: u16) -> Self {
        let mut client = Side::new(Session::connect(config(0), 11, T0));
        let hello = client.send(T0).unwrap();
        let packet = wire::open(&hello).unwrap();
        let mut server = Side::new(Session::accept(config(100), 22, &packet, T0).unwrap());
        let reply = server.send(T0).unwrap();
        client.take(T0, &reply).unwrap();
        Self {
            pair: Pair {
                client,
                server,
                now: T0,
            },
            delay: DELAY,
            fits: datagram(fits),
            lose_each: 0,
            count: 0,
            loss: 0,
            random: 1,
            to_cut: Vec::new(),
            arrived: Vec::new(),
            limits: Vec::new(),
            given_back: 0,
        }
    }

    /// A file of so many sectors waits to be sent.
    fn send_file(&mut self, sectors: usize) {
        self.to_cut = vec![(0, (sectors * SECTOR) as u64)];
        self.arrived = vec![false; sectors];
    }

    fn is_whole(&self) -> bool {
        self.arrived.iter().all(|arrived| *arrived)
    }

    /// Queues what there is room for, as long as the path takes, each piece on its own.
    fn queue(&mut self) {
        let session = &mut self.pair.client.session;
        while session.queue_space() > 0
            && let Some((offset, left)) = self.to_cut.pop()
        {
            let len = left.min(u64::from(session.max_block()));
            let mut payload = vec![0; len as usize];
            for at in (0..payload.len()).step_by(SECTOR) {
                payload[at..at + 8].copy_from_slice(&(offset + at as u64).to_le_bytes());
            }
            let meta = BlockMeta {
                transfer: 1,
                offset,
                len: len as u16,
                crc: wire::payload_crc(&payload),
            };
            session.queue_block(meta, payload).unwrap();
            if left > len {
                self.to_cut.push((offset + len, left - len));
            }
        }
    }

    fn take_events(&mut self) {
        for event in self.pair.client.drain_events() {
            match event {
                Event::PayloadLimit(limit) => self.limits.push(limit),
                Event::Released {
                    block,
                    acked: false,
                    ..
                } => {
                    self.given_back += 1;
                    assert!(block.len() > usize::from(self.pair.client.session.max_block()));
                    let offset = u64::from_le_bytes(block[..8].try_into().unwrap());
                    self.to_cut.push((offset, block.len() as u64));
                }
                Event::Closed(reason) => panic!("{reason}"),
                _ => {}
            }
        }
    }

    fn gets_through(&mut self, packet: &[u8]) -> bool {
        self.count += 1;
        // Knuth's MMIX generator; its high bits are good enough here.
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let lost = self.lose_each > 0 && self.count.is_multiple_of(self.lose_each)
            || (self.random >> 33) % 100 < self.loss;
        packet.len() <= self.fits && !lost
    }

    fn step(&mut self) {
        self.queue();
        let now = self.pair.now;
        let out = self.pair.client.send_all(now);
        let back = self.pair.server.send_all(now);
        let idle = out.is_empty() && back.is_empty();
        self.pair.now += self.delay;
        let now = self.pair.now;
        for packet in &out {
            if self.gets_through(packet) {
                self.pair.server.take(now, packet).unwrap();
            }
        }
        for (meta, payload) in std::mem::take(&mut self.pair.server.received) {
            assert_eq!(payload[..8], meta.offset.to_le_bytes());
            let first = meta.offset as usize / SECTOR;
            self.arrived[first..first + payload.len() / SECTOR].fill(true);
            self.pair.server.session.release_credit(1);
        }
        for packet in &back {
            if self.gets_through(packet) {
                self.pair.client.take(now, packet).unwrap();
            }
        }
        let sides = [&mut self.pair.client, &mut self.pair.server];
        let next = sides.iter().filter_map(|side| side.session.poll_timeout());
        if idle && let Some(next) = next.min() {
            self.pair.now = self.pair.now.max(next);
        }
        for side in sides {
            side.session.handle_timeout(self.pair.now);
        }
        self.take_events();
    }

    fn run(&mut self, duration: Duration) {
        let end = self.pair.now + duration;
        while self.pair.now < end {
            self.step();
        }
    }

    /// Sends the rest of the file; gives the time it took.
    fn finish(&mut self) -> Duration {
        let start = self.pair.now;
        while !self.is_whole() || !self.pair.client.session.is_drained() {
            self.step();
            let time = self.pair.now.saturating_since(start);
            assert!(time < Duration::from_secs(20), "no end: {:?}", self.stats());
        }
        self.pair.now.saturating_since(start)
    }

    fn stats(&self) -> Stats {
        self.pair.client.session.stats()
    }
}

#[test]
fn both_sides_know_a_jumbo_path_within_two_round_trips() {
    let mut path = Path::new(3584);
    assert_eq!(path.pair.client.session.max_block(), 1024);
    path.run(DELAY * 4);
    assert_eq!(path.limits, [3584]);
    for side in [&path.pair.client, &path.pair.server] {
        assert_eq!(side.session.max_block(), 3584);
        assert_eq!(side.session.stats().path_probes, 1);
    }
    path.run(Duration::from_secs(2));
    assert_eq!(path.stats().path_probes, 1, "and that is all");
}

#[test]
fn the_largest_that_fits_is_found_whatever_the_path_takes() {
    for fits in (1024..=4096).step_by(128) {
        let mut path = Path::new(fits);
        path.run(Duration::from_millis(200));
        let expected = (fits / 512 * 512).min(3584);
        assert_eq!(path.stats().payload_limit, expected, "{fits}");
        assert_eq!(path.pair.server.session.max_block(), expected, "{fits}");
    }
}

#[test]
fn a_file_crosses_whatever_the_path_takes() {
    for fits in [1024, 1600, 2048, 3583, 3584] {
        let mut path = Path::new(fits);
        path.lose_each = 23;
        path.send_file(5000);
        path.finish();
        assert_eq!(path.stats().black_holes, 0, "{fits}");
    }
}

#[test]
fn the_path_shrinks_in_mid_transfer() {
    for lose_each in [0, 19] {
        let mut path = Path::new(3584);
        path.lose_each = lose_each;
        path.run(DELAY * 10);
        path.send_file(20_000);
        path.run(DELAY * 10);
        assert!(!path.is_whole());
        path.fits = datagram(2100);
        path.finish();
        assert!(path.given_back > 0);
        path.run(Duration::from_millis(500));
        assert_eq!(path.limits, [3584, 1024, 2048]);
        assert_eq!(path.stats().black_holes, 1);
    }
}

#[test]
fn the_path_shrinks_when_there_is_little_to_send() {
    let mut path = Path::new(3584);
    path.run(DELAY * 10);
    path.fits = datagram(1024);
    path.send_file(7);
    let time = path.finish();
    assert_eq!(path.pair.client.session.max_block(), 1024);
    assert!(time < Duration::from_millis(100), "{time:?}");
}

#[test]
fn on_a_long_path_it_takes_a_few_round_trips() {
    let rtt = Duration::from_millis(100);
    let mut path = Path::new(2100);
    path.delay = rtt / 2;
    path.run(rtt * 2);
    path.run(rtt * 15);
    assert_eq!(path.stats().payload_limit, 2048, "seven probes");
    path.send_file(3000);
    path.run(rtt * 2);
    path.fits = datagram(1100);
    let start = path.pair.now;
    while path.pair.client.session.max_block() != 1024 {
        path.step();
        let time = path.pair.now.saturating_since(start);
        assert!(time < rtt * 15, "{time:?}");
    }
    path.finish();
    assert_eq!(path.stats().black_holes, 1);
}

#[test]
fn the_path_grows_and_is_tried_again() {
    let mut path = Path::new(1500);
    path.run(Duration::from_secs(1));
    assert!(path.limits.is_empty());
    path.fits = datagram(9000);
    path.run(Duration::from_secs(590));
    assert_eq!(path.pair.client.session.max_block(), 1024);
    path.run(Duration::from_secs(20));
    assert_eq!(path.limits, [3584]);
}

#[test]
fn the_limit_rises_in_mid_transfer() {
    let mut path = Path::new(3584);
    path.send_file(60_000);
    path.finish();
    assert_eq!(path.limits, [3584]);
    assert_eq!(path.given_back, 0, "what was cut small stays small");
    let blocks = path.stats().blocks_sent;
    assert!(blocks < 60_000 / 4, "{blocks}");
}

#[test]
fn a_broken_link_is_no_smaller_path() {
    let mut path = Path::new(3584);
    path.run(DELAY * 10);
    path.send_file(20_000);
    path.run(DELAY * 10);
    path.fits = 0;
    path.run(Duration::from_secs(2));
    path.fits = datagram(3584);
    path.finish();
    assert_eq!(path.limits, [3584]);
    assert_eq!(path.given_back, 0);
}

#[test]
fn heavy_loss_is_no_smaller_path() {
    let mut black_holes = 0;
    for seed in 0..50 {
        let mut path = Path::new(3584);
        path.run(DELAY * 10);
        (path.loss, path.random) = (30, seed);
        path.send_file(4000);
        path.finish();
        black_holes += path.stats().black_holes;
    }
    // It may look like one when three probes in a row are lost, and no block arrives meanwhile.
    assert!(black_holes <= 1, "{black_holes}");
}

#[test]
fn probes_are_sent_although_the_window_is_full() {
    let mut path = Path::new(3584);
    path.run(DELAY * 10);
    path.send_file(20_000);
    path.queue();
    let sent = path.pair.client.send_all(path.pair.now);
    assert!(sent.len() > 30, "the window, or the credit, is used up");
    // All of them vanish. The client finds out about the path all the same.
    path.fits = datagram(1100);
    path.run(Duration::from_millis(100));
    assert_eq!(path.stats().black_holes, 1);
    assert!(path.finish() < Duration::from_secs(1));
}

impl Path {
    /// Sends messages until the stream takes no more; gives how many.
    fn say(&mut self, len: usize) -> usize {
        let session = &mut self.pair.client.session;
        let message = vec![7; len];
        std::iter::from_fn(|| session.send_message(&message).ok()).count()
    }

    /// Messages that arrived since the last call.
    fn heard(&mut self) -> usize {
        let events = self.pair.server.drain_events();
        let is_message = |event: &&Event<Block>| matches!(event, Event::Message(_));
        events.iter().filter(is_message).count()
    }

    /// Waits until all messages have arrived; gives their number and the time it took.
    fn hear_all(&mut self) -> (usize, Duration) {
        let (start, mut heard) = (self.pair.now, 0);
        while !self.pair.client.session.is_drained() {
            self.step();
            heard += self.heard();
            let time = self.pair.now.saturating_since(start);
            assert!(time < Duration::from_secs(20), "no end: {:?}", self.stats());
        }
        (heard, self.pair.now.saturating_since(start))
    }
}

/// Longest payload of Control among these packets.
fn longest_control(packets: &[Vec<u8>]) -> u16 {
    let lengths = packets.iter().filter_map(|packet| {
        let packet = wire::open(packet).unwrap();
        (packet.kind == Kind::Control).then_some(packet.header.payload_len.get())
    });
    lengths.max().unwrap_or(0)
}

#[test]
fn control_goes_in_packets_as_long_as_those_of_blocks() {
    let padding = (datagram(0) - HEADER_LEN) as u16;
    for (fits, expected) in [(1024, 1024), (2100, 2048 + padding), (3584, 3584 + padding)] {
        let mut path = Path::new(fits);
        path.say(60_000);
        let now = path.pair.now;
        let early = path.pair.client.send_all(now);
        assert_eq!(longest_control(&early), 1024, "nothing is known yet");
        path.run(Duration::from_millis(200));
        path.hear_all();
        path.say(60_000);
        let now = path.pair.now;
        let late = path.pair.client.send_all(now);
        assert_eq!(longest_control(&late), expected);
    }
}

#[test]
fn the_path_shrinks_while_long_pieces_of_control_are_on_their_way() {
    for fits in [1024, 2100, 3500] {
        for lose_each in [0, 19] {
            let mut path = Path::new(3584);
            path.lose_each = lose_each;
            path.run(DELAY * 10);
            let said = path.say(60_000);
            assert!(said > 10);
            let now = path.pair.now;
            let gone = path.pair.client.send_all(now);
            assert!(longest_control(&gone) >= 3584);
            path.fits = datagram(fits);
            let (heard, time) = path.hear_all();
            assert_eq!(heard, said);
            assert!(time < Duration::from_secs(1), "{time:?}");
            path.run(Duration::from_millis(500));
            let limit = fits / 512 * 512;
            assert_eq!(path.stats().payload_limit, limit, "{fits} {lose_each}");
            assert_eq!(path.stats().black_holes, 1, "{fits} {lose_each}");
        }
    }
}

#[test]
fn control_that_gets_through_does_not_hide_a_black_hole_for_blocks() {
    let mut path = Path::new(3584);
    path.run(DELAY * 10);
    // Pieces of control have any length, and no padding: most are shorter than the longest blocks.
    path.fits = datagram(3584) - 1;
    path.send_file(20_000);
    while !path.is_whole() {
        if path.count.is_multiple_of(3) {
            path.say(1000);
        }
        path.step();
        assert!(path.pair.now < T0 + Duration::from_secs(20));
    }
    assert_eq!(path.stats().black_holes, 1);
    assert_eq!(path.stats().payload_limit, 3072);
}

#[test]
fn control_over_a_lossy_link_is_no_smaller_path() {
    let mut black_holes = 0;
    for seed in 0..20 {
        let mut path = Path::new(3584);
        path.run(DELAY * 10);
        (path.loss, path.random) = (30, seed);
        for _ in 0..5 {
            let said = path.say(50_000);
            assert_eq!(path.hear_all().0, said);
        }
        black_holes += path.stats().black_holes;
    }
    // As with blocks.
    assert!(black_holes <= 1, "{black_holes}");
}
