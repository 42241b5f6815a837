//! A disk in user space: it logs every request, loses power, and breaks as it is told.
//!
//! ```text
//!   blockd ── ext4 or xfs ── /dev/loopN ── FUSE file system of one file ── this process ── memory
//!                                                                             ├─ Log: every write and flush
//!                                                                             └─ Faults: errors, slowness, standstill
//! ```
//!
//! **The model of a disk.** A write is durable from the end of the first flush that began after the write was completed.
//! Until then, each of its sectors may be there or not, whatever came before or after it. The device announces a
//! write cache and no forced unit access, so the kernel asks for durability by flushes only (a write with FUA becomes a
//! write and a flush). Discarded ranges count as written zeros. A sector of
//! 512 bytes is never torn, nor is the first 4 KiB of the disk (the superblock of ext4); below XFS, 4 KiB are not ([`Kind::unit`]).
//!
//! **What is shown by it.** [`Replay`] makes the images that a loss of power at any position of a [`Log`] can leave
//! behind, by that model. Mounted, each goes through the recovery of the file system as after a real loss of power.
//!
//! Nothing between the file system and the log reorders what it has acknowledged, or keeps it back: the image is opened with
//! `FOPEN_DIRECT_IO`, so FUSE has no cache of it; the loop device answers a request when its own request is answered; and
//! where the loop device has several under way, the log has the order in which they were carried out. Requests that wait at the same
//! time are answered flushes first, so no flush covers a write that was still under way when it was asked for.
//!
//! Invariants: memory is bounded by the disk's size and the log's limit; a dropped [`Disk`] leaves no mount, no loop
//! device and no waiting process behind; and when its process is killed, the thread that serves it is the only one with the
//! descriptor of FUSE, so whoever waits for the disk gets errors.

mod abi;
mod blocks;
mod crash;
mod descriptors;
mod disk;
mod faults;
mod log;
mod loopdev;
mod mounts;
mod server;
mod state;

pub use blocks::{BLOCK, Blocks, Image};
pub use crash::{Choice, Crash, Replay};
pub use disk::{Disk, Options};
pub use faults::{Faults, Operation, Rule};
pub use log::{Event, Log};
pub use mounts::{Kind, Mounted, isolated};
pub use state::{Counts, Shared};

use crate::lab::nothing_missing;

/// Whether such disks can be made here. Without them nothing is shown, so that is loud, and in CI it is a failure.
///
/// # Panics
/// In CI, when something is missing.
pub fn ready(test: &str) -> bool {
    let missing = if rustix::process::geteuid().is_root() {
        ["/dev/fuse", "/dev/loop-control"]
            .into_iter()
            .find(|path| std::fs::File::open(path).is_err())
    } else {
        Some("root")
    };
    let missing = missing.map(|what| format!("a disk in user space needs {what}"));
    nothing_missing(test, missing)
}
