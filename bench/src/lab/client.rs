//! blkcp on the client.

use std::ffi::OsStr;
use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::daemon::{end, wait};
use super::hosts::{Host, Hosts, UNPRIVILEGED};
use super::{Directory, binary, unique};

/// No copy in these tests takes longer: a hang is a failure, not a stuck run.
const LIMIT: Duration = Duration::from_secs(300);

/// The summary as JSON, and bytes that move: a file that is there already is copied once more.
const SAME: [&str; 2] = ["--json", "--ignore-times"];

/// How a run of blkcp ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit status; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it printed: the summary, as JSON on the last line.
    pub stdout: String,
    /// Messages.
    pub stderr: String,
    /// From start to end.
    pub time: Duration,
}

impl Outcome {
    /// It succeeded.
    ///
    /// # Panics
    /// With what it said, when it did not.
    #[track_caller]
    pub fn ok(&self) -> &Self {
        assert_eq!(
            self.code,
            Some(0),
            "blkcp failed:\n{}\n{}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// It failed with this exit status and a message that holds all of these words, whatever their case.
    ///
    /// # Panics
    /// With what it said, when it did not.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) -> &Self {
        assert_eq!(
            self.code,
            Some(code),
            "wrong exit status:\n{}\n{}",
            self.stdout,
            self.stderr
        );
        let said = self.stderr.to_lowercase();
        for word in words {
            assert!(
                said.contains(&word.to_lowercase()),
                "no word of `{word}` in:\n{}",
                self.stderr
            );
        }
        assert!(!said.contains("panicked"), "{}", self.stderr);
        self
    }

    /// A number of the summary.
    ///
    /// # Panics
    /// When the summary has no such number.
    #[track_caller]
    pub fn number(&self, field: &str) -> u64 {
        let value = self.field(field);
        value.parse().unwrap_or_else(|_| {
            panic!(
                "{field} is `{value}`, not a whole number, in:\n{}",
                self.stdout
            )
        })
    }

    /// The rate that the summary tells, in bits per second.
    ///
    /// # Panics
    /// When the summary has none.
    #[track_caller]
    pub fn bit_rate(&self) -> f64 {
        let rate: Result<f64, _> = self.field("bytes_per_second").parse();
        8.0 * rate.unwrap_or_else(|_| panic!("no rate in:\n{}", self.stdout))
    }

    /// A value of the summary, without quotes.
    #[track_caller]
    pub fn field(&self, field: &str) -> &str {
        let line = self.stdout.lines().last().unwrap_or_default();
        let value = line
            .split_once(&format!("\"{field}\":"))
            .map(|(_, rest)| rest.trim_start());
        let value = value.unwrap_or_else(|| {
            panic!(
                "no `{field}` in the summary:\n{}\n{}",
                self.stdout, self.stderr
            )
        });
        value
            .split([',', '}'])
            .next()
            .unwrap_or_default()
            .trim()
            .trim_matches('"')
    }
}

/// A run of blkcp that has not ended. Ended when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    started: Instant,
    output: std::path::PathBuf,
}

impl Running {
    /// Starts a command that becomes blkcp.
    pub fn start(command: &mut Command, directory: &Directory) -> Self {
        let output = directory.join(&format!("blkcp-{}", unique()));
        let file = |end: &str| {
            File::create(output.with_extension(end)).expect("cannot make the log of blkcp")
        };
        let child = command
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"))
            .spawn();
        Self {
            child: child.expect("cannot start blkcp"),
            started: Instant::now(),
            output,
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("cannot send a signal to blkcp");
    }

    /// Its process id.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Is it running?
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }

    /// What it has said so far, on standard error.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.output.with_extension("err")).unwrap_or_default()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn outcome(mut self) -> Outcome {
        let status = wait(&mut self.child, LIMIT);
        let time = self.started.elapsed();
        let read = |end: &str| {
            std::fs::read_to_string(self.output.with_extension(end)).unwrap_or_default()
        };
        let (stdout, stderr) = (read("out"), read("err"));
        let status = status.unwrap_or_else(|| panic!("blkcp hangs:\n{stdout}\n{stderr}"));
        Outcome {
            code: status.code(),
            stdout,
            stderr,
            time,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.child, "blkcp");
    }
}

/// Runs blkcp on the client: with these arguments, over AF_XDP in copy mode, with a summary as JSON. It copies whatever the other end
/// has already (`--ignore-times`).
pub fn blkcp<A: AsRef<OsStr>>(hosts: &Hosts, directory: &Directory, arguments: &[A]) -> Outcome {
    start(hosts, directory, arguments).outcome()
}

/// The same, without waiting for its end.
pub fn start<A: AsRef<OsStr>>(hosts: &Hosts, directory: &Directory, arguments: &[A]) -> Running {
    start_on(hosts, Host::Client, directory, arguments)
}

/// The same on any client.
pub fn start_on<A: AsRef<OsStr>>(
    hosts: &Hosts,
    client: Host,
    directory: &Directory,
    arguments: &[A],
) -> Running {
    start_over(hosts, client, "copy", directory, arguments)
}

/// The same over any data path.
pub fn start_over<A: AsRef<OsStr>>(
    hosts: &Hosts,
    client: Host,
    datapath: &str,
    directory: &Directory,
    arguments: &[A],
) -> Running {
    let mut command = hosts.command(client, binary("blkcp"));
    Running::start(
        command
            .args(SAME)
            .args(["--datapath", datapath])
            .args(arguments),
        directory,
    )
}

/// With these arguments and no others, but for the summary as JSON.
pub fn blkcp_plain<A: AsRef<OsStr>>(
    hosts: &Hosts,
    directory: &Directory,
    arguments: &[A],
) -> Outcome {
    let mut command = hosts.command(Host::Client, binary("blkcp"));
    Running::start(command.arg("--json").args(arguments), directory).outcome()
}

/// The same as somebody without any privilege, over the data path that blkcp chooses.
pub fn start_unprivileged<A: AsRef<OsStr>>(
    hosts: &Hosts,
    client: Host,
    directory: &Directory,
    arguments: &[A],
) -> Running {
    start_behind(hosts, client, &UNPRIVILEGED, "auto", directory, arguments)
}

/// The same behind words that become blkcp, such as those that take rights from it, over any data path.
pub fn start_behind<A: AsRef<OsStr>>(
    hosts: &Hosts,
    client: Host,
    words: &[&str],
    datapath: &str,
    directory: &Directory,
    arguments: &[A],
) -> Running {
    let mut command = hosts.command(client, words[0]);
    command.args(&words[1..]).arg(binary("blkcp"));
    let command = command.args(SAME).args(["--datapath", datapath]);
    Running::start(command.args(arguments), directory)
}
