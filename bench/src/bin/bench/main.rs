//! `bench`: blkcp beside the tools that people use today, on one machine, in one run, by turns. `scripts/bench` builds
//! and installs what it needs and cleans up behind it.
//!
//! ```text
//!   for each MTU: two hosts in network namespaces, one file in the page cache
//!     for each run: for each tool: start its server ─ put (durable) ─ compare ─ get (durable) ─ compare ─ stop
//!       wall time from the start of the client to the end of the last fsync; CPU time of the whole machine
//! ```

mod chart;
mod figures;
mod measure;
mod scene;
mod table;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use figures::Figure;
use scene::Scene;
use tools::Tool;

/// Measure puts and gets of one large file with blkcp and with other tools, by turns, durable at the receiving end.
///
/// Needs root, the release binaries of blockd and blkcp beside this one, and the other tools; one that is not installed is
/// named and left out.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// MTUs of the lab, one after the other
    #[arg(long, value_name = "BYTES", value_delimiter = ',', default_values_t = [1500, 9000, 65535])]
    mtu: Vec<u32>,
    /// Size of the file in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(1..))]
    size: u64,
    /// Runs of each kind
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Tools to measure, by their names or the beginnings of them; all by default
    #[arg(value_name = "TOOL")]
    tools: Vec<String>,
    /// Write all samples to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the medians into this file, as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !rustix::process::geteuid().is_root() {
        eprintln!("bench: network namespaces need root");
        return ExitCode::FAILURE;
    }
    let tools = chosen(&arguments.tools);
    if tools.is_empty() {
        eprintln!("bench: no such tool, or none is installed");
        return ExitCode::from(2);
    }
    let mut figures = Vec::new();
    for mtu in &arguments.mtu {
        figures.extend(at_mtu(*mtu, &arguments, &tools));
    }
    print!("{}", table::markdown(&figures));
    for (path, content) in [
        (&arguments.json, figures::json(&figures)),
        (&arguments.svg, chart::svg(&figures)),
    ] {
        if let Some(path) = path
            && let Err(error) = std::fs::write(path, content)
        {
            eprintln!("bench: cannot write {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// The tools that are asked for and are installed.
fn chosen(names: &[String]) -> Vec<Box<dyn Tool>> {
    let wanted = |tool: &dyn Tool| {
        names.is_empty()
            || names
                .iter()
                .any(|name| tool.name().starts_with(name.as_str()))
    };
    let mut tools = tools::all();
    tools.retain(|tool| wanted(tool.as_ref()));
    tools.retain(|tool| {
        let missing = tool
            .programs()
            .iter()
            .find(|program| !tools::is_installed(program));
        if let Some(program) = missing {
            eprintln!(
                "bench: SKIPPED: {}: {program} is not installed",
                tool.name()
            );
        }
        missing.is_none()
    });
    tools
}

fn at_mtu(mtu: u32, arguments: &Arguments, tools: &[Box<dyn Tool>]) -> Vec<Figure> {
    let scene = Scene::new(mtu, arguments.size << 20);
    let mut figures: Vec<Figure> = tools
        .iter()
        .flat_map(|tool| {
            let directions = tool.directions().iter();
            directions.map(|direction| Figure::new(tool.as_ref(), mtu, *direction))
        })
        .collect();
    for run in 1..=arguments.runs {
        for tool in tools {
            for direction in tool.directions() {
                let (name, word) = (tool.name(), direction.word());
                eprintln!(
                    "bench: MTU {mtu}, {name} {word}, run {run} of {}",
                    arguments.runs
                );
                let sample = measure::one(tool.as_ref(), *direction, &scene);
                let figure = figures
                    .iter_mut()
                    .find(|figure| figure.tool == name && figure.direction == *direction);
                if let Some(figure) = figure {
                    figure.samples.push(sample);
                }
            }
        }
    }
    figures
}
