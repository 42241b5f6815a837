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
//! Everything is in sectors of 512 bytes: a run starts at a sector, and its frames hold whole sectors, except
//! the last, which may end within one: that is the **tail of the file**. Its last sector is padded with
//! zeros, in the frame, and the file must be truncated to its exact length afterwards.
//!
//! Bytes go straight between frames and device, unless that is impossible (after a partial frame within a
//! run), or costs more than a copy: frames with little in them ([`GATHER_MIN`]), or a device that takes
//! requests apart at joints not on a page ([`BlockFile::is_coalescing`]). These go through aligned copy
//! buffers. Both ways are counted ([`DiskCounters`]).

mod completion;
mod error;
mod file;
mod operation;
mod queue;
mod transfer;

pub use completion::{Completion, DiskCounters, Ways};
pub use error::{DiskError, QueueFull};
pub use file::{Access, BlockFile, BufferedReason, Intent};
pub use operation::RUN_MAX;
pub use queue::{DEPTH_MAX, DiskQueue, GATHER_MIN, POLLS_MAX};
