//! What is left of files after a loss of power, checked against what was promised.
//!
//! A [`Recording`] is a file system on a [`crate::blockdev::Disk`] on which something writes files, and tells for each version of a file when it
//! was begun and when it was acknowledged. The result, a [`Recorded`], is replayed: [`Points`] are losses of power at seeded
//! places; each is mounted, so that the file system recovers, and [`Promises::check`] looks at all files.
//!
//! The promise: after a loss of power at position n of the log, a name shows the version that was acknowledged last before n, or
//! a whole one that was begun later; and before the first acknowledgement, nothing or a whole one. Of a file that is written in
//! place, what was synced is there unless it was written over. What the journal of an interrupted put claims is
//! there, and of what was sent.

mod claims;
mod points;
mod promise;
mod ranged;
mod recording;
mod saved;

pub use claims::{Boot, Claimed};
pub use points::{Points, Report, Violation};
pub use promise::{Checked, Content, Promises, Ticket};
pub use ranged::RangedWrite;
pub use recording::{Recorded, Recording};
