use super::super::ack;
use super::super::config::Parameters;
use super::super::pmtu::Pmtu;
use super::super::ranges::Run;
use super::*;
use core::time::Duration;

/// A power of two, so that windows are whole numbers of packets.
const SIZE: u32 = 2048;
const RTT: Duration = Duration::from_micros(100);

#[derive(Default)]
struct Log {
    acked: Vec<u64>,
    lost: Vec<u64>,
}

impl Fate for Log {
    fn on_acked(&mut self, content: Content) {
        if let Content::Control { offset, .. } = content {
            self.acked.push(offset);
        }
    }

    fn on_lost(&mut self, content: Content) {
        if let Content::Control { offset, .. } = content {
            self.lost.push(offset);
        }
    }
}

struct Test {
    recovery: Recovery,
    log: Log,
    now: Time,
}

impl Test {
    fn new() -> Self {
        Self {
            recovery: Recovery::new(Congestion::Delay, 32 << 20, 1_000_000),
            log: Log::default(),
            now: Time::from_nanos(1_000_000_000),
        }
    }

    fn send(&mut self, count: u64) {
        for _ in 0..count {
            let offset = self.recovery.next();
            self.recovery
                .on_sent(self.now, Content::Control { offset, len: 1 }, SIZE);
        }
    }

    fn ack(&mut self, runs: &[(u64, u64)]) -> Result<(), Violation> {
        let runs: Vec<Run> = runs
            .iter()
            .map(|&(start, end)| Run::new(start, end))
            .collect();
        let mut buffer = Vec::new();
        ack::encode(&runs, 0, 0, 0, &mut buffer);
        let ack = Ack::decode(&buffer).unwrap();
        self.recovery.on_ack(self.now, &ack, &mut self.log)
    }

    fn timeout(&mut self) -> bool {
        self.now = self.recovery.deadline().unwrap();
        self.recovery.on_timeout(self.now, &mut self.log)
    }
}

#[test]
fn acknowledged_packets_are_told_once() {
    let mut test = Test::new();
    test.send(10);
    test.now += RTT;
    test.ack(&[(0, 5)]).unwrap();
    test.ack(&[(0, 5), (7, 8)]).unwrap();
    test.ack(&[(0, 10)]).unwrap();
    assert_eq!(test.log.acked, [0, 1, 2, 3, 4, 7, 5, 6, 8, 9]);
    assert!(test.log.lost.is_empty());
    assert_eq!(test.recovery.in_flight(), 0);
    assert!(test.recovery.deadline().is_none());
    assert!(test.recovery.records.is_empty(), "nothing is kept");
}

#[test]
fn of_watched_packets_it_is_told_what_becomes_of_them() {
    let mut test = Test::new();
    test.send(5);
    test.recovery.watch([1, 2, 3, 99]);
    test.now += RTT;
    test.ack(&[(3, 5)]).unwrap();
    let told = |arrived, lost| Watched { arrived, lost };
    assert_eq!(test.recovery.counters.watched, told(1, 0));
    test.timeout();
    assert_eq!(test.log.lost, [0, 1, 2]);
    assert_eq!(test.recovery.counters.watched, told(1, 2));
    test.ack(&[(2, 5)]).unwrap();
    assert_eq!(test.recovery.counters.watched, told(2, 1), "late");
    test.ack(&[(2, 5)]).unwrap();
    assert_eq!(test.recovery.counters.watched, told(2, 1), "told once");
}

#[test]
fn of_packets_that_were_watched_before_nothing_is_told() {
    let mut test = Test::new();
    test.send(4);
    test.recovery.watch([0, 1, 2]);
    test.now += RTT;
    test.ack(&[(3, 4)]).unwrap();
    test.timeout();
    let told = |arrived, lost| Watched { arrived, lost };
    assert_eq!(test.recovery.counters.watched, told(0, 3));
    test.send(4);
    test.recovery.watch([4, 5, 6]);
    assert_eq!(test.recovery.counters.watched, told(0, 0));
    // All of the first ones arrive after all, with one of the others.
    test.now += RTT;
    test.ack(&[(0, 5)]).unwrap();
    assert_eq!(test.log.acked, [3, 0, 1, 2, 4]);
    assert_eq!(test.recovery.counters.watched, told(1, 0));
}

#[test]
fn of_packets_that_were_watched_before_no_loss_is_told() {
    let mut test = Test::new();
    test.send(3);
    test.recovery.watch([0, 1]);
    test.send(3);
    test.recovery.watch([3, 4]);
    test.now += RTT;
    test.ack(&[(5, 6)]).unwrap();
    test.timeout();
    assert_eq!(test.log.lost, [0, 1, 2, 3, 4]);
    let lost = test.recovery.counters.watched.lost;
    assert_eq!(lost, 2, "of the second message");
}

#[test]
fn an_overtaken_packet_is_lost_after_the_reordering_window() {
    let mut test = Test::new();
    test.send(3);
    let sent = test.now;
    test.now += RTT;
    test.ack(&[(1, 3)]).unwrap();
    assert!(test.log.lost.is_empty());
    let deadline = test.recovery.deadline().unwrap();
    assert_eq!(deadline, sent + RTT + Duration::from_millis(1));
    assert!(!test.timeout());
    assert_eq!(test.log.lost, [0]);
    assert_eq!(test.recovery.in_flight(), 0);
    assert!(test.recovery.deadline().is_none());
}

#[test]
fn a_packet_sent_much_earlier_is_lost_at_once() {
    let mut test = Test::new();
    test.send(1);
    test.now += Duration::from_millis(5);
    test.send(1);
    test.now += RTT;
    test.ack(&[(1, 2)]).unwrap();
    assert_eq!(test.log.lost, [0]);
}

#[test]
fn nothing_is_lost_because_this_side_slept() {
    let mut test = Test::new();
    test.send(10);
    test.now += Duration::from_secs(1);
    // Acks that waited in the socket, taken in one after the other.
    test.ack(&[(5, 8)]).unwrap();
    test.ack(&[(0, 8)]).unwrap();
    assert!(test.log.lost.is_empty());
}

#[test]
fn a_late_ack_revokes_the_loss_and_widens_the_window() {
    let mut test = Test::new();
    test.send(3);
    test.now += RTT;
    test.ack(&[(1, 3)]).unwrap();
    test.timeout();
    test.send(1);
    test.now += RTT;
    test.ack(&[(0, 4)]).unwrap();
    assert_eq!(test.log.acked, [1, 2, 0, 3]);
    assert_eq!(test.recovery.counters.spurious, 1);
    assert_eq!(test.recovery.reorder_factor, 2);
}

#[test]
fn a_late_probe_takes_back_no_loss() {
    let mut test = Test::new();
    let probe = Pmtu::new(&Parameters::default(), None, u16::MAX)
        .send()
        .unwrap();
    test.recovery.on_sent(test.now, Content::Probe(probe), SIZE);
    test.send(2);
    test.now += RTT;
    test.ack(&[(1, 3)]).unwrap();
    test.timeout();
    test.ack(&[(0, 3)]).unwrap();
    let counters = test.recovery.counters;
    assert_eq!((counters.lost, counters.spurious), (0, 0));
    assert_eq!(test.recovery.reorder_factor, 2, "it was late all the same");
}

#[test]
fn silence_calls_for_probes_ever_more_rarely() {
    let mut test = Test::new();
    test.send(1);
    test.now += RTT;
    test.ack(&[(0, 1)]).unwrap();
    test.send(4);
    let sent = test.now;
    assert!(test.timeout());
    let first = test.now.saturating_since(sent);
    assert!(
        first >= RTT + Duration::from_millis(2) && first < Duration::from_millis(3),
        "{first:?}"
    );
    let mut waits = Vec::new();
    for _ in 0..12 {
        let before = test.now;
        assert!(test.timeout());
        waits.push(test.now.saturating_since(before));
    }
    assert_eq!(waits[0], 2 * first);
    assert_eq!(waits.last(), Some(&Duration::from_secs(1)));
    assert_eq!(
        test.recovery.controller.window(),
        4 * u64::from(SIZE),
        "persistent congestion"
    );
    assert_eq!(
        test.recovery.in_flight(),
        4 * u64::from(SIZE),
        "silence proves no loss"
    );

    // The probe arrives: all before it is lost.
    test.send(1);
    test.now += RTT;
    test.ack(&[(0, 1), (5, 6)]).unwrap();
    assert_eq!(test.log.lost, [1, 2, 3, 4]);
}

#[test]
fn acks_of_what_was_never_sent_are_a_violation() {
    let mut test = Test::new();
    test.send(3);
    assert_eq!(
        test.ack(&[(0, 4)]),
        Err(Violation::AckOfUnsent {
            largest: 3,
            next: 3
        })
    );
}

#[test]
fn the_window_limits_what_is_in_flight() {
    let mut test = Test::new();
    while test.recovery.may_send() {
        test.send(1);
    }
    assert_eq!(test.recovery.in_flight(), 128 << 10);
}

#[test]
fn records_are_bounded_and_forgotten() {
    let mut test = Test::new();
    let mut end = 0;
    for _ in 0..3000 {
        test.send(32);
        end += 32;
        test.now += RTT;
        // Every 32nd is lost.
        test.ack(&[(end - 31, end)]).unwrap();
        assert!(
            test.recovery.records.len() < 1500,
            "{}",
            test.recovery.records.len()
        );
    }
    assert!(test.log.lost.len() > 2900);
    assert!(test.recovery.acked.runs().len() <= MAX_ACKED_RUNS);
}

#[test]
fn one_long_pause_does_not_make_probes_rare() {
    let mut test = Test::new();
    for pause in [RTT, Duration::from_secs(3)] {
        let end = test.recovery.next() + 1;
        test.send(1);
        test.now += pause;
        test.ack(&[(end - 1, end)]).unwrap();
    }
    assert!(test.recovery.rtt.probe_timeout() > 3_000_000_000);
    test.send(1);
    let sent = test.now;
    for probe in 1..=7 {
        assert!(test.timeout());
        assert_eq!(
            test.now.saturating_since(sent),
            Duration::from_secs(probe),
            "often enough within the time after which a peer is given up"
        );
    }
}

#[test]
fn a_long_round_trip_is_waited_for() {
    let mut test = Test::new();
    let rtt = Duration::from_secs(2);
    for number in 0..40 {
        test.send(1);
        test.now += rtt;
        test.ack(&[(number, number + 1)]).unwrap();
    }
    test.send(1);
    let sent = test.now;
    assert!(test.timeout());
    assert!(test.now.saturating_since(sent) > rtt);
}

#[test]
fn the_reordering_window_narrows_when_nothing_is_late() {
    let mut test = Test::new();
    test.send(3);
    test.now += RTT;
    test.ack(&[(1, 3)]).unwrap();
    test.timeout();
    test.ack(&[(0, 3)]).unwrap();
    assert_eq!(test.recovery.reorder_factor, 2);
    for round in 1..=3 * CALM_ROUNDS {
        let number = test.recovery.next();
        test.send(1);
        test.now += RTT;
        test.ack(&[(number, number + 1)]).unwrap();
        let wide = round < CALM_ROUNDS;
        assert_eq!(test.recovery.reorder_factor, 1 + u64::from(wide), "{round}");
    }
}
