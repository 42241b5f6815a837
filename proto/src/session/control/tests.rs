use super::*;
use proptest::prelude::*;

/// All segments that are to be sent now.
fn outgoing(sender: &mut ControlSender) -> Vec<(u64, u64, Vec<u8>)> {
    std::iter::from_fn(|| {
        let number = sender.transmit()?;
        let (offset, bytes) = sender.segment(number)?;
        Some((number, offset, bytes.to_vec()))
    })
    .collect()
}

#[test]
fn messages_arrive_in_order_whatever_the_network_does() {
    let mut sender = ControlSender::new();
    let messages: Vec<Vec<u8>> = (1..40usize).map(|n| vec![n as u8; n * n * 5]).collect();
    for message in &messages {
        sender.push(message).unwrap();
    }
    let mut segments = outgoing(&mut sender);
    segments.reverse();
    let mut receiver = ControlReceiver::new();
    for (_, offset, bytes) in segments.iter().chain(&segments) {
        assert_eq!(receiver.receive(*offset, bytes), Ok(true));
    }
    let received: Vec<_> = std::iter::from_fn(|| receiver.pop()).collect();
    assert_eq!(received, messages);
    assert!(receiver.buffer.is_empty() && receiver.waiting == 0);
}

#[test]
fn small_messages_share_a_segment() {
    let mut sender = ControlSender::new();
    for _ in 0..10 {
        sender.push(b"hello").unwrap();
    }
    let segments = outgoing(&mut sender);
    assert_eq!(segments.len(), 1);
    assert_eq!(segments[0].2.len(), 90);
}

#[test]
fn the_window_bounds_what_is_unacknowledged() {
    let mut sender = ControlSender::new();
    let message = vec![0; MAX_MESSAGE];
    while sender.capacity() == MAX_MESSAGE {
        sender.push(&message).unwrap();
    }
    assert!(sender.push(&message).is_err());
    let rest = vec![0; sender.capacity()];
    sender.push(&rest).unwrap();
    assert_eq!(sender.capacity(), 0);
    assert!(sender.push(b"").is_err());
    assert!(sender.buffered <= CONTROL_WINDOW);
    for (number, _, _) in outgoing(&mut sender) {
        sender.on_acked(number);
    }
    assert_eq!(sender.capacity(), MAX_MESSAGE);
    assert!(sender.is_drained());
}

#[test]
fn tiny_segments_are_bounded_too() {
    let mut sender = ControlSender::new();
    while sender.push(b"x").is_ok() {
        outgoing(&mut sender);
    }
    assert!(sender.segments.len() <= MAX_SEGMENTS);
}

#[test]
fn lost_segments_go_again_and_acknowledged_ones_do_not() {
    let mut sender = ControlSender::new();
    sender.push(&[1; 3000]).unwrap();
    let segments = outgoing(&mut sender);
    assert_eq!(segments.len(), 3);
    sender.on_lost(0);
    sender.on_lost(1);
    sender.on_acked(1);
    let again = outgoing(&mut sender);
    assert_eq!(again, segments[..1]);
    sender.on_acked(2);
    assert!(!sender.is_drained());
    sender.on_acked(0);
    assert!(sender.is_drained());
    sender.on_lost(0);
    assert!(outgoing(&mut sender).is_empty());
}

#[test]
fn a_message_that_is_too_long_is_a_violation() {
    let mut receiver = ControlReceiver::new();
    let len = MAX_MESSAGE as u32 + 1;
    assert_eq!(
        receiver.receive(0, &len.to_le_bytes()),
        Err(Violation::MessageTooLong(len))
    );
}

#[test]
fn data_beyond_the_window_is_a_violation() {
    let mut receiver = ControlReceiver::new();
    let beyond = CONTROL_WINDOW as u64;
    assert_eq!(
        receiver.receive(beyond, b"x"),
        Err(Violation::ControlWindow(beyond))
    );
    assert_eq!(
        receiver.receive(u64::MAX, b"x"),
        Err(Violation::ControlWindow(u64::MAX))
    );
    assert_eq!(receiver.receive(beyond - 1, b"x"), Ok(true));
}

#[test]
fn pieces_and_unfetched_messages_are_bounded() {
    let mut receiver = ControlReceiver::new();
    let taken = (1..2000u64)
        .filter(|n| receiver.receive(n * 10, b"x") == Ok(true))
        .count();
    assert!(taken < MAX_PIECES);
    assert_eq!(
        receiver.receive(0, &[6, 0, 0, 0]),
        Ok(true),
        "what closes the gap is always taken"
    );

    let mut receiver = ControlReceiver::new();
    // As much memory for as few bytes as there can be.
    let tiny = [1, 0, 0, 0, 7].repeat(200);
    let taken = (0..10_000u64)
        .take_while(|n| receiver.receive(n * 1000, &tiny) == Ok(true))
        .count();
    assert!(
        receiver.waiting <= CONTROL_WINDOW + 200 * cost(&[7]),
        "{taken}"
    );
    while receiver.pop().is_some() {}
    assert_eq!(receiver.receive(taken as u64 * 1000, &tiny), Ok(true));
}

proptest! {
    #[test]
    fn any_cut_of_the_stream_gives_the_same_messages(
        messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..200), 1..30),
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 1usize..400), 0..60),
    ) {
        let stream: Vec<u8> = messages.iter().flat_map(|m| (m.len() as u32).to_le_bytes().into_iter().chain(m.iter().copied())).collect();
        let mut receiver = ControlReceiver::new();
        for (at, len) in cuts {
            let at = at.index(stream.len());
            let piece = &stream[at..(at + len).min(stream.len())];
            prop_assert_eq!(receiver.receive(at as u64, piece), Ok(true));
        }
        prop_assert_eq!(receiver.receive(0, &stream), Ok(true));
        let received: Vec<_> = std::iter::from_fn(|| receiver.pop()).collect();
        prop_assert_eq!(received, messages);
    }

    #[test]
    fn random_pieces_do_not_panic(pieces in proptest::collection::vec((0u64..3000, proptest::collection::vec(0u8..3, 0..300)), 0..50)) {
        let mut receiver = ControlReceiver::new();
        for (offset, bytes) in pieces {
            let _ = receiver.receive(offset, &bytes);
            prop_assert!(receiver.buffer.len() <= CONTROL_WINDOW + MAX_MESSAGE + PREFIX_LEN);
        }
    }
}

#[test]
fn an_empty_message_is_a_violation_and_is_not_sent() {
    assert!(ControlSender::new().push(b"").is_err());
    let mut receiver = ControlReceiver::new();
    let result = receiver.receive(0, &[0; 8]);
    assert_eq!(result, Err(Violation::EmptyMessage));
    assert_eq!(receiver.pop(), None);
}
