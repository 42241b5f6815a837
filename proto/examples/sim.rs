//! Runs many seeds of the simulator, or replays one. `scripts/sim` builds and calls it.
//!
//! ```text
//! sim --seeds 10000 [--from 0] [--jobs 2]     runs them, prints what was exercised; status 1 if one failed
//! sim --seed 17 [--trace 1]                              runs one, prints its scenario and what happened in it
//! ```

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use blk_proto::sim::{self, Failure, Scenario, Summary, Trace};

/// Failures after which it is pointless to go on.
const MAX_FAILURES: u64 = 10;
/// How often to say how far it is.
const PROGRESS: Duration = Duration::from_secs(10);
/// From so many seeds on, every kind of fault must have happened.
const ENOUGH: u64 = 5000;

struct Arguments {
    seed: Option<u64>,
    trace: bool,
    from: u64,
    seeds: u64,
    jobs: usize,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments {
        seed: None,
        trace: false,
        from: 0,
        seeds: 1000,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        let value = given
            .next()
            .ok_or_else(|| format!("{name} needs a value"))?;
        let number: u64 = value
            .parse()
            .map_err(|_| format!("{name} {value}: not a number"))?;
        match name.as_str() {
            "--seed" => arguments.seed = Some(number),
            "--trace" => arguments.trace = number != 0,
            "--from" => arguments.from = number,
            "--seeds" => arguments.seeds = number,
            "--jobs" => arguments.jobs = number.clamp(1, 1024) as usize,
            _ => return Err(format!("unknown option {name}")),
        }
    }
    Ok(arguments)
}

fn replay(seed: u64, is_traced: bool) -> bool {
    println!("{}", Scenario::new(seed));
    let trace = match is_traced {
        true => Trace::to(|line| println!("{line}")),
        false => Trace::default(),
    };
    match sim::run_with(seed, None, trace) {
        Ok(outcome) => {
            println!("{}", outcome.tally);
            println!(
                "{:?} of virtual time, {} steps",
                outcome.duration, outcome.steps
            );
            true
        }
        Err(failure) => {
            println!("{failure}");
            false
        }
    }
}

fn run(arguments: &Arguments) -> bool {
    let started = Instant::now();
    let last = Mutex::new(started);
    let watch = |summary: &Summary, failure: Option<&Failure>| {
        if let Some(failure) = failure {
            println!("{failure}\n");
        }
        if let Ok(mut last) = last.lock()
            && last.elapsed() > PROGRESS
        {
            *last = Instant::now();
            let done = summary.passed + summary.failed;
            let rate = done as f64 / started.elapsed().as_secs_f64();
            eprintln!(
                "{done} of {} seeds, {} failed, {rate:.0} a second",
                arguments.seeds, summary.failed
            );
        }
        summary.failed < MAX_FAILURES
    };
    let seeds = arguments.from..arguments.from.saturating_add(arguments.seeds);
    let summary = sim::run_many(seeds, arguments.jobs, watch);
    report(&summary, started.elapsed(), arguments)
}

fn report(summary: &Summary, took: Duration, arguments: &Arguments) -> bool {
    let runs = summary.passed + summary.failed;
    println!("{}", summary.tally);
    println!(
        "{} passed, {} failed, from seed {} on, in {:.1} s with {} jobs: {:.2} ms a seed on one core",
        summary.passed,
        summary.failed,
        arguments.from,
        took.as_secs_f64(),
        arguments.jobs,
        took.as_secs_f64() * 1e3 * arguments.jobs as f64 / runs.max(1) as f64,
    );
    println!(
        "{:.0} s of virtual time, {} steps; slowest: seed {}, {:?}",
        summary.simulated.as_secs_f64(),
        summary.steps,
        summary.slowest.0,
        summary.slowest.1
    );
    let mut complete = true;
    if runs >= ENOUGH {
        for count in summary.tally.missing() {
            println!("never happened: {}", count.words());
            complete = false;
        }
    }
    complete && summary.failed == 0 && runs > 0
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let good = match arguments.seed {
        Some(seed) => replay(seed, arguments.trace),
        None => run(&arguments),
    };
    ExitCode::from(u8::from(!good))
}
