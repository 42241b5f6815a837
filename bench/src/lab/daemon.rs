//! blockd on the server.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::hosts::{Host, Hosts, UNPRIVILEGED};
use super::{Directory, binary, unique, within};

/// How long a process that was killed may take to be gone. One that waits for a disk that stands still takes for ever.
const KILLED: Duration = Duration::from_secs(10);

/// How long it runs at a time while it is led to a point: far too short for a large file.
const MOMENT: Duration = Duration::from_millis(2);
/// How long it may take to get there.
const LED: Duration = Duration::from_secs(20);

/// blockd, ready. Ended when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts blockd on the server's interface with one export named `data` and waits until it is ready.
    pub fn start(hosts: &Hosts, export: &Path, directory: &Directory) -> Self {
        Self::start_with(hosts, &[("data", export)], directory)
    }

    /// The same with any exports, each a name and a directory.
    pub fn start_with(hosts: &Hosts, exports: &[(&str, &Path)], directory: &Directory) -> Self {
        let interface = Host::Server.interface();
        Self::spawn_with(hosts, interface, exports, &[], directory).ready()
    }

    /// As [`start`](Self::start), with more options.
    pub fn start_options(
        hosts: &Hosts,
        export: &Path,
        options: &[&OsStr],
        directory: &Directory,
    ) -> Self {
        Self::spawn_options(hosts, export, options, directory).ready()
    }

    /// The same without waiting.
    pub fn spawn_options(
        hosts: &Hosts,
        export: &Path,
        options: &[&OsStr],
        directory: &Directory,
    ) -> Self {
        let (interface, exports) = (Host::Server.interface(), [("data", export)]);
        Self::spawn_with(hosts, interface, &exports, options, directory)
    }

    /// Waits until it is ready.
    fn ready(mut self) -> Self {
        let daemon = &mut self;
        let ready = within(Duration::from_secs(15), || {
            daemon.log().contains("blockd: ready") || !daemon.is_running()
        });
        assert!(
            ready && daemon.log().contains("blockd: ready"),
            "blockd is not ready:\n{}",
            daemon.log()
        );
        self
    }

    /// The same on any interface, without waiting.
    pub fn spawn(hosts: &Hosts, interface: &str, export: &Path, directory: &Directory) -> Self {
        Self::spawn_with(hosts, interface, &[("data", export)], &[], directory)
    }

    fn spawn_with(
        hosts: &Hosts,
        interface: &str,
        exports: &[(&str, &Path)],
        more: &[&OsStr],
        directory: &Directory,
    ) -> Self {
        let mut command = hosts.command(Host::Server, binary("blockd"));
        command.args(["--datapath", "copy"]);
        Self::run(command, interface, exports, more, directory)
    }

    /// As [`start`](Self::start) over any data path.
    pub fn start_over(
        hosts: &Hosts,
        interface: &str,
        datapath: &str,
        export: &Path,
        directory: &Directory,
    ) -> Self {
        Self::start_over_with(hosts, interface, datapath, export, &[], directory)
    }

    /// The same with more options.
    pub fn start_over_with(
        hosts: &Hosts,
        interface: &str,
        datapath: &str,
        export: &Path,
        options: &[&OsStr],
        directory: &Directory,
    ) -> Self {
        let mut command = hosts.command(Host::Server, binary("blockd"));
        command.args(["--datapath", datapath]);
        Self::run(command, interface, &[("data", export)], options, directory).ready()
    }

    /// As [`start_options`](Self::start_options) over any data path.
    pub fn start_over_options(
        hosts: &Hosts,
        datapath: &str,
        export: &Path,
        options: &[&OsStr],
        directory: &Directory,
    ) -> Self {
        Self::spawn_over(hosts, datapath, export, options, directory).ready()
    }

    /// The same without waiting.
    pub fn spawn_over(
        hosts: &Hosts,
        datapath: &str,
        export: &Path,
        options: &[&OsStr],
        directory: &Directory,
    ) -> Self {
        let mut command = hosts.command(Host::Server, binary("blockd"));
        command.args(["--datapath", datapath]);
        let (interface, exports) = (Host::Server.interface(), [("data", export)]);
        Self::run(command, interface, &exports, options, directory)
    }

    /// As [`start`](Self::start) on any host, over any data path, with more options.
    pub fn start_on(
        hosts: &Hosts,
        host: Host,
        datapath: &str,
        options: &[&OsStr],
        export: &Path,
        directory: &Directory,
    ) -> Self {
        let mut command = hosts.command(host, binary("blockd"));
        command.args(["--datapath", datapath]);
        let exports = [("data", export)];
        Self::run(command, host.interface(), &exports, options, directory).ready()
    }

    /// As [`start`](Self::start) without any privilege, over the data path that blockd chooses.
    pub fn start_unprivileged(hosts: &Hosts, export: &Path, directory: &Directory) -> Self {
        Self::start_behind(hosts, &UNPRIVILEGED, "auto", export, directory)
    }

    /// The same behind words that become blockd, such as those that take rights from it, over any data path.
    pub fn start_behind(
        hosts: &Hosts,
        words: &[&str],
        datapath: &str,
        export: &Path,
        directory: &Directory,
    ) -> Self {
        let mut command = hosts.command(Host::Server, words[0]);
        command.args(&words[1..]).arg(binary("blockd"));
        command.args(["--datapath", datapath]);
        let (interface, exports) = (Host::Server.interface(), [("data", export)]);
        Self::run(command, interface, &exports, &[], directory).ready()
    }

    /// Runs a command that becomes blockd.
    fn run(
        mut command: Command,
        interface: &str,
        exports: &[(&str, &Path)],
        more: &[&OsStr],
        directory: &Directory,
    ) -> Self {
        let options = exports.iter().flat_map(|(name, path)| {
            let mut named = OsString::from(format!("{name}="));
            named.push(path);
            [OsString::from("--export"), named]
        });
        let log = directory.join(&format!("blockd-{}.log", unique()));
        let output = File::create(&log).expect("cannot make the log of blockd");
        let child = command
            .args(["--interface", interface])
            .args(options)
            .args(more)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("cannot share the log of blockd"))
            .stderr(output)
            .spawn()
            .expect("cannot start blockd");
        Self { child, log }
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("cannot send a signal to blockd");
    }

    /// Lets it run for moments, and stand still between them, until the answer to the question is yes. It stands still at the
    /// end, so whoever needs it to go on has come as far as the question says, and not much farther. Says whether that
    /// came in time.
    pub fn lead_to(&self, mut question: impl FnMut() -> bool) -> bool {
        within(LED, || {
            self.signal(Signal::CONT);
            std::thread::sleep(MOMENT);
            self.signal(Signal::STOP);
            question()
        })
    }

    /// Its counters by name, summed over its queues.
    ///
    /// # Panics
    /// When it does not tell them within some seconds.
    pub fn statistics(&self) -> BTreeMap<String, u64> {
        sums(&self.tell(" dropped="))
    }

    /// The counters of each queue by name.
    ///
    /// # Panics
    /// When it does not tell them within some seconds.
    pub fn statistics_by_queue(&self) -> BTreeMap<u32, BTreeMap<String, u64>> {
        let mut queues = BTreeMap::new();
        for line in self.tell(" dropped=").lines() {
            if let Some((_, rest)) = line.split_once("statistics of queue ")
                && let Some((queue, counters)) = rest.split_once(": ")
            {
                queues.insert(queue.parse().expect("a queue's number"), sums(counters));
            }
        }
        queues
    }

    /// What it prints when it is asked for its counters; `word` is in it.
    fn tell(&self, word: &str) -> String {
        let before = self.log().len();
        self.signal(Signal::USR1);
        // It prints all of it in one write.
        let told = || self.log()[before..].lines().any(|line| line.contains(word));
        assert!(
            within(Duration::from_secs(5), told),
            "blockd tells no statistics:\n{}",
            self.log()
        );
        self.log()[before..].to_owned()
    }

    /// The CPUs that each of its threads may run on, as the kernel lists them, by the thread's name.
    ///
    /// # Panics
    /// When it is gone.
    pub fn cpus_of_threads(&self) -> BTreeMap<String, String> {
        let tasks = format!("/proc/{}/task", self.child.id());
        let read = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        let threads = std::fs::read_dir(tasks).expect("blockd is gone");
        threads
            .filter_map(Result::ok)
            .filter_map(|thread| {
                let status = read(thread.path().join("status"));
                let value = |name: &str| {
                    let line = status.lines().find_map(|line| line.strip_prefix(name));
                    Some(line?.trim().to_owned())
                };
                Some((value("Name:")?, value("Cpus_allowed_list:")?))
            })
            .collect()
    }

    /// Resident memory in bytes.
    ///
    /// # Panics
    /// When it is gone.
    pub fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).expect("blockd is gone");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
        let kilobytes: u64 = kilobytes
            .and_then(|number| number.trim().parse().ok())
            .expect("the kernel tells the resident memory in kB");
        kilobytes * 1024
    }

    /// Waits for its end.
    pub fn wait(&mut self, time: Duration) -> Option<ExitStatus> {
        wait(&mut self.child, time)
    }

    /// Is it running?
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_none())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- blockd said:\n{}", self.log());
        }
        if self.is_running() {
            self.signal(Signal::TERM);
            if self.wait(Duration::from_secs(3)).is_none() {
                end(&mut self.child, "blockd");
            }
        }
    }
}

/// Counters by name (`NAME=VALUE`), summed.
pub fn sums(text: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for word in text.split_whitespace() {
        if let Some((name, value)) = word.split_once('=')
            && let Ok(value) = value.parse::<u64>()
        {
            *sums.entry(name.to_owned()).or_default() += value;
        }
    }
    sums
}

/// Kills a child process. One that does not go is left behind, and told of: to wait for it would hide why a test failed.
pub fn end(child: &mut Child, name: &str) {
    let _ = child.kill();
    if wait(child, KILLED).is_none() {
        eprintln!("{name} ({}) was killed and is still there", child.id());
    }
}

/// Waits for the end of a child process.
pub fn wait(child: &mut Child, time: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < time {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}
