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
mod error;
mod name;
mod source;
mod target;
#[cfg(test)]
mod tests;

pub use attributes::attributes_of;
pub use directory::{DirectorySyncs, sync_directory};
pub use error::{FileError, FileErrorKind};
pub use name::{NAME_MAX, check_name, is_hidden_name};
pub use source::{SourceFile, check_regular};
pub use target::{PendingTarget, TargetSpec};
