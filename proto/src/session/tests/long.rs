//! Blocks that lie in several pieces of the receiver's memory.

use super::*;
use crate::geometry::{L4_OVERHEAD_V4, LONG_PAYLOAD_OFFSET, MAX_LONG_PAYLOAD, span};

const LONG: LongBlocks = LongBlocks {
    payload_offset: LONG_PAYLOAD_OFFSET as u16,
    max_payload: MAX_LONG_PAYLOAD as u16,
};

fn long(most: u16) -> Config {
    let mut config = config(1000);
    config.local.long = Some(LongBlocks {
        max_payload: most,
        ..LONG
    });
    config.max_send_payload = MAX_LONG_PAYLOAD as u16;
    config
}

/// Sends a block of this length to the server. The span of its packet.
fn send(pair: &mut Pair, len: u16) -> u16 {
    let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
    let meta = BlockMeta {
        transfer: 1,
        offset: 0,
        len,
        crc: wire::payload_crc(&payload),
    };
    let client = &mut pair.client;
    client.session.queue_block(meta, payload.clone()).unwrap();
    let packet = client.send(pair.now).unwrap();
    let opened = wire::open(&packet).unwrap();
    assert_eq!((opened.kind, opened.payload), (Kind::Data, &payload[..]));
    let span = opened.header.span.get();
    pair.server.take(pair.now, &packet).unwrap();
    assert_eq!(pair.server.received.pop().unwrap(), (meta, payload));
    pair.server.session.release_credit(1);
    pair.run(4);
    span
}

#[test]
fn two_sides_that_take_them_send_them_behind_headers_of_their_own_length() {
    let mut pair = Pair::new(long(53_760), long(8192));
    assert!(pair.client.session.has_long_blocks() && pair.server.session.has_long_blocks());
    assert_eq!(pair.client.session.max_block(), 8192);
    assert_eq!(pair.server.session.max_block(), 53_760);
    let short = span(wire::PAYLOAD_OFFSET as u16, L4_OVERHEAD_V4).unwrap();
    let longer = span(LONG_PAYLOAD_OFFSET as u16, L4_OVERHEAD_V4).unwrap();
    assert_eq!(send(&mut pair, 512), short);
    assert_eq!(send(&mut pair, 3584), short);
    assert_eq!(send(&mut pair, 4096), longer);
    assert_eq!(send(&mut pair, 8192), longer);
}

#[test]
fn one_side_that_takes_none_is_enough() {
    for (client, server) in [(long(53_760), config(1000)), (config(1000), long(53_760))] {
        let pair = Pair::new(client, server);
        for side in [&pair.client, &pair.server] {
            assert!(!side.session.has_long_blocks());
            assert_eq!(side.session.max_block(), 3584);
        }
        let announced = pair.client.session.peer().unwrap().long;
        assert_eq!(
            announced, None,
            "a server says nothing of them to who does not"
        );
    }
}

#[test]
fn one_that_was_not_announced_is_a_violation() {
    for (server, max) in [(config(1000), 3584), (long(8192), 8192)] {
        let mut pair = Pair::new(long(53_760), server);
        let payload = vec![7; usize::from(max) + 512];
        let mut header = Header::new(Kind::Data, 22);
        header.packet_number = U64::new(1000);
        header.payload_len = U16::new(payload.len() as u16);
        header.transfer = U32::new(1);
        wire::seal(&mut header, wire::payload_crc(&payload));
        let packet = [header.as_bytes(), &payload].concat();
        let len = payload.len() as u16;
        let refused = pair.server.take(pair.now, &packet);
        assert_eq!(refused, Err(Violation::PayloadTooLong { len, max }));
    }
}

#[test]
fn what_makes_no_sense_is_as_good_as_nothing() {
    let mut client = long(53_760);
    client.local.long = Some(LongBlocks {
        max_payload: 3584,
        ..LONG
    });
    let pair = Pair::new(client, long(53_760));
    for side in [&pair.client, &pair.server] {
        assert!(!side.session.has_long_blocks());
        assert_eq!(side.session.max_block(), 3584);
    }
}

#[test]
fn who_wants_them_where_nobody_can_put_them_gets_none_and_may_send_some() {
    for payload_offset in [513, 60] {
        let odd = Some(LongBlocks {
            payload_offset,
            ..LONG
        });
        let (mut client, mut server) = (long(53_760), long(53_760));
        client.local.long = odd;
        let mut pair = Pair::new(client, server.clone());
        assert_eq!(pair.server.session.max_block(), 3584, "{payload_offset}");
        assert!(pair.server.session.has_long_blocks(), "they may come");
        send(&mut pair, 53_760);
        // The other way round it is the client who is ready for what it cannot send itself.
        server.local.long = odd;
        let pair = Pair::new(long(53_760), server);
        assert_eq!(pair.client.session.max_block(), 3584, "{payload_offset}");
        assert!(pair.client.session.has_long_blocks(), "they may come");
        assert_eq!(pair.server.session.max_block(), 53_760);
    }
}

#[test]
fn control_is_no_longer_for_it() {
    let mut pair = Pair::new(long(53_760), long(53_760));
    pair.client.session.send_message(&[3; 60_000]).unwrap();
    let mut lens = Vec::new();
    for _ in 0..40 {
        for packet in pair.client.send_all(pair.now) {
            let opened = wire::open(&packet).unwrap();
            if opened.kind == Kind::Control {
                lens.push(opened.payload.len());
            }
            pair.server.take(pair.now, &packet).unwrap();
        }
        pair.run(1);
    }
    let most = 3584 + usize::from(span(128, L4_OVERHEAD_V4).unwrap()) - HEADER_LEN;
    assert_eq!(lens.iter().max(), Some(&most));
    let messages = pair.server.drain_events();
    assert!(messages.contains(&Event::Message(vec![3; 60_000])));
}

#[test]
fn a_packet_may_be_opened_in_pieces() {
    let mut pair = Pair::new(long(53_760), long(53_760));
    let payload: Vec<u8> = (0..53_760u32).map(|at| (at / 7) as u8).collect();
    let meta = BlockMeta {
        transfer: 1,
        offset: 512,
        len: 53_760,
        crc: wire::payload_crc(&payload),
    };
    pair.client
        .session
        .queue_block(meta, payload.clone())
        .unwrap();
    let packet = pair.client.send(pair.now).unwrap();
    for first in [HEADER_LEN + 414, 3584 - 42, 20_000] {
        let (start, rest) = packet.split_at(first);
        let mut rest: Vec<&[u8]> = rest.chunks(3584).collect();
        let opened = wire::open_parts(start, &rest).unwrap();
        assert_eq!(opened.payload_crc, meta.crc);
        let taken = pair
            .server
            .session
            .handle_packet(pair.now, &opened, Ecn::Capable0);
        let expected = (first == HEADER_LEN + 414).then_some(meta);
        assert_eq!(taken, Ok(expected), "each block once");
        let last = rest.pop().unwrap();
        assert!(matches!(
            wire::open_parts(start, &rest),
            Err(wire::WireError::BadLength { .. })
        ));
        let mut changed = last.to_vec();
        changed[0] ^= 1;
        rest.push(&changed);
        assert!(matches!(
            wire::open_parts(start, &rest),
            Err(wire::WireError::BadChecksum { .. })
        ));
    }
    // All of the padding must be in the first one.
    let (start, rest) = packet.split_at(HEADER_LEN + 413);
    let opened = wire::open_parts(start, &[rest]);
    assert_eq!(opened.unwrap_err(), wire::WireError::BadSpan(470));
}
