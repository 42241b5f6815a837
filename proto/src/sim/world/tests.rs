use super::*;
use crate::session::{Config, Parameters, RetryPolicy};
use crate::sim::client::Task;
use crate::sim::disk::DiskPlan;
use crate::sim::link::LinkPlan;
use crate::sim::scenario::{Action, Narrow};

/// What the invariants say of this mistake in the first runs; most runs do not reach every mistake.
fn found(sabotage: Sabotage) -> Vec<Broken> {
    (0..60)
        .map(|seed| {
            let mut scenario = Scenario::new(seed);
            // Slow enough for frames to be held while others come.
            scenario.disk.service = 1_000_000;
            scenario
        })
        .filter_map(|scenario| World::new(scenario, Some(sabotage)).run().err())
        .map(|(_, broken)| broken)
        .collect()
}

/// Checks that this mistake is noticed, and taken for nothing else.
fn notices(sabotage: Sabotage, expected: impl Fn(&Broken) -> bool) {
    let found = found(sabotage);
    assert!(found.len() >= 3, "{sabotage:?}: {found:?}");
    assert!(found.iter().all(expected), "{sabotage:?}: {found:?}");
}

#[test]
fn honest_hosts_break_nothing() {
    for seed in 0..60 {
        let outcome = World::new(Scenario::new(seed), None).run();
        assert!(outcome.is_ok(), "seed {seed}: {outcome:?}");
    }
}

#[test]
fn an_acknowledgement_before_the_sync_is_noticed() {
    notices(Sabotage::AcknowledgeEarly, |broken| {
        matches!(broken, Broken::NotDurable(_))
    });
}

#[test]
fn what_was_never_synced_is_missed_after_a_crash() {
    notices(Sabotage::NeverSync, |broken| {
        matches!(broken, Broken::CommitLost(_))
    });
}

#[test]
fn credit_for_frames_that_are_not_free_is_noticed() {
    notices(Sabotage::ReleaseEarly, |broken| {
        matches!(broken, Broken::NoFrame { .. } | Broken::FrameCount { .. })
    });
}

#[test]
fn a_misplaced_write_is_noticed() {
    notices(Sabotage::WriteElsewhere, |broken| {
        matches!(broken, Broken::WrongBytes { .. })
    });
}

#[test]
fn a_lost_frame_is_noticed() {
    notices(Sabotage::LoseFrame, |broken| {
        matches!(broken, Broken::FrameCount { .. } | Broken::NoFrame { .. })
    });
}

#[test]
fn a_client_that_does_not_listen_makes_the_watchdog_bark() {
    notices(Sabotage::StopListening, |broken| {
        matches!(broken, Broken::NoProgress { .. } | Broken::NoEnd(_))
    });
}

#[test]
fn a_block_that_is_sent_twice_is_noticed() {
    notices(Sabotage::SendTwice, |broken| {
        matches!(broken, Broken::SentTwice { .. })
    });
}

#[test]
fn a_forgotten_session_is_noticed() {
    notices(Sabotage::Forget, |broken| {
        matches!(broken, Broken::ClosedWithoutCause { .. })
    });
}

#[test]
fn amplification_is_noticed() {
    notices(Sabotage::Amplify, |broken| {
        matches!(broken, Broken::Amplified { .. })
    });
}

#[test]
fn a_clean_network_needs_no_retransmission() {
    let mut scenario = Scenario::new(3);
    for party in &mut scenario.parties {
        (party.up, party.down) = (LinkPlan::default(), LinkPlan::default());
        (party.up.delay, party.down.delay) = (50_000, 50_000);
    }
    scenario.actions.clear();
    (scenario.doomed, scenario.narrow) = (None, None);
    let outcome = World::new(scenario, None).run().unwrap();
    let counts = [Count::Retransmitted, Count::Reconnected, Count::TimedOut];
    assert_eq!(counts.map(|count| outcome.tally.get(count)), [0, 0, 0]);
    assert!(outcome.tally.get(Count::Committed) > 0);
}

/// One client that puts a file of so many blocks of 512 bytes over a clean link of 8 MB/s and 1 ms round trip.
fn one_put(blocks: u64) -> Scenario {
    // One that has no odd limits on its side.
    let mut scenario = Scenario::new(1);
    scenario.parties.truncate(1);
    scenario.actions.clear();
    (scenario.doomed, scenario.flood, scenario.disk) = (None, None, DiskPlan::default());
    scenario.narrow = None;
    let party = &mut scenario.parties[0];
    let link = LinkPlan {
        delay: 500_000,
        rate: 8_000_000,
        queue: 1_000_000,
        ..LinkPlan::default()
    };
    (party.up, party.down) = (link.clone(), link);
    party.plan.start = START;
    party.plan.tasks = vec![Task::Put {
        file: 0,
        size: blocks * 512,
        cancel_at: None,
    }];
    party.plan.block_len = 512;
    party.plan.send_frames = 500;
    for config in [&mut party.plan.config, &mut scenario.server.config] {
        *config = Config {
            local: Parameters {
                initial_credit: 200,
                ..Parameters::default()
            },
            ..Config::default()
        };
    }
    scenario.server.receive_frames = 400;
    scenario.server.retry = RetryPolicy::Above(4);
    scenario
}

const fn at(millis: u64) -> Time {
    Time::from_nanos(START.as_nanos() + millis * 1_000_000)
}

/// Runs until that time, or until something was counted so often.
fn run_until(world: &mut World, end: Time, count: Count, times: u64) {
    loop {
        let next = world.step().unwrap().expect("not over yet");
        if next > end || world.network.tally.get(count) >= times {
            break;
        }
        world.now = next.max(world.now + Duration::from_nanos(1));
    }
}

#[test]
fn a_server_that_was_killed_is_noticed_by_the_first_packet_to_the_next() {
    let mut scenario = one_put(5000);
    scenario.actions = vec![
        (at(100), Action::CrashServer),
        (at(150), Action::StartServer),
    ];
    let mut world = World::new(scenario, None);
    run_until(&mut world, at(5_000), Count::Resets, 1);
    let answered = world.now;
    run_until(&mut world, at(5_000), Count::PeerRestarted, 1);
    let noticed = world.now.saturating_since(answered);
    assert!(
        noticed < Duration::from_millis(1),
        "{noticed:?}: that is no longer half a round trip"
    );
    // The put begins again, and comes to its end.
    run_until(&mut world, at(10_000), Count::Committed, 1);
    assert_eq!(world.network.tally.get(Count::Connected), 2);
    assert_eq!(world.network.tally.get(Count::Committed), 1);
}

#[test]
fn a_stalled_disk_stops_the_sender_and_costs_nothing_else() {
    let mut scenario = one_put(30_000);
    scenario.disk.stalls = vec![(at(500), at(5_500))];
    let mut world = World::new(scenario, None);
    let mut delivered = |until| {
        let before = world.network.tally.get(Count::Delivered);
        run_until(&mut world, at(until), Count::Committed, 1);
        world.network.tally.get(Count::Delivered) - before
    };
    delivered(300);
    let usual = delivered(500);
    assert!(usual > 1500, "{usual} blocks in 200 ms on a link of 8 MB/s");
    assert!(delivered(5_500) <= 200, "no more than was granted");
    delivered(5_600);
    let again = delivered(5_800);
    assert!(
        again * 10 > usual * 9,
        "{again} blocks in 200 ms, {usual} before the stall"
    );
    let counts = [Count::TimedOut, Count::TailDropped, Count::Reconnected];
    let counts = counts.map(|count| world.network.tally.get(count));
    assert_eq!(counts, [0, 0, 0]);
}

#[test]
fn a_disk_that_stalls_for_minutes_costs_no_session() {
    let mut scenario = one_put(30_000);
    scenario.disk.stalls = vec![(at(500), at(180_500))];
    let outcome = World::new(scenario, None).run().unwrap();
    assert!(outcome.duration > Duration::from_secs(180));
    let counts = [Count::Undelivered, Count::TimedOut, Count::Reconnected];
    assert_eq!(counts.map(|count| outcome.tally.get(count)), [0, 0, 0]);
    assert_eq!(outcome.tally.get(Count::Committed), 1);
}

#[test]
fn a_path_that_carries_only_pings_ends_the_session_in_bounded_time() {
    // Blocks of 1024 bytes are in IP packets of 1138.
    let narrow = Narrow {
        from: at(500),
        mtu: 1137,
    };
    let mut scenario = one_put(30_000).narrowed(narrow);
    scenario.parties[0].plan.block_len = 1024;
    let outcome = World::new(scenario, None).run().unwrap();
    let counts = [Count::Undelivered, Count::GaveUp, Count::Committed];
    assert_eq!(counts.map(|count| outcome.tally.get(count)), [2, 1, 0]);
    assert_eq!(outcome.tally.get(Count::TimedOut), 0);
    // Two sessions, a pause between them, and what the server remembers of the last.
    let bounds = Duration::from_secs(60)..Duration::from_secs(70);
    assert!(bounds.contains(&outcome.duration), "{:?}", outcome.duration);
}
