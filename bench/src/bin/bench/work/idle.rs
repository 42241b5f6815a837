//! A blockd that has nothing to do, and how soon it answers then.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::Bench;
use crate::cpu::Watch;
use crate::inside::{self, FirstBytes};
use crate::measure::{self, Source};
use crate::options::Amounts;
use crate::order;
use crate::process::cpu_seconds;
use crate::running::Running;
use crate::sample::{Measure, Sample};
use crate::scene::{GET, Scene};
use crate::table::{Column, column};
use crate::tools::{Direction, Kind, Server, Tool};

pub const COLUMNS: &[Column] = &[
    column::median("idle CPU %", Measure::IdleCpuPercent, 2),
    column::median("a client there, CPU %", Measure::ConnectedIdleCpuPercent, 2),
    column::median("first read p50 us", Measure::FirstReadP50Microseconds, 0),
    column::max("max us", Measure::FirstReadMaxMicroseconds, 0),
    column::median(
        "connect, open, read p50 us",
        Measure::ConnectP50Microseconds,
        0,
    ),
    column::max("max us", Measure::ConnectMaxMicroseconds, 0),
    column::datapath(),
];

pub fn note(amounts: &Amounts) -> String {
    format!(
        "CPU time of blockd (of one CPU) over {} s after a get of {} MiB: with nobody connected, and with a connection that does nothing. First \
         read: {} reads of 4 KiB from the page cache on an open file, each after {} s in which nothing was asked, then as many new \
         connections from nothing to the first 4 KiB, each with a pause before it. {} run(s).",
        amounts.idle,
        amounts.size >> 20,
        amounts.first_reads,
        amounts.pause,
        amounts.runs
    )
}

pub fn run(bench: &mut Bench<'_>) {
    let (all, amounts) = (bench.tools.iter().copied(), bench.amounts);
    let ours: Vec<&dyn Tool> = all.filter(|tool| tool.kind() == Kind::Ours).collect();
    bench.expect("", &ours);
    for run in 1..=amounts.runs {
        for tool in order::of(&ours, run) {
            bench.measure("", tool, run, |scene| one(tool, scene, amounts));
        }
    }
}

fn one(tool: &dyn Tool, scene: &Scene, amounts: &Amounts) -> Sample {
    let serving = scene.serve(tool);
    let server = serving.process();
    measure::prepare(tool, Direction::Get, Source::Hot, scene);
    let copy = tool.copy(Direction::Get, &scene.near);
    let mut command = copy.expect("blkcp copies").command;
    let status = command.stdout(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "{command:?}");
    // What follows a copy is none of the idling.
    std::thread::sleep(Duration::from_secs(2));
    let watch = Watch::at_once(scene);
    let idle = share_of_cpu(server, Duration::from_secs(amounts.idle.into()));
    let connected = connected(tool, scene, server, amounts);
    let (first, said) = first_bytes(tool, scene, amounts)
        .unwrap_or_else(|error| panic!("first reads, {}: {error:#}", tool.name()));
    let mut sample = Sample::from([
        (Measure::IdleCpuPercent, idle),
        (Measure::ConnectedIdleCpuPercent, connected),
        (Measure::FirstReadP50Microseconds, first.read_p50),
        (Measure::FirstReadMaxMicroseconds, first.read_max),
        (Measure::ConnectP50Microseconds, first.connect_p50),
        (Measure::ConnectMaxMicroseconds, first.connect_max),
    ]);
    sample.extend(watch.stop().load());
    sample.over(tool.datapath(&said))
}

/// Percent of one CPU.
fn share_of_cpu(server: &Server, time: Duration) -> f64 {
    let (before, started) = (cpu_seconds(server.id()), Instant::now());
    std::thread::sleep(time);
    100.0 * (cpu_seconds(server.id()) - before) / started.elapsed().as_secs_f64()
}

fn program(tool: &dyn Tool, scene: &Scene, reads: u32, pause: u32) -> std::process::Command {
    let name = tool.name();
    let datapath = name.rsplit(' ').next().unwrap_or("auto");
    let mut command = scene.near.command(inside::program());
    command
        .args(["first-bytes", "--datapath", datapath])
        .args(["--rounds", &reads.to_string()])
        .args(["--pause", &pause.to_string()])
        .args([&scene.near.server, GET])
        .stdin(Stdio::null());
    command
}

/// The share of blockd while a client is connected that reads once, and then not for a long time.
fn connected(tool: &dyn Tool, scene: &Scene, server: &Server, amounts: &Amounts) -> f64 {
    let mut command = program(tool, scene, 1, amounts.idle + 5);
    let mut client = Running::start(command.stdout(Stdio::null()));
    std::thread::sleep(Duration::from_secs(2));
    let share = share_of_cpu(server, Duration::from_secs(amounts.idle.into()));
    assert!(
        client.is_running(),
        "the client that shall do nothing has ended"
    );
    share
}

fn first_bytes(tool: &dyn Tool, scene: &Scene, amounts: &Amounts) -> Result<(FirstBytes, String)> {
    let mut command = program(tool, scene, amounts.first_reads, amounts.pause);
    let output = command.stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let first = serde_json::from_str(&text)
        .with_context(|| format!("not what first-bytes prints: {text}"))?;
    Ok((first, text))
}
