//! Blocks, messages and credit.

use super::*;
use crate::net::Ecn;
use std::collections::VecDeque;

#[test]
fn blocks_and_messages_cross() {
    let mut pair = Pair::new(config(0), config(100));
    for index in 0..50 {
        pair.client.put(7, index);
    }
    pair.client.session.send_message(b"put").unwrap();
    pair.server.session.send_message(b"ready").unwrap();
    pair.wait(Duration::from_millis(5));
    assert_eq!(pair.server.received.len(), 50);
    for (index, (meta, payload)) in pair.server.received.iter().enumerate() {
        assert_eq!((meta.transfer, meta.offset), (7, index as u64 * 512));
        assert_eq!(payload, &vec![index as u8; 512]);
        assert_eq!(meta.crc, wire::payload_crc(payload));
    }
    assert_eq!(pair.server.events, [Event::Message(b"put".to_vec())]);
    let events = pair.client.drain_events();
    assert!(events.contains(&Event::Message(b"ready".to_vec())));
    let released = events
        .iter()
        .filter(|event| {
            matches!(
                event,
                Event::Released {
                    transfer: 7,
                    acked: true,
                    ..
                }
            )
        })
        .count();
    assert_eq!(released, 50);
    assert!(pair.client.session.is_drained() && pair.server.session.is_drained());
    assert_eq!(pair.client.session.stats().retransmitted, 0);
}

#[test]
fn the_payload_lands_on_the_announced_offset() {
    let mut server = config(10);
    server.local.payload_offset = 192;
    let mut pair = Pair::new(
        Config {
            l4_overhead: 62,
            ..config(0)
        },
        server,
    );
    pair.client.put(1, 0);
    let packet = pair.client.send(pair.now).unwrap();
    assert_eq!(wire::open(&packet).unwrap().header.span.get(), 192 - 62);
}

#[test]
fn credit_holds_the_sender_back_until_released() {
    let mut pair = Pair::new(config(0), config(8));
    for index in 0..20 {
        pair.client.put(1, index);
    }
    pair.wait(Duration::from_millis(20));
    assert_eq!(pair.server.received.len(), 8);
    assert_eq!(pair.server.session.stats().held, 8);
    pair.server.session.release_credit(3);
    pair.wait(Duration::from_millis(5));
    assert_eq!(pair.server.received.len(), 11);
    pair.server.session.release_credit(8);
    pair.wait(Duration::from_millis(5));
    assert_eq!(pair.server.received.len(), 19);
}

#[test]
fn lost_news_of_credit_are_asked_for() {
    let mut pair = Pair::new(config(0), config(4));
    for index in 0..8 {
        pair.client.put(1, index);
    }
    pair.wait(Duration::from_millis(20));
    pair.server.session.release_credit(4);
    assert!(
        !pair.server.send_all(pair.now).is_empty(),
        "this Ack is lost"
    );
    pair.wait(Duration::from_millis(600));
    assert_eq!(pair.server.received.len(), 8);
}

#[test]
fn a_window_can_be_opened_later() {
    let mut pair = Pair::new(config(0), config(0));
    pair.client.put(1, 0);
    pair.wait(Duration::from_millis(5));
    assert!(pair.server.received.is_empty());
    pair.server.session.set_window(10);
    pair.wait(Duration::from_millis(1));
    assert_eq!(pair.server.received.len(), 1);
}

#[test]
fn a_lost_block_is_sent_again_when_idle_and_delivered_once() {
    let mut pair = Pair::new(config(0), config(100));
    for index in 0..3 {
        pair.client.put(1, index);
    }
    let packets = pair.client.send_all(pair.now);
    assert_eq!(packets.len(), 3);
    pair.now += DELAY;
    for packet in &packets[1..] {
        pair.server.take(pair.now, packet).unwrap();
        pair.server.take(pair.now, packet).unwrap();
    }
    let acks = pair.server.send_all(pair.now);
    assert_eq!(acks.len(), 1, "the gap is reported at once");
    pair.client.take(pair.now, &acks[0]).unwrap();
    pair.now += Duration::from_millis(2);
    pair.client.session.handle_timeout(pair.now);
    assert!(
        pair.client
            .session
            .poll_transmit(pair.now, |_| false)
            .is_none()
    );
    let retry = pair.client.session.poll_timeout().unwrap();
    assert!(retry <= pair.now + Duration::from_millis(1));
    let again = pair.client.send(pair.now).unwrap();
    let (first, again) = (
        wire::open(&packets[0]).unwrap(),
        wire::open(&again).unwrap(),
    );
    assert_eq!(first.header.block_number, again.header.block_number);
    assert_ne!(first.header.packet_number, again.header.packet_number);
    for packet in [again, first] {
        if let Some(meta) = pair
            .server
            .session
            .handle_packet(pair.now, &packet, Ecn::Capable0)
            .unwrap()
        {
            pair.server.received.push((meta, packet.payload.to_vec()));
        }
    }
    pair.wait(Duration::from_millis(5));
    assert_eq!(pair.server.received.len(), 3);
    let stats = pair.server.session.stats();
    assert_eq!((stats.duplicates, stats.blocks_received), (3, 3));
    assert_eq!(pair.client.session.stats().retransmitted, 1);
}

#[test]
fn a_cancelled_transfer_comes_back_and_costs_no_credit() {
    let mut pair = Pair::new(config(0), config(4));
    for index in 0..4 {
        pair.client.put(1, index);
    }
    let lost = pair.client.send_all(pair.now);
    assert_eq!(lost.len(), 4);
    pair.client.put(1, 4);
    pair.client.put(2, 5);
    pair.client.session.cancel_transfer(1);
    let released = pair.client.drain_events();
    assert_eq!(released.len(), 5);
    assert!(released.iter().all(|e| matches!(
        e,
        Event::Released {
            transfer: 1,
            acked: false,
            ..
        }
    )));
    pair.wait(Duration::from_secs(1));
    assert_eq!(
        pair.server.received.len(),
        1,
        "only that of the other transfer"
    );
    assert_eq!(pair.server.received[0].0.transfer, 2);
    assert!(pair.client.session.is_drained());
    assert_eq!(pair.client.session.stats().credit, 3);
}

#[test]
fn blocks_that_cannot_be_sent_are_handed_back() {
    let mut pair = Pair::new(config(0), config(4));
    let meta = |len| BlockMeta {
        transfer: 1,
        offset: 0,
        len,
        crc: 0,
    };
    assert_eq!(
        pair.client.session.queue_block(meta(0), vec![]),
        Err(vec![])
    );
    assert!(
        pair.client
            .session
            .queue_block(meta(3585), vec![1])
            .is_err()
    );
    while pair.client.session.queue_space() > 0 {
        pair.client.session.queue_block(meta(1), vec![1]).unwrap();
    }
    assert!(pair.client.session.queue_block(meta(1), vec![1]).is_err());
}

#[test]
fn delayed_acks_are_batched() {
    let mut pair = Pair::new(config(0), config(4096));
    let before = pair.server.session.stats().acks_sent;
    for index in 0..1280 {
        pair.client.put(1, index);
    }
    let mut queue: VecDeque<_> = pair.client.send_all(pair.now).into();
    let mut received = 0;
    while let Some(packet) = queue.pop_front() {
        pair.server.take(pair.now, &packet).unwrap();
        received += 1;
        for ack in pair.server.send_all(pair.now) {
            pair.client.take(pair.now, &ack).unwrap();
        }
        queue.extend(pair.client.send_all(pair.now));
    }
    assert_eq!(received, 1280);
    // About eight for a window, which grows from 100 packets.
    let acks = pair.server.session.stats().acks_sent - before;
    assert!((1280 / 64..=1280 / 16).contains(&acks), "{acks}");
}
