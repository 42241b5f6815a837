//! The data path that both ends share: frames of memory that NIC, worker and disk hand to each other.
//!
//! ```text
//!  NIC <== AF_XDP rings ==> [xsk] <-- Frame<Rx>, Frame<Free>, Frame<Held> --> worker
//!                             \                                                 |
//!                              [umem]  one memory region, one state table       | Frame<Disk>
//!                             /                                                 v
//!  disk <== io_uring, O_DIRECT ==> [ring] <----------------------------------- [disk]
//! ```
//!
//! Where AF_XDP cannot be had, or is not wanted, ordinary sockets ([`udp`]) stand in its place ([`link`]).
//!
//! A block is received into a frame, written to disk from that frame, and the frame goes back to the NIC: no
//! copy in user space. Reading is the mirror image.
//!
//! # Invariants
//!
//! - Every frame is in exactly one place; [`umem`] checks each move.
//! - A frame that the kernel reads or writes is not reachable from safe code: its token is inside a ring.
//! - No block of a file is written both by direct I/O and through the page cache ([`disk::plan`]).
//! - One worker thread owns socket, UMEM and ring; other threads reach it only by its [`mailbox`].
//!
//! Beside the path: [`probe`] tells what host, interfaces and disks can do, and what to change.

pub mod chain;
pub mod disk;
pub mod dump;
pub mod engine;
pub mod explain;
pub mod files;
pub mod link;
pub mod mailbox;
pub mod net;
pub mod number_list;
pub mod probe;
pub mod ring;
pub mod udp;
pub mod umem;
pub mod worker;
pub mod xsk;

#[cfg(test)]
#[path = "../tests/support/skip.rs"]
mod skip;
