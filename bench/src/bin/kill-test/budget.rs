//! How many bytes a round may send.
//!
//! A put that goes on sends again what the journal of the dead one does not have. That is, at most:
//!
//! - *what was promised and not written*: a block takes a frame of the receiver from the moment it is sent, by the credit
//!   that the receiver gave for it, until its write is over. So never more than all frames of the server's worker
//!   ([`RECEIVE_FRAMES`]) of the largest block, for all puts together;
//! - *cells that are written in part*: the journal knows a cell of 860,160 bytes only when it is whole. Cells are
//!   filled in order, and a loss leaves open the one it is in; [`OPEN_CELLS`] for each file is generous.
//!
//! A file that is stored already, and one too small to be resumed, is sent whole again when its `blkcp -r` is run again.

use blk_bench::lab::hosts::Host;

use super::scene::Scene;
use super::sources::{Copy, RESUME_MIN, Version};

/// Frames for received blocks of one worker (`WorkerConfig` of blk-datapath).
const RECEIVE_FRAMES: u64 = 10 * 1024;

/// Payload of a packet at the lab's MTU, at most.
const PAYLOAD: u64 = 3072;

/// Bytes of a cell of the journal (`blk_proto::geometry::GRID`).
const CELL: u64 = 860_160;

/// Cells of a file that may be written in part.
const OPEN_CELLS: u64 = 4;

/// What differs between two rounds besides: losses, probes, acknowledgements of what is got.
const AROUND: u64 = 8 << 20;

/// What a round may send, and what it has sent.
#[derive(Debug, Default, Clone, Copy)]
pub struct Budget {
    /// Bytes that must go over the wire in any case, or may again because nothing of them is kept.
    needed: u64,
    /// Files whose puts were interrupted, and go on.
    files: u64,
}

impl Budget {
    /// A put that goes to its end at once, or is begun.
    pub fn first(&mut self, scene: &Scene, copy: &Copy, version: Version) {
        let data = |file: &String| scene.sources.data(version, file);
        self.needed += copy.files.iter().map(data).sum::<u64>();
    }

    /// A put that was interrupted, when the files for which `stored` holds were stored already.
    pub fn again(
        &mut self,
        scene: &Scene,
        copy: &Copy,
        version: Version,
        stored: impl Fn(&str) -> bool,
    ) {
        let whole = |file: &&String| {
            scene.sources.size(version, file) < RESUME_MIN || stored(file.as_str())
        };
        let data = |file: &String| scene.sources.data(version, file);
        self.needed += copy.files.iter().filter(whole).map(data).sum::<u64>();
        self.files += copy.files.iter().filter(|file| !whole(file)).count() as u64;
    }

    /// Bytes that had to be sent.
    pub fn needed(&self) -> u64 {
        self.needed
    }

    /// What was sent beyond what had to be, when so much came over the wire; headers and small packets included.
    pub fn beyond(&self, scene: &Scene, sent: u64) -> u64 {
        sent.saturating_sub(scene.on_wire(self.needed))
    }

    /// The most of that.
    pub fn limit(&self, scene: &Scene) -> u64 {
        scene.on_wire(RECEIVE_FRAMES * PAYLOAD + self.files * OPEN_CELLS * CELL) + AROUND
    }
}

/// Bytes that have come to the server's interface so far, headers included.
pub fn received(scene: &Scene) -> u64 {
    let interface = Host::Server.interface();
    let counter = format!("/sys/class/net/{interface}/statistics/rx_bytes");
    let mut command = scene.hosts.command(Host::Server, "cat");
    let text = blk_bench::lab::must(command.arg(counter));
    text.trim().parse().expect("a counter is a number")
}
