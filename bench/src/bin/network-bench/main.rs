//! `network-bench`: how blkcp and blockd fare on networks that lose, reorder, delay and are shared, as ratios within one
//! run. `scripts/network-bench` builds what it needs and cleans up behind it.

mod bystanders;
mod capacity;
mod garbage;
mod incast;
mod link;
mod long;
mod row;
mod scene;
mod shared;
mod stall;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use row::Row;

/// Measure blkcp and blockd in network namespaces on impaired links, and compare with the goals.
///
/// Each figure is a ratio of two measurements of the same run, and the median of several runs. Needs root and the
/// release binaries of blockd, blkcp and blk-wire beside this one.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// What to measure; everything by default
    #[arg(value_enum)]
    what: Vec<What>,
    /// Runs of each measurement
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Print one line of JSON for each figure instead of the table
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Frames per second that the relay carries
    Capacity,
    /// Random loss and reordering at 1 ms
    Impaired,
    /// 1 Gb/s at 100 ms
    Long,
    /// Two blkcp at once
    Pair,
    /// blkcp beside TCP CUBIC
    Tcp,
    /// 32 clients at once
    Incast,
    /// A disk that stands still for five seconds
    Stall,
    /// A million packets of garbage beside copies
    Garbage,
    /// TCP of other programs beside copies that start, stop and die
    Bystanders,
}

impl What {
    fn measure(self, runs: u32) -> Vec<Row> {
        match self {
            Self::Capacity => capacity::measure(runs),
            Self::Impaired => link::measure(runs),
            Self::Long => long::measure(runs),
            Self::Pair => shared::pair(runs),
            Self::Tcp => shared::tcp(runs),
            Self::Incast => incast::measure(runs),
            Self::Stall => stall::measure(runs),
            Self::Garbage => garbage::measure(runs),
            Self::Bystanders => bystanders::measure(runs),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !rustix::process::geteuid().is_root() {
        eprintln!("network-bench: network namespaces need root");
        return ExitCode::FAILURE;
    }
    let chosen = if arguments.what.is_empty() {
        What::value_variants().to_vec()
    } else {
        arguments.what.clone()
    };
    if !arguments.json {
        println!("{}", row::HEADING);
    }
    let mut missed = 0;
    for what in chosen {
        for row in what.measure(arguments.runs) {
            if arguments.json {
                println!("{}", row.json());
            } else {
                println!("{row}");
            }
            missed += u32::from(!row.is_met());
        }
    }
    eprintln!("network-bench: {missed} goals missed");
    ExitCode::SUCCESS
}
