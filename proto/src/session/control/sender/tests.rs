use super::*;

/// A message whose bytes depend on its number.
pub(in crate::session::control) fn message(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (number * 31 + at * 7) as u8).collect()
}

/// All pieces that are to be sent now, in packets of so many bytes.
pub(in crate::session::control) fn outgoing(
    sender: &mut ControlSender,
    most: u16,
) -> Vec<(Piece, Vec<u8>)> {
    std::iter::from_fn(|| {
        let piece = sender.transmit(most)?;
        let (first, second) = sender.bytes(piece);
        Some((piece, [first, second].concat()))
    })
    .collect()
}

fn piece(offset: u64, len: u16) -> Piece {
    Piece { offset, len }
}

fn pieces(sender: &mut ControlSender, most: u16) -> Vec<(u64, u16)> {
    outgoing(sender, most)
        .iter()
        .map(|(piece, _)| (piece.offset, piece.len))
        .collect()
}

#[test]
fn small_messages_share_a_packet() {
    let mut sender = ControlSender::new();
    for _ in 0..10 {
        sender.push(b"hello").unwrap();
    }
    assert_eq!(pieces(&mut sender, 1024), [(0, 90)]);
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
    assert!(sender.buffer.len() <= CONTROL_WINDOW);
    for (piece, _) in outgoing(&mut sender, 1024) {
        sender.on_acked(piece);
    }
    assert_eq!(sender.capacity(), MAX_MESSAGE);
    assert!(sender.is_drained());
    assert!(sender.buffer.capacity() <= 2 * KEPT);
}

#[test]
fn an_empty_message_is_not_sent() {
    assert!(ControlSender::new().push(b"").is_err());
}

#[test]
fn what_was_lost_goes_again_and_what_was_acknowledged_does_not() {
    let mut sender = ControlSender::new();
    sender.push(&[1; 2996]).unwrap();
    let first = outgoing(&mut sender, 1000);
    assert_eq!(first.len(), 3);
    sender.on_lost(piece(0, 1000));
    sender.on_lost(piece(1000, 1000));
    sender.on_acked(piece(1000, 1000));
    assert_eq!(outgoing(&mut sender, 1000), first[..1]);
    sender.on_acked(piece(2000, 1000));
    assert!(!sender.is_drained());
    sender.on_acked(piece(0, 1000));
    assert!(sender.is_drained() && !sender.is_ready());
    sender.on_lost(piece(0, 1000));
    assert!(pieces(&mut sender, 1000).is_empty());
}

#[test]
fn each_packet_is_cut_to_what_the_path_takes_now() {
    let mut sender = ControlSender::new();
    sender.push(&message(1, 7996)).unwrap();
    assert_eq!(sender.transmit(3584), Some(piece(0, 3584)));
    assert_eq!(sender.transmit(3584), Some(piece(3584, 3584)));
    sender.on_lost(piece(0, 3584));
    sender.on_acked(piece(3584, 3584));
    assert_eq!(
        pieces(&mut sender, 1024),
        [
            (0, 1024),
            (1024, 1024),
            (2048, 1024),
            (3072, 512),
            (7168, 832)
        ],
        "a piece ends where something was acknowledged"
    );
    // The late Ack of the long piece stands for all the short ones.
    sender.on_lost(piece(1024, 1024));
    sender.on_acked(piece(0, 3584));
    assert!(!sender.is_ready());
    sender.on_acked(piece(7168, 832));
    assert!(sender.is_drained());
}

#[test]
fn what_was_lost_goes_first_and_in_order() {
    let mut sender = ControlSender::new();
    sender.push(&[1; 4996]).unwrap();
    for _ in 0..3 {
        sender.transmit(1000);
    }
    sender.on_lost(piece(2000, 1000));
    sender.on_lost(piece(0, 1000));
    assert_eq!(
        pieces(&mut sender, 3000),
        [(0, 1000), (2000, 1000), (3000, 2000)]
    );
}

#[test]
fn a_piece_may_lie_across_the_end_of_the_ring() {
    let mut sender = ControlSender::new();
    let mut wrapped = 0;
    let mut stream = Vec::new();
    for number in 0..200 {
        let message = message(number, 3000);
        stream.extend_from_slice(&3000u32.to_le_bytes());
        stream.extend_from_slice(&message);
        sender.push(&message).unwrap();
        let piece = sender.transmit(2900 + number as u16).unwrap();
        let (first, second) = sender.bytes(piece);
        wrapped += usize::from(!second.is_empty());
        let from = piece.offset as usize;
        let expected = &stream[from..from + usize::from(piece.len)];
        assert_eq!([first, second].concat(), expected);
        sender.on_acked(piece);
    }
    assert!(wrapped > 0);
}

#[test]
fn more_gaps_than_are_remembered_cost_packets_and_lose_nothing() {
    for lose in [true, false] {
        let mut sender = ControlSender::new();
        sender.push(&[1; 4 * MAX_PIECES]).unwrap();
        let sent = outgoing(&mut sender, 1);
        for (index, (piece, _)) in sent.iter().enumerate().skip(1) {
            match (index % 2 == 0, lose) {
                (true, true) => sender.on_lost(*piece),
                (true, false) => sender.on_acked(*piece),
                (false, _) => {}
            }
            assert!(sender.acked.runs().len() <= MAX_PIECES);
            assert!(sender.lost.runs().len() <= MAX_PIECES);
        }
        // Nothing that was lost is forgotten.
        let again: Vec<u64> = outgoing(&mut sender, 1)
            .iter()
            .map(|(piece, _)| piece.offset)
            .collect();
        let lost = |index: &usize| lose && index.is_multiple_of(2);
        assert!(
            (1..sent.len())
                .filter(lost)
                .all(|index| again.contains(&sent[index].0.offset))
        );
        assert!(
            again.len() > usize::from(!lose) && again.len() < sent.len(),
            "{}",
            again.len()
        );
        for (piece, _) in sent.iter().rev() {
            sender.on_acked(*piece);
        }
        while let Some(piece) = sender.transmit(9) {
            sender.on_acked(piece);
        }
        for (piece, _) in &sent {
            sender.on_acked(*piece);
        }
        assert!(sender.is_drained());
    }
}
