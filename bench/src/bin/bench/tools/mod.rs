//! The tools that are compared: each serves a directory on one host and works on it from the other.

mod blast;
mod blkcp;
mod disk;
mod http;
mod iperf;
mod nbd;
mod rclone;
mod rsync;
mod scp;
mod server;

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde::Serialize;

use super::latencies::Latencies;
use super::scene::{Far, Near};
use super::work::Work;
use super::work::random::Job;

pub use blkcp::remote;
pub use disk::{Disk, READS, WRITES};
pub use server::{Ready, Server, Service};

/// Which way the file goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the client to the server.
    Put,
    /// From the server to the client.
    Get,
}

impl Direction {
    /// As people call it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
        }
    }
}

/// What a figure is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// blkcp.
    Ours,
    /// Another tool for the same work.
    Peer,
    /// Less work: what the network or the disk alone gives.
    Ceiling,
}

/// A copy of one file.
pub struct Copy {
    /// What does it.
    pub command: Command,
    /// What its standard output tells.
    pub told: fn(&str) -> Result<Told>,
    /// Whether there is a file afterwards that is a copy.
    pub leaves_file: bool,
}

impl Copy {
    /// By a tool that tells nothing.
    pub fn silent(command: Command) -> Self {
        Self {
            command,
            told: |_| Ok(Told::default()),
            leaves_file: true,
        }
    }
}

/// What a tool says of its own work.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Told {
    /// How long it took, where its start and end are none of the work.
    pub seconds: Option<f64>,
    /// How much it was, when not the whole file.
    pub bytes: Option<u64>,
    /// How often a byte was copied in user space.
    pub copies: Option<f64>,
}

/// Random reads or writes for some seconds.
pub struct Load {
    /// What does it.
    pub command: Command,
    /// Reads what it prints.
    pub read: fn(&str) -> Result<Latencies>,
}

/// A tool.
pub trait Tool: Send {
    /// Its name, with what it was told.
    fn name(&self) -> String;
    /// What it is compared with.
    fn kind(&self) -> Kind {
        Kind::Peer
    }
    /// The programs that it is made of.
    fn programs(&self) -> &'static [&'static str];
    /// What it can be measured at.
    fn works(&self) -> &'static [Work];
    /// What serves; `None`: nothing has to. Tools with the same port have the same server.
    fn server(&self, far: &Far) -> Option<Service>;
    /// Whether the target of a put has to be there, in its size.
    fn wants_target(&self) -> bool {
        false
    }
    /// Whether it works between two machines without more preparations.
    fn goes_far(&self) -> bool {
        true
    }
    /// In how many runs it takes part at most.
    fn most_runs(&self) -> u32 {
        u32::MAX
    }
    /// Copies the file.
    fn copy(&self, _: Direction, _: &Near) -> Option<Copy> {
        None
    }
    /// Copies a directory with all below it: from a local directory to a name below the server's directory, or the
    /// reverse.
    fn tree(&self, _: Direction, _local: &Path, _remote: &str, _: &Near) -> Option<Command> {
        None
    }
    /// The data path that was taken, from what a copy, a tree's copy or a load prints, where it tells.
    fn datapath(&self, _output: &str) -> Option<String> {
        None
    }
    /// Whether a tree is durable when the command ends.
    fn syncs(&self) -> bool {
        false
    }
    /// Reads or writes at random.
    fn random(&self, _: &Job, _: &Near) -> Option<Load> {
        None
    }
}

/// All of them.
pub fn all() -> Vec<Box<dyn Tool>> {
    vec![
        // UDP sockets, as the lab's veth has no zero-copy.
        Box::new(blkcp::Blkcp::over("auto")),
        Box::new(blkcp::Blkcp::over("copy")),
        Box::new(blkcp::Blkcp::without_segmentation()),
        Box::new(nbd::Copies::hot(1)),
        Box::new(nbd::Copies::hot(4)),
        Box::new(nbd::Copies::cold(1)),
        Box::new(nbd::Copies::cold(4)),
        Box::new(nbd::Blocks),
        Box::new(http::Http),
        Box::new(rsync::Rsync),
        Box::new(rclone::Rclone),
        Box::new(scp::Scp),
        Box::new(iperf::Iperf),
        Box::new(Disk),
        Box::new(blast::Blast),
    ]
}

/// The tools that are asked for by their names or the beginnings of them, and are installed.
pub fn chosen(names: &[String]) -> Vec<Box<dyn Tool>> {
    let mut tools = all();
    tools.retain(|tool| is_wanted(&tool.name(), names));
    tools.retain(|tool| {
        let programs = tool.programs().iter();
        let missing = programs.copied().find(|program| !is_installed(program));
        if let Some(program) = missing {
            let name = tool.name();
            eprintln!("bench: SKIPPED: {name}: {program} is not installed");
        }
        missing.is_none()
    });
    tools
}

fn is_wanted(name: &str, names: &[String]) -> bool {
    names.is_empty() || names.iter().any(|wanted| name.starts_with(wanted.as_str()))
}

/// Whether a program can be started.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([Path::new("/usr/sbin").to_owned()])
        .any(|directory| directory.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_tool_has_a_name_of_its_own_programs_and_work() {
        let tools = all();
        let names: BTreeSet<_> = tools.iter().map(|tool| tool.name()).collect();
        assert_eq!(names.len(), tools.len());
        for known in [
            "blkcp auto",
            "blkcp copy",
            "nbdkit",
            "nginx",
            "rsync",
            "rclone",
            "scp",
            "iperf3",
            "fio",
            "AF_XDP",
        ] {
            let starts = |name: &String| name.starts_with(known);
            assert!(names.iter().any(starts), "{known} is not among {names:?}");
        }
        for tool in &tools {
            assert!(!tool.works().is_empty(), "{}", tool.name());
            let needs_others = tool.kind() == Kind::Peer;
            assert!(
                !needs_others || !tool.programs().is_empty(),
                "{}",
                tool.name()
            );
        }
    }

    #[test]
    fn every_work_has_a_tool_of_ours_and_those_that_are_compared_a_peer() {
        let tools = all();
        let has = |work, kind| {
            let mut able = tools.iter().filter(|tool| tool.works().contains(&work));
            able.any(|tool| tool.kind() == kind)
        };
        for work in Work::ALL {
            assert!(has(work, Kind::Ours), "{work:?}");
            let alone = matches!(work, Work::Clients | Work::Idle);
            assert_eq!(has(work, Kind::Peer), !alone, "{work:?}");
        }
    }

    #[test]
    fn tools_do_what_they_say() {
        let near = crate::scene::tests::near();
        for tool in all() {
            let works = tool.works();
            for (work, direction) in [(Work::Put, Direction::Put), (Work::Get, Direction::Get)] {
                let copies = tool.copy(direction, &near).is_some();
                // The copy of one that is for cold files only is asked for the same.
                let says = works.contains(&work)
                    || (works.contains(&Work::ColdGet) && direction == Direction::Get);
                assert!(!says || copies, "{} {work:?}", tool.name());
            }
            let job = Job::ALL[0];
            assert_eq!(
                tool.random(&job.lasting(1, 1 << 20), &near).is_some(),
                works.contains(&Work::Random),
                "{}",
                tool.name()
            );
            assert_eq!(
                tool.tree(Direction::Put, Path::new("/a"), "b", &near)
                    .is_some(),
                works.contains(&Work::Small),
                "{}",
                tool.name()
            );
        }
    }

    #[test]
    fn names_and_their_beginnings() {
        let names = ["nbdkit".to_owned(), "blkcp auto".to_owned()];
        assert!(is_wanted("nbdkit + fio", &names) && is_wanted("blkcp auto", &names));
        assert!(!is_wanted("blkcp copy", &names) && is_wanted("anything", &[]));
    }
}
