//! Disk operations on frames: gather writes and scatter reads of whole runs by one io_uring.
//!
//! ```text
//!            write / read                submit, wait                       completions
//! Frame<Disk> x n ---> Operation ---> submission queue ==> kernel ==> completion queue ---> Frame<Disk> x n
//!                         ^                                                  |                and result
//!                         +------ short transfer, EAGAIN, next copy ---------+
//! ```
//!
//! Frames move into the queue with the request and come out with its completion, so nobody can touch or
//! reuse one in between. Each operation has at most one request in the kernel.
//!
//! # Direct files
//!
//! A run of a new file starts at a sector of 512 bytes, and its frames hold whole sectors, except the last, which may end
//! within one: that is the **tail of the file**. Its last sector is padded with zeros, in the frame, and the file must be
//! truncated to its exact length afterwards. Files with coarser alignment, and files written in place
//! ([`Intent::Update`]), take runs that start and end anywhere: see [`plan`].
//!
//! Bytes go straight between frames and device, unless that is impossible (after a partial frame within a run), or
//! costs more than a copy: frames with little in them ([`GATHER_MIN`]), or a device that takes
//! requests apart at joints not on a page ([`BlockFile::is_coalescing`]), or a large read where copy buffers lie
//! in huge pages: each then is one piece of memory to the device, or two. These go through aligned copy buffers. All ways are
//! counted ([`DiskCounters`]).
//!
//! The copy is a pass over memory of its own; the check of a block's CRC, which reads the same bytes when the block
//! arrives, is not one with it, as a block is acknowledged before its run is known.
//!
//! # Reads
//!
//! Of a direct file each run is read the way that costs less: from the page cache where it is there, past it where it is
//! not ([`DiskQueue::choose`], [`ReadChooser`]). Large cold reads leave the cache as it was.

mod completion;
mod cost;
mod error;
#[cfg(test)]
mod faults;
mod file;
mod layout;
mod operation;
pub mod plan;
mod queue;
mod read_choice;
mod read_cost;
mod read_probe;
mod read_stats;
mod reading;
mod report;
mod shares;
mod threads;
mod transfer;

pub use completion::{ByWay, Completion, DiskCounters, WayCount, Ways};
pub use cost::GATHER_MIN;
pub use error::{DiskError, QueueFull};
pub use file::{Access, BlockFile, BufferedReason, Intent};
pub use layout::{Layout, Unaligned};
pub use operation::RUN_MAX;
pub use plan::{DeviceReport, Plan};
pub use queue::{DEPTH_MAX, DiskQueue, POLLS_MAX};
pub use read_choice::{Presence, ReadChooser, ReadWay, WINDOW_MAX};
pub use read_cost::ReadCosts;
pub use read_probe::cached;
pub use read_stats::{ReadCounters, ReadWays};
