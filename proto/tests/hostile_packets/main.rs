//! A million hostile packets against two sessions in the middle of transfers, and a million against the frame parser:
//! nothing panics, nothing grows, and each packet that was dropped is counted under the reason that it deserves.
//!
//! Two kinds of enemy. One sees and sends packets but computes no checksum over what it changes, as the network itself,
//! or knows no session id: the transfers must not notice. The other is the peer, or somebody who can speak as the peer
//! (sessions have no keys yet): it may end the session, and no more than that.

mod memory;
mod pair;
mod random;

use blk_proto::drops::{DropReason, Drops};
use blk_proto::net::{self, Path};
use blk_proto::session::CloseReason;
use blk_proto::time::Time;
use blk_proto::wire::{self, HEADER_LEN, Header, Kind};
use zerocopy::IntoBytes;

use pair::{IDS, Pair, payload_of, reseal};
use random::Random;

/// Hostile packets of each test.
const PACKETS: u64 = 1_000_000;
/// Of the test in which nearly every tenth packet costs a session.
const PACKETS_OF_PEER: u64 = 250_000;
const T0: Time = Time::from_nanos(1_000_000_000);

/// What became of the packets of the enemy that computes no checksums, as it should be.
#[derive(Default)]
struct Expected {
    wire: u64,
    wrong_session: u64,
    duplicates: u64,
    wrong_state: u64,
    resets: u64,
    acks: u64,
}

/// One packet from the network, or from somebody who does not know the session.
fn intrude(pair: &mut Pair, to: usize, expected: &mut Expected) {
    let mut packet = pair.sample(to);
    match pair.random.below(8) {
        0 => {
            let len = pair.random.below(200);
            packet = pair.random.bytes(len);
            expected.wire += 1;
        }
        1 => {
            // Noise in the shape of a packet.
            let len = HEADER_LEN + pair.random.below(100);
            packet = pair.random.bytes(len);
            let kind = 1 + pair.random.below(10);
            packet[..4].copy_from_slice(&[wire::VERSION, kind as u8, 0, 0]);
            packet[4..8].copy_from_slice(&IDS[to].to_le_bytes());
            packet[22..24].copy_from_slice(&[HEADER_LEN as u8, 0]);
            expected.wire += 1;
        }
        2 => {
            pair.mutate(&mut packet);
            expected.wire += 1;
        }
        3 => {
            let len = pair.random.below(packet.len());
            packet.truncate(len);
            expected.wire += 1;
        }
        4 => {
            let more = 1 + pair.random.below(40);
            packet.extend(pair.random.bytes(more));
            expected.wire += 1;
        }
        5 => {
            let stranger = IDS[to] ^ (1 + pair.random.next() as u32 % 1000);
            packet[wire::SESSION_AT..][..4].copy_from_slice(&stranger.to_le_bytes());
            reseal(&mut packet);
            expected.wrong_session += 1;
        }
        6 => {
            packet = Header::new(Kind::Reset, 0).as_bytes().to_vec();
            packet.extend(pair.random.bytes(24));
            reseal(&mut packet);
            expected.resets += 1;
        }
        _ => match wire::open(&packet).expect("a genuine packet").kind {
            Kind::Ack => expected.acks += 1,
            Kind::Data | Kind::Control | Kind::Probe => expected.duplicates += 1,
            _ => expected.wrong_state += 1,
        },
    }
    let now = pair.now;
    pair.sides[to].take(now, &packet);
}

#[test]
fn a_million_packets_from_the_network_do_no_harm() {
    let mut pair = Pair::new(Random(1), T0, true);
    let mut before = [0; 2];
    for (before, side) in before.iter_mut().zip(&pair.sides) {
        side.assert_accounts();
        assert_eq!(side.session.stats().dropped.total(), 0);
        *before = side.given;
    }
    let mut expected = [Expected::default(), Expected::default()];
    let (mut hostile, mut warm) = (0, None);
    while hostile < PACKETS {
        pair.sides.iter_mut().for_each(|side| side.fill(256));
        pair.round(|pair, to| {
            for _ in 0..4 {
                intrude(pair, to, &mut expected[to]);
                hostile += 1;
            }
        });
        if hostile > PACKETS / 4 {
            // What the test itself keeps grows by a byte a block.
            let books: usize = pair.sides.iter().map(|s| 2 * s.returned.capacity()).sum();
            let live = memory::live() - books;
            let warm = *warm.get_or_insert(live);
            assert!(live < warm + (2 << 20), "{warm} bytes became {live}");
        }
    }
    let mut rounds = 0;
    while !pair.sides.iter().all(|side| side.session.is_drained()) {
        pair.round(|_, _| {});
        rounds += 1;
        assert!(rounds < 1000, "the transfers hang");
    }
    for (side, expected) in pair.sides.iter().zip(&expected) {
        let dropped = side.session.stats().dropped;
        assert_eq!(side.closed, None, "the sessions live");
        assert_eq!(side.wire.total(), expected.wire, "{}", side.wire);
        assert_eq!(dropped[DropReason::WrongSession], expected.wrong_session);
        assert_eq!(dropped[DropReason::DuplicatePacket], expected.duplicates);
        assert_eq!(dropped[DropReason::WrongState], expected.wrong_state);
        assert_eq!(dropped[DropReason::Handshake], expected.resets);
        let named =
            expected.wrong_session + expected.duplicates + expected.wrong_state + expected.resets;
        assert_eq!(
            dropped.total(),
            named,
            "nothing else was dropped: {dropped}"
        );
    }
    let [client, server] = &pair.sides;
    for (from, to) in [(client, server), (server, client)] {
        assert!(from.acked > 10_000 && to.messages > 100, "{}", from.acked);
        assert_eq!(from.acked, from.returned.len() as u64);
        assert!(to.delivered.len() == from.returned.len());
        assert!(to.delivered.iter().all(|there| *there));
    }
    pair.end();
}

/// One packet from a peer that seals whatever it likes.
fn misbehave(pair: &mut Pair, to: usize) {
    let mut packet = pair.sample(to);
    match pair.random.below(4) {
        0 => {
            pair.mutate(&mut packet);
        }
        1 => {
            let len = pair.random.below(packet.len());
            packet.truncate(len);
        }
        2 => {
            // Fields that matter, with numbers that hurt.
            let at = [8, 16, 24, 32, 56, 64, 72, 80][pair.random.below(8)];
            let number = pair.random.edge().to_le_bytes();
            if let Some(place) = packet.get_mut(at..at + 8) {
                place.copy_from_slice(&number);
            }
        }
        _ => {
            let kind = Kind::from_byte(1 + pair.random.below(10) as u8).expect("a kind");
            let mut header = Header::new(kind, 0);
            header.packet_number.set(pair.random.edge());
            header.block_number.set(pair.random.edge());
            header.offset.set(pair.random.edge());
            packet = header.as_bytes().to_vec();
            let len = pair.random.below(300);
            packet.extend(pair.random.bytes(len));
        }
    }
    let is_greeting =
        |kind| kind == Some(&(Kind::Hello as u8)) || kind == Some(&(Kind::Reset as u8));
    if packet.len() >= HEADER_LEN {
        let id = if is_greeting(packet.get(1)) {
            0
        } else {
            IDS[to]
        };
        packet[wire::SESSION_AT..][..4].copy_from_slice(&id.to_le_bytes());
        reseal(&mut packet);
    }
    let now = pair.now;
    pair.sides[to].take(now, &packet);
    pair.sides[to].fetch();
}

#[test]
fn packets_from_a_peer_end_the_session_at_worst() {
    let (mut random, mut now) = (Random(2), T0);
    let (mut hostile, mut violations, mut sessions) = (0, 0, 0);
    let mut drops = Drops::default();
    while hostile < PACKETS_OF_PEER {
        let mut pair = Pair::new(Random(random.next()), now, false);
        sessions += 1;
        while hostile < PACKETS_OF_PEER && !pair.is_over() {
            pair.sides.iter_mut().for_each(|side| side.fill(8));
            pair.round(|pair, to| {
                misbehave(pair, to);
                hostile += 1;
            });
        }
        // Some more at the dead one.
        for _ in 0..3 {
            let to = pair.random.below(2);
            misbehave(&mut pair, to);
            hostile += 1;
        }
        pair.end();
        for side in &pair.sides {
            let stats = side.session.stats();
            let closed = u64::from(matches!(side.closed, Some(CloseReason::Violation(_))));
            assert_eq!(stats.dropped[DropReason::Violation], closed);
            violations += closed;
            drops += &side.wire;
            drops += &stats.dropped;
        }
        now = pair.now;
    }
    println!("{hostile} packets, {sessions} sessions, {violations} violations; dropped: {drops}");
    assert!(violations > 1000 && sessions > 1000);
    for reason in [
        DropReason::TooShort,
        DropReason::Version,
        DropReason::Kind,
        DropReason::Flags,
        DropReason::WrongState,
        DropReason::Handshake,
        DropReason::SessionClosed,
        DropReason::DuplicatePacket,
        DropReason::DuplicateBlock,
        DropReason::Violation,
    ] {
        assert!(drops[reason] > 0, "{reason} never happened");
    }
}

#[test]
fn a_million_frames_do_not_confuse_the_parser() {
    let mut random = Random(3);
    let path = Path {
        source_mac: [2; 6],
        destination_mac: [4; 6],
        vlans: [None, None],
        source: "10.0.0.1:1000".parse().expect("an address"),
        destination: "10.0.0.2:2000".parse().expect("an address"),
    };
    let mut genuine = vec![0; path.header_len()];
    let mut packet = Header::new(Kind::Data, 1).as_bytes().to_vec();
    packet.extend(payload_of(1));
    reseal(&mut packet);
    path.write_headers(&mut genuine, packet.len())
        .expect("room");
    genuine.extend(&packet);
    let (mut drops, mut whole) = (Drops::default(), 0);
    for _ in 0..PACKETS {
        let mut frame = genuine.clone();
        match random.below(4) {
            0 => frame = random.bytes(100),
            1 => frame.truncate(random.below(genuine.len())),
            _ => {
                for _ in 0..random.below(4) {
                    frame[random.below(genuine.len())] ^= 1 << random.below(8);
                }
            }
        }
        match net::parse(&frame) {
            Err(error) => drops.count(&error),
            Ok(udp) => match wire::open(udp.payload) {
                Err(error) => drops.count(&error),
                Ok(packet) => {
                    assert_eq!(packet.payload, payload_of(1));
                    whole += 1;
                }
            },
        }
    }
    assert_eq!(drops.total() + whole, PACKETS);
    for reason in [
        DropReason::FrameTruncated,
        DropReason::NotUdp,
        DropReason::FrameMalformed,
        DropReason::Ipv4Checksum,
        DropReason::Checksum,
    ] {
        assert!(drops[reason] > 0, "{reason} never happened: {drops}");
    }
}
