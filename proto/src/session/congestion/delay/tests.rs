use super::*;

const MS: u64 = 1_000_000;
const PACKET: u64 = 1000;

/// In steady state with a window of 1000 packets.
fn steady() -> Delay {
    let mut delay = Delay::new(1 << 24);
    delay.mode = Mode::Steady;
    delay.packet_size = PACKET;
    delay.base.sample(0, MS);
    delay.set_window(1000 * PACKET);
    delay
}

fn loss(number: u64, next: u64) -> LossSample {
    LossSample {
        number,
        bytes: PACKET,
        next,
    }
}

fn ack(largest: u64) -> AckSample {
    AckSample {
        now: MS,
        bytes: PACKET,
        packets: 1,
        ce_packets: 0,
        largest,
        next: largest + 1,
        rtt: Some(MS),
        srtt: MS,
        packet_size: PACKET,
        limited: true,
    }
}

/// The window before and after the news that the losses of a cut were none, when `other` came in between.
fn undo_after(other: impl FnOnce(&mut Delay)) -> (u64, u64) {
    let mut delay = steady();
    for number in 0..100 {
        delay.on_loss(&loss(number, 1000));
    }
    assert!(delay.window < 1000 * PACKET);
    other(&mut delay);
    let before = delay.window;
    for number in 0..100 {
        delay.on_spurious_loss(&loss(number, 3000));
    }
    (before, delay.window)
}

#[test]
fn a_cut_for_losses_that_were_none_is_taken_back() {
    assert_eq!(undo_after(|_| {}).1, 1000 * PACKET);
}

#[test]
fn later_cuts_for_other_reasons_stay() {
    let (before, after) = undo_after(|delay| {
        (delay.round.marked, delay.round.packets) = (10, 10);
        delay.on_marks(2000);
    });
    assert_eq!(before, after, "marks");
    let (before, after) = undo_after(|delay| {
        delay.round.min_rtt = 20 * MS;
        delay.shrink(19 * MS, 2 * MS, 2000);
    });
    assert_eq!(before, after, "delay");
    let (before, after) = undo_after(Delay::compete);
    assert_eq!(before, after, "competition");
}

#[test]
fn a_late_packet_of_an_earlier_round_does_not_hide_losses() {
    let mut delay = steady();
    delay.on_loss(&loss(500, 1000));
    delay.round = Round::starting(1000);
    for number in 1000..1010 {
        delay.on_loss(&loss(number, 2000));
    }
    delay.on_spurious_loss(&loss(500, 2000));
    assert_eq!(delay.round.lost, 10 * PACKET);
    delay.on_spurious_loss(&loss(1000, 2000));
    assert_eq!(delay.round.lost, 9 * PACKET);
}

#[test]
fn steps_do_not_grow_for_ever() {
    let mut delay = steady();
    delay.below = u32::MAX - 1;
    delay.round.limited = true;
    // Between half the target and the target: no haste.
    let queue = delay.target() / 4 * 3;
    for round in 0..3 {
        let before = delay.window;
        delay.steer(queue, &ack(round));
        assert!(delay.window > before && delay.window <= before + 17 * PACKET);
    }
    delay.mode = Mode::Compete { short_queue: true };
    delay.below = u32::MAX;
    delay.end_round(&ack(10));
    assert_eq!(delay.below, MOST_BELOW);
}
