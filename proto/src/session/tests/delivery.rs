//! Peers that are there, and paths that carry no more than pings.

use super::*;

const PATIENCE: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);
/// Bytes of the longest packets that get through: pings, the longest Ack, and not much more.
const SHORT: usize = 620;

/// Queues a block of 1024 bytes, in a packet of 1110.
fn put(pair: &mut Pair, index: u64) {
    put_len(pair, index, 1024);
}

fn put_len(pair: &mut Pair, index: u64, len: usize) {
    let payload = vec![index as u8; len];
    let meta = BlockMeta {
        transfer: 1,
        offset: index * 1024,
        len: len as u16,
        crc: wire::payload_crc(&payload),
    };
    pair.client.session.queue_block(meta, payload).unwrap();
}

/// A pair on a path that drops what is longer than this, in both directions.
fn run(pair: &mut Pair, fits: usize, duration: Duration) {
    run_over(pair, duration, |_, packet| packet.len() <= fits);
}

/// A pair on a path that lets these packets through.
fn run_over(pair: &mut Pair, duration: Duration, mut passes: impl FnMut(Time, &[u8]) -> bool) {
    let end = pair.now + duration;
    while pair.now < end && pair.client.session.is_connected() {
        let out = pair.client.send_all(pair.now);
        let back = pair.server.send_all(pair.now);
        let is_quiet = out.is_empty() && back.is_empty();
        pair.now += DELAY;
        for packet in out {
            if passes(pair.now, &packet) {
                pair.server.take(pair.now, &packet).unwrap();
            }
        }
        for packet in back {
            if passes(pair.now, &packet) {
                pair.client.take(pair.now, &packet).unwrap();
            }
        }
        let sides = [&mut pair.client, &mut pair.server];
        let next = sides.iter().filter_map(|side| side.session.poll_timeout());
        if is_quiet && let Some(next) = next.min() {
            pair.now = pair.now.max(next.min(end));
        }
        for side in sides {
            side.session.handle_timeout(pair.now);
        }
    }
}

fn closed(reason: CloseReason) -> Event<Block> {
    Event::Closed(reason)
}

/// Waits until the client gives up, and checks why, and that it took this long.
fn gives_up_after(pair: &mut Pair, fits: usize, patience: Duration) {
    let start = pair.now;
    run(pair, fits, PATIENCE * 3);
    let took = pair.now.saturating_since(start);
    let late = took.checked_sub(patience).expect("too early");
    assert!(late <= DELAY, "{late:?} late");
    let events = pair.client.drain_events();
    assert_eq!(events.last(), Some(&closed(CloseReason::Undelivered)));
    // Pings came back all the while.
    assert!(
        pair.now
            .saturating_since(pair.client.session.last_received())
            < SECOND * 3
    );
    let close = pair.client.send(pair.now).unwrap();
    pair.server.take(pair.now, &close).unwrap();
    let told = CloseReason::ByPeer(CloseCode::UNDELIVERED);
    assert_eq!(pair.server.drain_events().last(), Some(&closed(told)));
}

#[test]
fn pings_do_not_keep_a_session_whose_blocks_do_not_arrive() {
    let mut pair = Pair::new(config(0), config(100));
    for index in 0..20 {
        put(&mut pair, index);
    }
    gives_up_after(&mut pair, SHORT, PATIENCE);
    let stats = pair.client.session.stats();
    assert!(stats.retransmitted > 50 && pair.server.received.is_empty());
}

#[test]
fn the_clock_begins_with_the_first_block_that_waits() {
    let mut pair = Pair::new(config(0), config(100));
    run(&mut pair, SHORT, PATIENCE * 4);
    put(&mut pair, 0);
    run(&mut pair, 3000, SECOND);
    assert_eq!(pair.server.received.len(), 1);
    run(&mut pair, SHORT, PATIENCE * 4);
    put(&mut pair, 1);
    run(&mut pair, SHORT, SECOND * 20);
    // More that is sent does not start it anew.
    put(&mut pair, 2);
    gives_up_after(&mut pair, SHORT, SECOND * 10);
}

#[test]
fn nor_one_whose_messages_do_not_arrive() {
    let mut pair = Pair::new(config(0), config(100));
    pair.client.session.send_message(&[7; 5000]).unwrap();
    gives_up_after(&mut pair, SHORT, PATIENCE);
}

#[test]
fn what_is_short_hides_nothing() {
    // Short messages arrive and long blocks do not; then short blocks, and a long message does not.
    for blocks_are_long in [true, false] {
        let mut pair = Pair::new(config(0), config(10_000));
        let block = if blocks_are_long { 1024 } else { 100 };
        if !blocks_are_long {
            pair.client.session.send_message(&[7; 3000]).unwrap();
        }
        let start = pair.now;
        for index in 0.. {
            put_len(&mut pair, index, block);
            if blocks_are_long {
                pair.client.session.send_message(&[1; 20]).unwrap();
            }
            run(&mut pair, SHORT, SECOND / 10);
            if !pair.client.session.is_connected() {
                break;
            }
            assert!(pair.now < start + PATIENCE + SECOND);
        }
        assert!(pair.now >= start + PATIENCE);
        let events = pair.client.drain_events();
        assert_eq!(events.last(), Some(&closed(CloseReason::Undelivered)));
        let blocks = pair.server.received.len();
        let messages = pair.server.drain_events().len();
        let least = 250;
        if blocks_are_long {
            assert!(blocks == 0 && messages > least, "{blocks} {messages}");
        } else {
            assert!(blocks > least && messages == 0, "{blocks} {messages}");
        }
    }
}

#[test]
fn a_receiver_that_grants_nothing_for_long_is_waited_for() {
    let mut pair = Pair::new(config(0), config(8));
    for index in 0..20 {
        put(&mut pair, index);
    }
    run(&mut pair, 3000, PATIENCE * 20);
    assert_eq!(pair.server.received.len(), 8);
    assert!(pair.client.session.is_connected() && pair.server.session.is_connected());
    for _ in 0..2 {
        pair.server.session.release_credit(8);
        run(&mut pair, 3000, SECOND);
    }
    assert_eq!(pair.server.received.len(), 20);
    assert!(pair.client.session.is_drained());
}

#[test]
fn a_slow_path_is_waited_for_as_long_as_something_arrives() {
    let mut pair = Pair::new(config(0), config(100));
    for index in 0..6 {
        put(&mut pair, index);
    }
    // Of all that is long, one packet in 25 seconds gets through.
    let pause = SECOND * 25;
    let mut next = pair.now + pause;
    run_over(&mut pair, pause * 7, |now, packet| {
        let is_lucky = packet.len() > SHORT && now >= next;
        if is_lucky {
            next = now + pause;
        }
        is_lucky || packet.len() <= SHORT
    });
    assert_eq!(pair.server.received.len(), 6);
    assert!(pair.client.session.is_connected() && pair.client.session.is_drained());
}
