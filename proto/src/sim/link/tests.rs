use super::*;
use crate::sim::network::Address;

const T0: Time = Time::from_nanos(1_000_000_000);

/// Sends packets of 100 bytes, one each microsecond, and gives what came out and what was counted.
fn run(plan: LinkPlan, packets: u64) -> (Vec<(Time, Datagram)>, Tally) {
    let (mut link, mut yard) = (Link::new(plan, Random::new(9)), Yard::default());
    let mut tally = Tally::default();
    for number in 0..packets {
        let packet = Datagram {
            from: Address::of_client(0),
            to: Address::SERVER,
            ecn: Ecn::Capable0,
            bytes: vec![number as u8; 100],
        };
        let now = T0 + Duration::from_micros(number);
        link.carry(now, packet, &mut yard, &mut tally);
    }
    (yard.into_arrivals(), tally)
}

fn about(found: u64, expected: u64) -> bool {
    (expected * 7 / 10..=expected * 13 / 10).contains(&found)
}

#[test]
fn a_clean_link_only_delays() {
    let plan = LinkPlan {
        delay: 5_000,
        ..LinkPlan::default()
    };
    let (out, tally) = run(plan, 100);
    assert_eq!(out.len(), 100);
    assert!(out.iter().zip(0..).all(|((at, packet), number)| {
        *at == T0 + Duration::from_micros(number + 5) && packet.bytes == [number as u8; 100]
    }));
    assert_eq!(tally, Tally::default());
}

#[test]
fn losses_happen_as_often_as_asked() {
    let plan = LinkPlan {
        loss: 100_000,
        ..LinkPlan::default()
    };
    assert_eq!(plan.damage(), 100_000);
    let (out, tally) = run(plan, 10_000);
    assert!(about(tally.get(Count::Lost), 1000), "{tally}");
    assert_eq!(out.len() as u64, 10_000 - tally.get(Count::Lost));
}

#[test]
fn bursts_take_packets_in_a_row() {
    let bursts = Bursts {
        enter: 10_000,
        leave: 100_000,
        loss: 1_000_000,
        longest: 1_000_000_000,
    };
    let plan = LinkPlan {
        bursts: Some(bursts),
        ..LinkPlan::default()
    };
    assert_eq!(plan.damage(), 90_909);
    let (out, tally) = run(plan, 20_000);
    let lost = tally.get(Count::LostInBurst);
    assert!(about(lost, 20_000 / 11), "{lost}");
    let gaps = out
        .windows(2)
        .filter(|pair| pair[1].0 > pair[0].0 + Duration::from_micros(1))
        .count();
    let mean = lost as f64 / gaps as f64;
    assert!((7.0..14.0).contains(&mean), "{mean} packets in a burst");
}

#[test]
fn packets_are_doubled_changed_cut_and_made_up() {
    let plan = LinkPlan {
        duplication: 50_000,
        replay: 10_000,
        corruption: 50_000,
        truncation: 20_000,
        garbage: 30_000,
        ..LinkPlan::default()
    };
    let (out, tally) = run(plan, 10_000);
    for (count, expected) in [
        (Count::Duplicated, 500),
        (Count::Replayed, 100),
        (Count::Corrupted, 500),
        (Count::Truncated, 200),
        (Count::Garbage, 300),
    ] {
        assert!(
            about(tally.get(count), expected),
            "{}: {}",
            count.words(),
            tally.get(count)
        );
    }
    let more = [Count::Duplicated, Count::Replayed, Count::Garbage].map(|count| tally.get(count));
    assert_eq!(out.len() as u64, 10_000 + more.iter().sum::<u64>());
    let short = out
        .iter()
        .filter(|(_, packet)| packet.bytes.len() < 100)
        .count() as u64;
    assert!(short >= tally.get(Count::Truncated));
    let late = out
        .iter()
        .filter(|(at, _)| *at > T0 + Duration::from_millis(100))
        .count();
    assert_eq!(late as u64, tally.get(Count::Replayed));
}

#[test]
fn jitter_reorders_unless_it_is_that_of_a_queue() {
    let plan = LinkPlan {
        delay: 10_000,
        jitter: 20_000,
        ..LinkPlan::default()
    };
    let (_, tally) = run(plan.clone(), 1000);
    assert!(tally.get(Count::Reordered) > 500);
    let (out, tally) = run(
        LinkPlan {
            keeps_order: true,
            ..plan.clone()
        },
        1000,
    );
    assert_eq!((tally.get(Count::Reordered), out.len()), (0, 1000));
    let detours = LinkPlan {
        jitter: 0,
        detours: 50_000,
        detour: 3_500,
        ..plan
    };
    let (_, tally) = run(detours, 1000);
    assert!(
        about(tally.get(Count::Reordered), 150),
        "those behind are overtaken: {tally}"
    );
}

#[test]
fn a_slow_link_queues_marks_and_drops() {
    // A packet of 128 bytes takes 2 us, and comes each 1 us.
    let plan = LinkPlan {
        rate: 64_000_000,
        queue: 128 * 20,
        mark_above: 128 * 10,
        ..LinkPlan::default()
    };
    let (out, tally) = run(plan, 1000);
    assert!(about(tally.get(Count::TailDropped), 480), "{tally}");
    let marked = out
        .iter()
        .filter(|(_, packet)| packet.ecn == Ecn::Congested)
        .count() as u64;
    assert!(marked > 400 && marked == tally.get(Count::Marked));
    let gaps = out
        .windows(2)
        .map(|pair| pair[1].0.saturating_since(pair[0].0));
    assert!(gaps.min() == Some(Duration::from_micros(2)));
}

#[test]
fn long_packets_vanish_while_the_mtu_is_low() {
    let after = |micros| T0 + Duration::from_micros(micros);
    let plan = LinkPlan {
        mtu: vec![(T0, 1500), (after(300), 127), (after(700), 128)],
        ..LinkPlan::default()
    };
    let (out, tally) = run(plan, 1000);
    let counts = [Count::TooLong, Count::MtuFell, Count::MtuRose].map(|count| tally.get(count));
    assert_eq!(counts, [400, 1, 1]);
    assert_eq!(out.len(), 600);
}

#[test]
fn outages_cut_everything_for_their_time() {
    let after = |micros| T0 + Duration::from_micros(micros);
    let outage = |from, to, one_way| Outage {
        from: after(from),
        to: after(to),
        one_way,
    };
    let plan = LinkPlan {
        outages: vec![outage(100, 300, false), outage(500, 510, true)],
        ..LinkPlan::default()
    };
    assert!(plan.is_cut(after(100)) && !plan.is_cut(after(300)));
    let (out, tally) = run(plan, 1000);
    assert_eq!(tally.get(Count::Partitioned), 200);
    assert_eq!(tally.get(Count::PartitionedOneWay), 10);
    assert_eq!(out.len(), 790);
}
