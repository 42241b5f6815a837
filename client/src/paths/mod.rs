//! What data paths have cost on the interfaces of this host: measured on purpose, remembered, and what `auto` makes of it.
//!
//! ```text
//!  Meter, by turns --> Run --History::record--> file     (one run of each Site)
//!                                                |
//!  auto() <-- Run::choice() <--------------------+
//! ```
//!
//! Figures are compared only with those of the same run: the same file, the same other end and its disk, one after the other. What an
//! ordinary copy costs says more about those than about the data path.
//!
//! The figures are about one process: its own CPU time, which on software devices such as veth holds most of the
//! kernel's network work too (a system call that sends also delivers), and on a card leaves out what the kernel does in interrupts.
//!
//! What cannot be read counts as nothing measured, and is said. Where AF_XDP is taken because of figures and cannot be had, or brings no
//! session, UDP sockets are taken instead. Blocks that do not get through a session that is up fail a copy, as over any data path: its error says
//! then what has chosen it.

mod auto;
mod choice;
mod file;
#[cfg(test)]
mod file_tests;
mod meter;
mod record;

pub use auto::{Auto, PROGRAM_MIN, Wish, auto, without_zero_copy};
pub use choice::choose;
pub use file::{History, HistoryError};
pub use meter::Meter;
pub use record::{Carrier, Cost, Purpose, Run, Site, Ways};
