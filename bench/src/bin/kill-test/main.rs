//! `kill-test`: blockd, or blkcp, killed with SIGKILL at random moments under a mixed load, and what is left then.
//! `scripts/kill-test` builds what it needs and cleans up behind it.
//!
//! Three promises are checked in each round:
//!
//! - what blkcp called stored is there, byte for byte;
//! - every name shows the whole old file or the whole new one;
//! - the interrupted puts, run again, succeed, and send again no more than what was in flight (see `budget`).

mod budget;
mod round;
mod scene;
mod sources;
mod tally;

use std::process::ExitCode;

use blk_bench::wire::random::Random;
use clap::{Parser, ValueEnum};

use round::{Victim, round};
use scene::Scene;
use tally::Tally;

/// Kill blockd or blkcp at random moments, and check that nothing acknowledged is lost and nothing torn is shown.
///
/// Needs root and the release binaries of blockd, blkcp and blk-wire beside this one.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Rounds; in each one, one daemon is killed, or one or more of the clients
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    kills: u32,
    /// Whom to kill; both, one after the other, by default
    #[arg(long, value_enum)]
    of: Option<Victim>,
    /// Seed of the moments: the same seed kills after the same delays
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// MiB of the largest file
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(16..=4096))]
    largest: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !rustix::process::geteuid().is_root() {
        eprintln!("kill-test: network namespaces need root");
        return ExitCode::FAILURE;
    }
    let victims = match arguments.of {
        Some(victim) => vec![victim],
        None => Victim::value_variants().to_vec(),
    };
    let mut scene = Scene::new(arguments.largest);
    for victim in victims {
        let mut random = Random::new(arguments.seed);
        let mut tally = Tally::new(victim);
        for number in 1..=arguments.kills {
            let result = round(&mut scene, victim, &mut random);
            tally.add(number, arguments.kills, &result);
        }
        println!("{tally}");
    }
    ExitCode::SUCCESS
}

impl Victim {
    /// Its name.
    fn name(self) -> &'static str {
        match self {
            Self::Blockd => "blockd",
            Self::Blkcp => "blkcp",
        }
    }
}

// What is not as promised is a panic, as everywhere in the lab: it tells what, and removes the lab on its way.
