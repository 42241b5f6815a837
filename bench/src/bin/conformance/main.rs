//! `conformance`: trees as blkcp copies them beside trees as rsync copies them. `scripts/conformance` builds what it needs and
//! cleans up behind it.
//!
//! For each seed a tree is generated, copied by `rsync -a` here, and by `blkcp -a` to a blockd and back, all over a network
//! of the lab. Then the tree changes, and is copied again with `--delete`. After each copy `rsync -nac --delete` must find
//! nothing to do between what rsync made and what blkcp made, nor stat(2) a difference.

mod changes;
mod compare;
mod names;
mod round;
mod tree;

use std::process::ExitCode;

use clap::Parser;

use round::Scene;

/// Copy generated trees with blkcp and with rsync, and compare.
///
/// Needs root, rsync, and the release binaries of blockd and blkcp beside this one.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Trees
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    trees: u64,
    /// Seed of the first tree; the next ones have the next numbers
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// GiB of the sparse file in the first tree; 0: none
    #[arg(long, value_name = "GIB", default_value_t = 4, value_parser = clap::value_parser!(u64).range(0..=64))]
    sparse: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !rustix::process::geteuid().is_root() {
        eprintln!("conformance: network namespaces need root");
        return ExitCode::FAILURE;
    }
    let scene = Scene::new();
    let mut items = 0;
    for number in 0..arguments.trees {
        let seed = arguments.seed + number;
        let sparse = if number == 0 { arguments.sparse } else { 0 };
        items += scene.round(seed, sparse);
        if (number + 1) % 25 == 0 {
            eprintln!(
                "conformance: {} of {} trees, {items} items, no difference",
                number + 1,
                arguments.trees
            );
        }
    }
    let unchanged = scene.unchanged();
    assert!(
        arguments.trees < 10 || unchanged > 0,
        "no file was ever left as unchanged"
    );
    println!(
        "{} trees with {items} items, {unchanged} files left as unchanged (seeds {} to {}): no difference to rsync",
        arguments.trees,
        arguments.seed,
        arguments.seed + arguments.trees - 1
    );
    ExitCode::SUCCESS
}

// A difference is a panic, as everywhere in the lab: it tells what differs, and removes the lab on its way.
