//! fio on the disk below: what it takes and gives without a network.

use anyhow::Result;

use super::{Copy, Direction, Kind, Load, Service, Told, Tool};
use crate::latencies::{FioReport, Latencies};
use crate::scene::{Far, GET, Near, RANDOM};
use crate::work::Work;
use crate::work::random::Job;

/// Past the page cache.
pub struct Disk;

/// Sequential, 1 MiB, past the page cache.
const SEQUENTIAL: [&str; 4] = [
    "--name=disk",
    "--bs=1M",
    "--direct=1",
    "--ioengine=io_uring",
];
/// Reads in flight.
pub const READS: u32 = 10;
/// Writes in flight.
pub const WRITES: u32 = 12;

impl Disk {
    /// Reads the whole file that is got.
    pub fn read(near: &Near) -> Copy {
        let mut command = near.command("fio");
        let file = near.export.join(GET);
        command
            .args(SEQUENTIAL)
            .args(["--rw=read", "--readonly", "--output-format=json"])
            .arg(format!("--iodepth={READS}"))
            .arg(format!("--filename={}", file.display()));
        Copy {
            command,
            told: |output| told(output, Direction::Get),
            leaves_file: false,
        }
    }

    /// Writes a file of the same size, where gets come to. Its blocks are reserved before, as blockd does it: that is
    /// part of the work there, and not of fio's time.
    fn write(near: &Near) -> Copy {
        let mut command = near.command("fio");
        command
            .args(SEQUENTIAL)
            .args(["--rw=write", "--end_fsync=1", "--output-format=json"])
            .arg("--fallocate=native")
            .arg(format!("--iodepth={WRITES}"))
            .arg(format!("--size={}", near.size))
            // No longer there at the end.
            .arg("--unlink=1")
            .arg(format!("--filename={}", near.home.join("disk").display()));
        Copy {
            command,
            told: |output| told(output, Direction::Put),
            leaves_file: false,
        }
    }
}

impl Tool for Disk {
    fn name(&self) -> String {
        "fio (no network, O_DIRECT)".to_owned()
    }

    fn kind(&self) -> Kind {
        Kind::Ceiling
    }

    fn programs(&self) -> &'static [&'static str] {
        &["fio"]
    }

    fn works(&self) -> &'static [Work] {
        &[Work::Put, Work::Get, Work::ColdGet, Work::Random]
    }

    // It measures the disk of the machine that it runs on.
    fn goes_far(&self) -> bool {
        false
    }

    fn server(&self, _: &Far) -> Option<Service> {
        None
    }

    /// Either way the receiving disk is written: the source is in the page cache.
    fn copy(&self, _: Direction, near: &Near) -> Option<Copy> {
        Some(Self::write(near))
    }

    fn random(&self, job: &Job, near: &Near) -> Option<Load> {
        let mut command = near.command("fio");
        command
            .args(job.fio())
            .args(["--ioengine=io_uring", "--direct=1"])
            .arg(format!("--filename={}", near.export.join(RANDOM).display()));
        Some(Load {
            command,
            read: Latencies::of_fio,
        })
    }
}

/// Its own start, which takes longer than that of other tools, is none of the disk's work.
fn told(output: &str, direction: Direction) -> Result<Told> {
    let side = FioReport::read(output)?.side(direction == Direction::Put)?;
    Ok(Told {
        seconds: Some(side.runtime / 1e3),
        bytes: Some(side.io_bytes),
        ..Told::default()
    })
}
