//! One round: the load, the kill, what is left, and the interrupted puts again.

use std::time::{Duration, Instant};

use blk_bench::lab::client::{Outcome, Running};
use blk_bench::wire::random::Random;
use clap::ValueEnum;
use rustix::process::Signal;

use super::budget::{Budget, received};
use super::scene::Scene;
use super::sources::{Copy, Version};

/// Between two looks at how much has come.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Victim {
    /// The daemon.
    Blockd,
    /// One client or more of those that put.
    Blkcp,
}

/// What a round came to.
#[derive(Debug, Default)]
pub struct Round {
    /// When the kill came.
    pub after: Duration,
    /// Puts that were stored in spite of it, and those that were not.
    pub stored: u32,
    pub interrupted: u32,
    /// Of the interrupted, bytes that were there already when they went on.
    pub resumed: u64,
    /// Bytes that were sent and had not to be, headers included, and what the budget allows.
    pub beyond: u64,
    pub limit: u64,
}

/// Carries one out.
///
/// # Panics
/// When one of the promises is broken.
pub fn round(scene: &mut Scene, victim: Victim, random: &mut Random) -> Round {
    let version = scene.shown.other();
    let before = received(scene);
    let mut budget = Budget::default();
    for copy in &scene.sources.copies {
        budget.first(scene, copy, version);
    }
    let start = Instant::now();
    let mut puts = scene.start_all(version);
    let get = scene.get();
    await_moment(scene, &mut puts, before, random);
    let after = start.elapsed();
    let outcomes: Vec<Outcome> = match victim {
        Victim::Blockd => {
            scene.kill_daemon();
            // At once, so that the clients are told that it was started again, and need not wait to be sure.
            scene.start_daemon();
            puts.into_iter().map(Running::outcome).collect()
        }
        Victim::Blkcp => {
            let victims = 1 + random.below((1 << puts.len()) - 1);
            kill_some(&mut puts, victims);
            puts.into_iter().map(Running::outcome).collect()
        }
    };
    let mut result = Round {
        after,
        ..Round::default()
    };
    let got = get.outcome();
    if victim == Victim::Blkcp {
        got.ok();
        scene.assert_daemon_runs();
    }
    scene.assert_got(got.code == Some(0));
    let again = interrupted(scene, version, &outcomes, &mut budget);
    result.interrupted = again.len() as u32;
    result.stored = outcomes.len() as u32 - result.interrupted;
    go_on(scene, version, &again, &mut result);
    result.beyond = budget.beyond(scene, received(scene) - before);
    result.limit = budget.limit(scene);
    assert!(
        result.beyond <= result.limit,
        "{} bytes were sent again, more than the {} that can have been in flight: {result:?}",
        result.beyond,
        result.limit
    );
    scene.shown = version;
    result
}

/// Waits for the moment of the kill: any time that the load may take, or, every other time, until any part of its bytes has come. On
/// a busy machine most of the time goes by before the first of them, and a kill by the clock interrupts little.
fn await_moment(scene: &Scene, puts: &mut [Running], before: u64, random: &mut Random) {
    let time = Duration::from_micros(random.below(scene.time.as_micros() as u64));
    let bytes = before + random.below(scene.bytes());
    if random.chance(0.5) {
        std::thread::sleep(time);
        return;
    }
    while received(scene) < bytes && puts.iter_mut().any(Running::is_running) {
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Kills the puts whose bits are set; one that has ended already keeps its end.
fn kill_some(puts: &mut [Running], victims: u64) {
    for (number, put) in puts.iter_mut().enumerate() {
        // One that is known to have ended has no process any more.
        if victims >> number & 1 == 1 && put.is_running() {
            put.signal(Signal::KILL);
        }
    }
}

/// Looks at what the puts say and what is there; the numbers of those that have to be run again.
fn interrupted(
    scene: &Scene,
    version: Version,
    outcomes: &[Outcome],
    budget: &mut Budget,
) -> Vec<usize> {
    let mut again = Vec::new();
    for (number, (copy, outcome)) in scene.sources.copies.iter().zip(outcomes).enumerate() {
        if outcome.code == Some(0) {
            scene.assert_shows(copy, version);
            continue;
        }
        // 12: the connection was lost; 3: it was never there; none: it was killed.
        assert!(
            matches!(outcome.code, None | Some(3 | 12)),
            "{} failed with {:?}:\n{}",
            copy.name,
            outcome.code,
            outcome.stderr
        );
        let stored: Vec<&str> = stored(scene, copy, version);
        budget.again(scene, copy, version, |file| stored.contains(&file));
        again.push(number);
    }
    again
}

/// The files of a put that show the new version; every other one shows the old one, whole.
fn stored<'a>(scene: &Scene, copy: &'a Copy, version: Version) -> Vec<&'a str> {
    let mut stored = Vec::new();
    for file in &copy.files {
        if scene.shows(file, version) {
            stored.push(file.as_str());
        } else {
            assert!(
                scene.shows(file, version.other()),
                "{file} shows neither the old file nor the new one"
            );
        }
    }
    stored
}

/// Runs the interrupted puts again, all at once.
fn go_on(scene: &Scene, version: Version, again: &[usize], result: &mut Round) {
    let copies = &scene.sources.copies;
    let running: Vec<(usize, Running)> = again
        .iter()
        .map(|&number| (number, scene.put(&copies[number], version)))
        .collect();
    for (number, put) in running {
        let outcome = put.outcome();
        outcome.ok();
        result.resumed += outcome.number("resumed_bytes");
        scene.assert_shows(&copies[number], version);
    }
}
