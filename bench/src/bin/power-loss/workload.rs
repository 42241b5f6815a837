//! What is recorded: blkcp puts files through blockd, one at a time, in folders, side by side, again, and interrupted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use blk_bench::blockdev::Kind;
use blk_bench::lab::client::{Outcome, Running, start, start_on};
use blk_bench::lab::daemon::Daemon;
use blk_bench::lab::hosts::{Host, Hosts, Link};
use blk_bench::lab::{Directory, files, within};
use blk_bench::powerloss::{Recorded, Recording, Ticket};
use blk_bench::wire::random::Random;

/// The disk: more than all files with their replacements need at a time.
const DISK: u64 = 192 << 20;

/// A file that is put in part, then again. Larger than what makes a put resumable.
const LARGE: u64 = 16 << 20;

/// The rate of the disk when a put is to be hit in the middle, in bytes per second.
const SLOW: u64 = 16 << 20;

/// Clients that copy at once, one on each host.
const BESIDE: u32 = 3;

/// How long processes and the kernel may take to leave.
const PATIENCE: Duration = Duration::from_secs(10);

/// Small files sent together.
const SMALL: u64 = 60;

/// Files of a tree.
const IN_TREE: u64 = 80;

/// blockd on a recorded disk, and files to send.
pub(super) struct Scene {
    pub(super) recording: Recording,
    daemon: Daemon,
    pub(super) hosts: Arc<Hosts>,
    directory: Directory,
    pub(super) random: Random,
    sent: u64,
}

/// Runs the whole workload on a file system of this kind. The seed decides sizes and contents.
pub fn record(kind: Kind, seed: u64) -> Result<Recorded> {
    let directory = Directory::new();
    let recording = Recording::start(&directory.subdirectory("recording"), kind, DISK)?;
    let export = recording.root().join("data");
    std::fs::create_dir(&export).context("cannot make the export")?;
    let hosts = Arc::new(Hosts::with_clients(Link::of(3498), BESIDE));
    let daemon = Daemon::start(&hosts, &export, &directory);
    let mut scene = Scene {
        recording,
        daemon,
        hosts,
        directory,
        random: Random::new(seed),
        sent: 0,
    };
    scene.one_at_a_time()?;
    scene.many_small()?;
    scene.side_by_side()?;
    scene.trees()?;
    scene.in_place()?;
    scene.interrupted()?;
    let Scene {
        recording, daemon, ..
    } = scene;
    drop(daemon);
    recording.end()
}

impl Scene {
    /// A new file to send: its path here, and the promise for its name there.
    fn file(&mut self, name: &str, size: u64) -> Result<(PathBuf, Ticket)> {
        self.sent += 1;
        let source = self.directory.join(&format!("source-{}", self.sent));
        files::write(&source, size, self.random.bits());
        let ticket = self.recording.begin(&format!("data/{name}"), &source)?;
        Ok((source, ticket))
    }

    fn start(&self, source: &Path, name: &str) -> Result<Running> {
        self.start_on(Host::Client, source, name)
    }

    fn start_on(&self, client: Host, source: &Path, name: &str) -> Result<Running> {
        let source = source.to_str().context("a path in plain letters")?;
        let target = format!("10.77.0.1:data/{name}");
        self.free(client)?;
        let arguments = [source, &target];
        Ok(start_on(&self.hosts, client, &self.directory, &arguments))
    }

    /// Waits until nobody uses the interface of a client: the kernel takes the program of a dead process away when it comes to it,
    /// and an interface takes only one.
    pub(super) fn free(&self, client: Host) -> Result<()> {
        let free = within(PATIENCE, || !self.hosts.has_xdp(client));
        ensure!(free, "the XDP program of a blkcp that has ended stays");
        Ok(())
    }

    /// Sends a file and notes that it was acknowledged.
    fn put(&mut self, name: &str, size: u64) -> Result<()> {
        let (source, ticket) = self.file(name, size)?;
        let outcome = self.start(&source, name)?.outcome();
        succeeded(&outcome)?;
        self.recording.acknowledge(&ticket);
        Ok(())
    }

    /// New files of many sizes, then other contents under the same names.
    fn one_at_a_time(&mut self) -> Result<()> {
        for _ in 0..3 {
            for (index, most) in [0, 1, 600, 5_000, 100_000, 1 << 20, 4 << 20, 6 << 20]
                .into_iter()
                .enumerate()
            {
                let size = most / 2 + self.random.below(most / 2 + 1);
                self.put(&format!("file{index}"), size)?;
            }
        }
        Ok(())
    }

    /// A folder of small files, three times with other contents.
    fn many_small(&mut self) -> Result<()> {
        for round in 0..3 {
            let folder = self
                .directory
                .subdirectory(&format!("small-{round}"))
                .join("folder");
            std::fs::create_dir(&folder).context("cannot make a folder")?;
            let mut tickets = Vec::new();
            for index in 0..SMALL {
                let source = folder.join(format!("small{index}"));
                let size = self
                    .random
                    .below(if index % 8 == 0 { 40_000 } else { 6_000 });
                files::write(&source, size, self.random.bits());
                let name = format!("data/folder/small{index}");
                tickets.push(self.recording.begin(&name, &source)?);
            }
            let folder = folder.to_str().context("a path in plain letters")?;
            let arguments = ["-r", folder, "10.77.0.1:data/"];
            succeeded(&start(&self.hosts, &self.directory, &arguments).outcome())?;
            for ticket in &tickets {
                self.recording.acknowledge(ticket);
            }
        }
        Ok(())
    }

    /// Trees of folders by two clients at once: files too small to be sent alone, and a few larger ones among them. Then again, with
    /// other contents for a half of the files, in other sizes: some become small, and some large.
    fn trees(&mut self) -> Result<()> {
        for round in 0..2 {
            let mut running = Vec::new();
            for client in 1..=2 {
                let top = format!("tree{client}");
                let place = self.directory.subdirectory(&format!("trees-{round}"));
                let mut tickets = Vec::new();
                for index in 0..IN_TREE {
                    if round > 0 && self.random.chance(0.5) {
                        continue;
                    }
                    let most = if self.random.below(10) == 0 {
                        90_000
                    } else {
                        4_000
                    };
                    let size = self.random.below(most);
                    let below = format!("{top}/folder{}/deeper{}", index % 3, index % 2);
                    let folder = place.join(&below);
                    std::fs::create_dir_all(&folder).context("cannot make a folder")?;
                    let source = folder.join(format!("file{index}"));
                    files::write(&source, size, self.random.bits());
                    let name = format!("data/{below}/file{index}");
                    tickets.push(self.recording.begin(&name, &source)?);
                }
                let tree = place.join(&top);
                let tree = tree.to_str().context("a path in plain letters")?;
                let host = Host::client(client);
                self.free(host)?;
                let arguments = ["-r", tree, "10.77.0.1:data/"];
                let copy = start_on(&self.hosts, host, &self.directory, &arguments);
                running.push((copy, tickets));
            }
            for (copy, tickets) in running {
                succeeded(&copy.outcome())?;
                for ticket in &tickets {
                    self.recording.acknowledge(ticket);
                }
            }
        }
        Ok(())
    }

    /// Three copies at once, several times.
    fn side_by_side(&mut self) -> Result<()> {
        for _ in 0..3 {
            let mut running = Vec::new();
            for (index, most) in [3 << 20, 300_000, 20_000].into_iter().enumerate() {
                let client = Host::client(index as u32 + 1);
                let name = format!("beside{index}");
                let size = most / 2 + self.random.below(most / 2);
                let (source, ticket) = self.file(&name, size)?;
                running.push((self.start_on(client, &source, &name)?, ticket));
            }
            // The smallest ends first.
            for (copy, ticket) in running.into_iter().rev() {
                succeeded(&copy.outcome())?;
                self.recording.acknowledge(&ticket);
            }
        }
        Ok(())
    }

    /// A large file whose copy ends early three times, by Ctrl-C, by the death of blkcp and by that of blockd, and then does not. Then
    /// another one over it.
    fn interrupted(&mut self) -> Result<()> {
        for _ in 0..2 {
            // A size of its own, by which what is kept of it is known.
            let size = LARGE - self.random.below(LARGE / 8);
            let (source, ticket) = self.file("large", size)?;
            let start = self.recording.position();
            self.slow(Some(SLOW));
            for signal in [Signal::INT, Signal::KILL] {
                let copy = self.start(&source, "large")?;
                std::thread::sleep(self.moment());
                copy.signal(signal);
                let _ = copy.outcome();
            }
            let copy = self.start(&source, "large")?;
            std::thread::sleep(self.moment());
            self.restart_blockd()?;
            let _ = copy.outcome();
            self.slow(None);
            succeeded(&self.start(&source, "large")?.outcome())?;
            self.recording.acknowledge(&ticket);
            self.recording.dwell_on(start);
        }
        Ok(())
    }

    /// Somewhere in a slow copy of the large file.
    fn moment(&mut self) -> Duration {
        Duration::from_millis(300 + self.random.below(500))
    }

    fn slow(&self, rate: Option<u64>) {
        self.recording
            .disk()
            .control()
            .faults(|faults| faults.rate = rate);
    }

    fn restart_blockd(&mut self) -> Result<()> {
        self.daemon.signal(Signal::KILL);
        let dead = self.daemon.wait(PATIENCE);
        ensure!(dead.is_some(), "blockd survived SIGKILL");
        let export = self.recording.root().join("data");
        self.daemon = Daemon::start(&self.hosts, &export, &self.directory);
        Ok(())
    }
}

fn succeeded(outcome: &Outcome) -> Result<()> {
    ensure!(
        outcome.code == Some(0),
        "blkcp failed with {:?}: {}",
        outcome.code,
        outcome.stderr.trim()
    );
    Ok(())
}
