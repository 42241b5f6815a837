//! blkcp and blockd; at random reads and writes, the client library.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use blk_bench::lab::binary;
use serde::Deserialize;

use super::{Copy, Direction, Kind, Load, Ready, Service, Told, Tool};
use crate::inside;
use crate::latencies::Latencies;
use crate::scene::{Far, GET, Near, PUT, RANDOM};
use crate::work::Work;
use crate::work::random::{Access, Job};

/// The protocol's usual port.
pub const PORT: u16 = 7440;

/// Both ends over one data path.
#[derive(Debug, Clone, Copy)]
pub struct Blkcp {
    /// As `--datapath` has it.
    datapath: &'static str,
    /// Whether the kernel cuts messages into datagrams (UDP_SEGMENT).
    segmentation: bool,
}

/// The data path that was taken, as `blkcp --json` and the loads of this program tell it on their last line.
#[derive(Deserialize)]
struct Way {
    datapath: String,
}

/// What of the summary counts here.
#[derive(Deserialize)]
struct Summary {
    zero_copy_bytes: u64,
    copied_bytes: u64,
}

impl Blkcp {
    /// Over this data path.
    pub fn over(datapath: &'static str) -> Self {
        Self {
            datapath,
            segmentation: true,
        }
    }

    /// Over UDP sockets, each packet by a system call of its own.
    pub fn without_segmentation() -> Self {
        Self {
            datapath: "udp",
            segmentation: false,
        }
    }

    fn alone(&self) -> Option<(&'static str, &'static str)> {
        (!self.segmentation).then_some(("BLK_UDP_SEGMENTS", "1"))
    }

    fn can(&self, work: Work) -> Option<()> {
        self.works().contains(&work).then_some(())
    }

    fn command(&self, near: &Near) -> Command {
        let mut command = near.command(binary("blkcp"));
        // Every copy moves its bytes, also onto what an earlier one has left.
        command.args(["--json", "--ignore-times", "--datapath", self.datapath]);
        command.envs(self.alone());
        command
    }
}

/// `HOST:EXPORT/PATH`.
pub fn remote(near: &Near, name: &str) -> String {
    format!("{}:data/{name}", near.host())
}

impl Tool for Blkcp {
    fn name(&self) -> String {
        match self.segmentation {
            true => format!("blkcp {}", self.datapath),
            false => "blkcp udp, no segmentation".to_owned(),
        }
    }

    fn kind(&self) -> Kind {
        Kind::Ours
    }

    fn programs(&self) -> &'static [&'static str] {
        &[]
    }

    fn works(&self) -> &'static [Work] {
        match self.segmentation {
            true => &Work::ALL,
            false => &[Work::Put, Work::Get],
        }
    }

    fn server(&self, far: &Far) -> Option<Service> {
        let mut command = far.place.command(binary("blockd"));
        for interface in &far.interfaces {
            command.args(["--interface", interface]);
        }
        let export = format!("data={}", far.export.display());
        command.args(["--datapath", self.datapath, "--export", &export]);
        command.envs(self.alone());
        Some(Service {
            command,
            port: PORT,
            ready: Ready::Says("blockd: ready"),
        })
    }

    fn copy(&self, direction: Direction, near: &Near) -> Option<Copy> {
        let mut command = self.command(near);
        match direction {
            Direction::Put => command.arg(&near.source).arg(remote(near, PUT)),
            Direction::Get => command.arg(remote(near, GET)).arg(&near.got),
        };
        Some(Copy {
            command,
            told,
            leaves_file: true,
        })
    }

    fn tree(&self, way: Direction, local: &Path, name: &str, near: &Near) -> Option<Command> {
        self.can(Work::Small)?;
        let mut command = self.command(near);
        command.arg("--recursive");
        // What is in the directory goes to one of another name: with a slash, as with rsync.
        match way {
            Direction::Put => command.arg(local.join("")).arg(remote(near, name)),
            Direction::Get => command.arg(remote(near, name) + "/").arg(local),
        };
        Some(command)
    }

    fn datapath(&self, output: &str) -> Option<String> {
        let way: Way = serde_json::from_str(output.lines().last()?).ok()?;
        Some(way.datapath)
    }

    fn syncs(&self) -> bool {
        true
    }

    fn random(&self, job: &Job, near: &Near) -> Option<Load> {
        self.can(Work::Random)?;
        let mut command = near.command(inside::program());
        let write = (job.access == Access::Write).then_some("--write");
        command
            .args(["random-load", "--datapath", self.datapath])
            .args(["--depth", &job.depth.to_string()])
            .args(["--seconds", &job.seconds.to_string()])
            .args(["--size", &job.size.to_string()])
            .args(write)
            .args([&near.server, RANDOM]);
        Some(Load {
            command,
            read: Latencies::of_ours,
        })
    }
}

/// From the line that `--json` prints.
fn told(output: &str) -> Result<Told> {
    let line = output.lines().last().unwrap_or_default();
    let summary: Summary =
        serde_json::from_str(line).with_context(|| format!("not a summary of blkcp: {line}"))?;
    let written = summary.zero_copy_bytes + summary.copied_bytes;
    Ok(Told {
        copies: (written > 0).then(|| summary.copied_bytes as f64 / written as f64),
        ..Told::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_tells_the_copies() {
        let line = r#"{"files":1,"bytes":400,"zero_copy_bytes":300,"copied_bytes":100,"queue":0}"#;
        assert_eq!(told(line).unwrap().copies, Some(0.25));
        let none = r#"{"zero_copy_bytes":0,"copied_bytes":0}"#;
        assert_eq!(told(none).unwrap().copies, None);
        assert!(told("").is_err() && told("{}").is_err());
        let tool = Blkcp::over("auto");
        let line = "a note\n{\"rate\":1.0,\"datapath\":\"af_xdp-copy\"}\n";
        assert_eq!(tool.datapath(line).as_deref(), Some("af_xdp-copy"));
        assert_eq!(tool.datapath("{}"), None);
    }
}
