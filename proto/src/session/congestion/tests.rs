use super::*;

const MS: u64 = 1_000_000;
const PACKET: u64 = 1000;

/// Rounds of a sender that uses its window up, over a path of which it knows nothing.
struct Rounds {
    chosen: Chosen,
    now: u64,
    next: u64,
}

impl Rounds {
    fn new(congestion: Congestion) -> Self {
        Self {
            chosen: Chosen::new(congestion, 1 << 24),
            now: 1_000 * MS,
            next: 0,
        }
    }

    fn loss(&self, number: u64) -> LossSample {
        LossSample {
            number,
            bytes: PACKET,
            next: self.next,
        }
    }

    /// A round of `rtt` that loses its first `lost` packets and has `marked` marks; the others come in eight Acks.
    fn round(&mut self, rtt: u64, lost: u64, marked: u64) {
        let (first, packets) = (self.next, (self.chosen.window() / PACKET).max(16));
        self.next += packets;
        for number in first..first + lost {
            let loss = self.loss(number);
            self.chosen.on_loss(&loss);
        }
        let (count, mut marked) = ((packets - lost) / 8, marked);
        for ack in 0..8 {
            self.now += rtt / 8;
            let ce_packets = marked.min(count);
            marked -= ce_packets;
            self.chosen.on_ack(&AckSample {
                now: self.now,
                bytes: count * PACKET,
                packets: count,
                ce_packets,
                largest: first + lost + (ack + 1) * count - 1,
                next: self.next,
                rtt: Some(rtt),
                srtt: rtt,
                packet_size: PACKET,
                limited: true,
            });
        }
    }

    fn rounds(&mut self, count: u32, rtt: u64) {
        for _ in 0..count {
            self.round(rtt, 0, 0);
        }
    }
}

const BOTH: [Congestion; 2] = [Congestion::Delay, Congestion::Cubic];

#[test]
fn slow_start_doubles_up_to_the_limit() {
    for congestion in BOTH {
        let mut test = Rounds::new(congestion);
        let before = test.chosen.window();
        test.rounds(1, MS);
        assert!(test.chosen.window() > before * 19 / 10, "{congestion:?}");
        test.rounds(20, MS);
        assert_eq!(test.chosen.window(), 1 << 24, "{congestion:?}");
    }
}

#[test]
fn heavy_loss_shrinks_the_window_once_a_round() {
    for congestion in BOTH {
        let mut test = Rounds::new(congestion);
        test.rounds(4, MS);
        let before = test.chosen.window();
        test.round(MS, before / PACKET / 2, 0);
        let after = test.chosen.window();
        assert!(
            (before / 25..=before * 3 / 4).contains(&after),
            "{congestion:?}: {before} {after}"
        );
    }
}

#[test]
fn losses_that_were_none_are_taken_back() {
    for congestion in BOTH {
        let mut test = Rounds::new(congestion);
        test.rounds(4, MS);
        let (before, first) = (test.chosen.window(), test.next);
        test.next += before / PACKET;
        let lost = before / PACKET / 4;
        for number in first..first + lost {
            let loss = test.loss(number);
            test.chosen.on_loss(&loss);
        }
        assert!(test.chosen.window() < before, "{congestion:?}");
        for number in first..first + lost {
            let loss = test.loss(number);
            test.chosen.on_spurious_loss(&loss);
        }
        assert_eq!(test.chosen.window(), before, "{congestion:?}");
    }
}

#[test]
fn a_late_packet_of_an_earlier_round_does_not_hide_losses() {
    let cut = |late: bool| {
        let mut test = Rounds::new(Congestion::Delay);
        test.rounds(5, MS);
        let before = test.chosen.window();
        let old = test.next;
        // Few losses without a queue: no congestion.
        test.round(MS, 3, 0);
        let heavy = test.chosen.window() / PACKET / 32 + 1;
        let first = test.next;
        test.next += test.chosen.window() / PACKET;
        for number in first..first + heavy {
            let loss = test.loss(number);
            test.chosen.on_loss(&loss);
            if late && number < first + 3 {
                let loss = test.loss(old + number - first);
                test.chosen.on_spurious_loss(&loss);
            }
        }
        test.chosen.window() < before
    };
    assert!(cut(false) && cut(true));
}

#[test]
fn a_standing_queue_shrinks_the_window_by_delay() {
    let mut test = Rounds::new(Congestion::Delay);
    test.rounds(6, MS);
    let before = test.chosen.window();
    test.rounds(8, 20 * MS);
    assert!(
        test.chosen.window() < before / 2,
        "{}",
        test.chosen.window()
    );
}

#[test]
fn incidental_loss_on_an_empty_path_is_no_congestion() {
    let mut test = Rounds::new(Congestion::Delay);
    for _ in 0..30 {
        let lost = test.chosen.window() / PACKET / 100;
        test.round(MS, lost, 0);
    }
    assert!(test.chosen.window() > 1 << 23, "{}", test.chosen.window());
}

#[test]
fn marks_shrink_the_window() {
    for congestion in BOTH {
        let mut test = Rounds::new(congestion);
        test.rounds(6, MS);
        let before = test.chosen.window();
        test.round(MS, 0, before / PACKET);
        assert!(test.chosen.window() < before * 9 / 10, "{congestion:?}");
    }
}

#[test]
fn an_outage_starts_over() {
    for congestion in BOTH {
        let mut test = Rounds::new(congestion);
        test.rounds(6, MS);
        test.chosen.on_persistent_congestion();
        assert_eq!(test.chosen.window(), MIN_PACKETS * PACKET, "{congestion:?}");
        test.rounds(4, MS);
        assert!(
            test.chosen.window() >= 8 * MIN_PACKETS * PACKET,
            "{congestion:?}"
        );
    }
}

#[test]
fn extremes_do_not_panic() {
    for congestion in BOTH {
        let mut chosen = Chosen::new(congestion, 0);
        for rtt in [Some(1), None, Some(u64::MAX), Some(0)] {
            for bytes in [0, 1, 1 << 40] {
                chosen.on_ack(&AckSample {
                    now: u64::MAX,
                    bytes,
                    packets: bytes,
                    ce_packets: bytes,
                    largest: u64::MAX,
                    next: u64::MAX,
                    rtt,
                    srtt: rtt.unwrap_or(0),
                    packet_size: 1 << 16,
                    limited: true,
                });
                chosen.on_loss(&LossSample {
                    number: u64::MAX - 1,
                    bytes: 1 << 40,
                    next: u64::MAX,
                });
                chosen.on_spurious_loss(&LossSample {
                    number: 0,
                    bytes,
                    next: 0,
                });
            }
        }
        assert!(chosen.window() >= least_window(1 << 16));
        assert!(chosen.pacing_rate(0) > 0);
    }
}
