use super::*;
use proptest::prelude::*;

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
fn an_empty_message_is_a_violation() {
    let mut receiver = ControlReceiver::new();
    let result = receiver.receive(0, &[0; 8]);
    assert_eq!(result, Err(Violation::EmptyMessage));
    assert_eq!(receiver.pop(), None);
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

#[test]
fn a_window_of_tiny_messages_that_comes_early_takes_no_memory_for_long() {
    let mut receiver = ControlReceiver::new();
    let tiny = [1, 0, 0, 0, 7].repeat(CONTROL_WINDOW / 5);
    // All but the first byte, backwards.
    let mut offset = tiny.len();
    for piece in tiny[1..].rchunks(8000) {
        offset -= piece.len();
        assert_eq!(receiver.receive(offset as u64, piece), Ok(true));
    }
    assert_eq!(receiver.receive(0, &tiny[..1]), Ok(true));
    let smallest = PREFIX_LEN + 1;
    assert_eq!(receiver.waiting, tiny.len() / smallest * cost(&[7]));
    let mut count = 0;
    while receiver.pop().is_some() {
        count += 1;
    }
    assert_eq!(count, tiny.len() / smallest);
    assert_eq!(receiver.waiting, 0);
    assert!(receiver.messages.capacity() <= KEPT);
    assert!(receiver.early.capacity() <= EARLY_KEPT);
}

#[test]
fn what_comes_in_order_is_not_stored() {
    let mut receiver = ControlReceiver::new();
    let message = vec![7; 5000];
    let stream = [&5000u32.to_le_bytes()[..], &message].concat();
    for (number, piece) in stream.chunks(3).enumerate() {
        assert_eq!(receiver.receive(3 * number as u64, piece), Ok(true));
        assert!(receiver.early.is_empty());
    }
    assert_eq!(receiver.pop(), Some(message));
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
        prop_assert!(receiver.early.is_empty() && receiver.received.runs().is_empty() && receiver.waiting == 0);
    }

    #[test]
    fn random_pieces_do_not_panic(pieces in proptest::collection::vec((0u64..3000, proptest::collection::vec(0u8..3, 0..300)), 0..50)) {
        let mut receiver = ControlReceiver::new();
        for (offset, bytes) in pieces {
            let _ = receiver.receive(offset, &bytes);
            prop_assert!(receiver.early.len() <= CONTROL_WINDOW);
        }
    }
}
