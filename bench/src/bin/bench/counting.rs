//! System calls of client and server, and what blockd counts, in a run of their own: to count costs time.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::measure::{self, Source};
use super::running::Running;
use super::sample::{Measure, Sample};
use super::scene::{ENDS_WITH_US, Scene};
use super::tools::{Direction, Tool, is_installed};

/// Bytes of a whole block in a frame.
const BLOCK: u64 = 3584;
const EVENT: &str = "raw_syscalls:sys_enter";

/// Counts those of one copy with perf; `None`, and a word about it, where that cannot be done.
pub fn system_calls(tool: &dyn Tool, direction: Direction, scene: &Scene) -> Option<Sample> {
    // The server's process has to be on this machine.
    scene.far.as_ref()?;
    if let Some(why) = obstacle() {
        eprintln!("bench: SKIPPED: system calls: {why}");
        return None;
    }
    measure::prepare(tool, direction, Source::Hot, scene);
    let serving = scene.serve(tool);
    let server = serving.process();
    let [ours, theirs] =
        ["client", "server"].map(|end| scene.directory.join(&format!("{end}.perf")));
    let client = tool.copy(direction, &scene.near)?.command;
    let mut watcher = watch(server.id(), &theirs);
    // It says nothing when it has begun.
    std::thread::sleep(Duration::from_millis(500));
    let mut counted = perf(&ours);
    counted
        .arg("--")
        .arg(client.get_program())
        .args(client.get_args());
    let status = counted.stdout(Stdio::null()).stdin(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "{counted:?}");
    assert!(watcher.end(Signal::INT).is_some(), "perf does not end");
    let counters = server.counters();
    drop(serving);
    measure::compare(direction, scene);
    let read = |path: &Path| count(&std::fs::read_to_string(path).unwrap_or_default());
    let (ours, theirs) = (read(&ours)?, read(&theirs)?);
    let gigabytes = scene.near.size as f64 / 1e9;
    let rate = (ours + theirs) as f64 / gigabytes;
    Some(Sample::from([
        (Measure::SyscallsPerGigabyte, rate),
        (
            Measure::BlockdMovesPerByte,
            moves(&counters, scene.near.size),
        ),
    ]))
}

/// How often blockd copied a byte within memory because a packet did not come, or could not go, as expected: at most, since
/// not all blocks are whole.
fn moves(counters: &BTreeMap<String, u64>, size: u64) -> f64 {
    let names = ["blocks_moved", "blocks_shifted", "udp_copied"];
    let blocks: u64 = names.iter().filter_map(|name| counters.get(*name)).sum();
    (blocks * BLOCK) as f64 / size as f64
}

fn obstacle() -> Option<String> {
    if !is_installed("perf") {
        return Some("perf is not installed".to_owned());
    }
    let mut trial = Command::new("perf");
    let trial = trial.args(["stat", "-e", EVENT, "true"]).output();
    match trial {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(format!(
            "perf cannot count {EVENT}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Some(format!("perf: {error}")),
    }
}

fn perf(report: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(ENDS_WITH_US)
        .args(["perf", "stat", "-x", ",", "-e", EVENT, "-o"])
        .arg(report);
    command
}

/// Counts those of a running process until it is interrupted.
fn watch(process: u32, report: &Path) -> Running {
    let mut command = perf(report);
    command
        .args(["-p", &process.to_string()])
        .stdout(Stdio::null());
    Running::start(&mut command)
}

/// The number in what `perf stat -x ,` writes: `COUNT,UNIT,EVENT,...`.
fn count(report: &str) -> Option<u64> {
    let line = report.lines().find(|line| line.contains(EVENT))?;
    line.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use blk_bench::lab::daemon;

    use super::*;

    #[test]
    fn moved_blocks_are_bytes() {
        let counters = daemon::sums("blocks_moved=3 blocks_shifted=1 other=9 blocks_moved=1");
        let size = 10 * BLOCK;
        assert!((moves(&counters, size) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn reports_of_perf() {
        let report = "# started on Sun Nov 22\n\n51234,,raw_syscalls:sys_enter,1000,100.00,,\n";
        assert_eq!(count(report), Some(51_234));
        assert_eq!(
            count("<not counted>,,raw_syscalls:sys_enter,0,100.00,,"),
            None
        );
        assert_eq!(count(""), None);
    }
}
