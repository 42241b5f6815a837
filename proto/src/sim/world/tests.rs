use super::*;
use crate::sim::link::LinkPlan;

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
    scenario.doomed = None;
    let outcome = World::new(scenario, None).run().unwrap();
    let counts = [Count::Retransmitted, Count::Reconnected, Count::TimedOut];
    assert_eq!(counts.map(|count| outcome.tally.get(count)), [0, 0, 0]);
    assert!(outcome.tally.get(Count::Committed) > 0);
}
