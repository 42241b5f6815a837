//! Files at rest: the target of a transfer, which appears whole and durable or not at all, and
//! its source.
//!
//! ```text
//!   PendingTarget::create ──► open(O_TMPFILE), fallocate          no name, space reserved
//!        │
//!        │  file(): the disk side writes blocks, in any order (O_DIRECT)
//!        ▼
//!   commit ──► ftruncate ► fchmod ► futimens ► fsync(file) ► link or rename ► fsync(directory)
//!        │                                       │                │               │
//!        │                                       │                │               └ the name is durable: Ok
//!        │                                       │                └ the name shows the whole new file
//!        │                                       └ an error ends here: the name keeps what it had
//!        ▼
//!   dropped instead ──► nothing stays, under any name
//! ```
//!
//! [`PendingTarget::begin`] makes one that survives crashes instead: in `.blockd`, with a journal of what has arrived.
//! What a crash leaves at each of its steps, and what becomes of that, is in the head of the module `partial`; why
//! the journal never claims too much, in that of `journal`.
//!
//! Invariants:
//!
//! - A name shows either what it showed before or the whole new file, never a part: the bytes are
//!   durable before the file gets its name.
//! - `commit` returns `Ok` only after the file's data and attributes, and then its directory,
//!   were synced without an error. A sync that failed is never tried again: the kernel reports a
//!   lost write once and then forgets it, so a second sync that succeeds would prove nothing.
//! - Where the file system has no O_TMPFILE the file bears a hidden name ([`is_hidden_name`])
//!   until its commit; such names are never listed and never accepted from outside.
//!
//! Creating and opening are short blocking system calls; what waits for the disk (syncs, the
//! reservation of large files) goes through the io_uring of the calling `tokio_uring` runtime, so
//! that many commits overlap on one thread.

mod attributes;
mod commit;
mod directory;
mod edit;
mod error;
mod holes;
mod journal;
mod link;
mod name;
mod partial;
mod pool;
mod small;
mod source;
mod store;
mod store_batch;
mod store_device;
mod store_extents;
#[cfg(test)]
mod store_fault_tests;
mod store_name;
mod store_shared;
mod store_sync;
#[cfg(test)]
mod store_tests;
mod store_volume;
mod store_write;
mod target;
#[cfg(test)]
mod tests;

pub use attributes::{attributes_of, set_attributes};
pub use directory::{DirectorySyncs, sync_directory};
pub use edit::EditFile;
pub use error::{FileError, FileErrorKind};
pub use holes::{Holes, are_holes, data_between, find_holes};
pub use link::{LINK_MAX, make_link};
pub use name::{NAME_MAX, check_name, is_hidden_name};
pub use partial::{
    OlderPartial, PARTIALS_DIRECTORY, PartialClaim, PartialFile, PartialStore, Remains, Resumption,
    SweepFailure, Swept, TemporaryFile,
};
pub use small::{SmallSource, read_small, read_small_fd};
pub use source::{SourceFile, check_regular};
pub use store::{FileStore, GROUP_MIN, StoreFile, StorePlace, StoreResults, StoreStats};
pub(crate) use store_volume::syncs_whole;
pub use target::{PendingTarget, TargetSpec};
