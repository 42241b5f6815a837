//! Who got how much through the wire, over time.
//!
//! A text file, one line for each sender and interval in which it sent:
//!
//! ```text
//! # milliseconds  from  source-address  frames  bytes
//! 1200 wire1 02:00:0a:4d:00:02 18432 60211200
//! ```
//!
//! The time is that of CLOCK_MONOTONIC. `frames` and `bytes` (of Ethernet frames) count from the start of the wire. A line whose address is `queue` tells what waits in
//! front of the line, `frames` and `bytes`, then the frames that were dropped and marked there so far.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};

use super::impairment::Counters;
use super::line::Backlog;

/// Nanoseconds between two lines about one sender.
pub const INTERVAL: u64 = 50_000_000;

/// Senders that are told apart; frames of further ones are not counted.
const SENDERS_MAX: usize = 256;

/// The clock of a trace, in milliseconds.
pub fn monotonic_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000
}

/// Totals of one sender.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Totals {
    frames: u64,
    bytes: u64,
    changed: bool,
}

/// Writes the trace of one direction.
#[derive(Debug)]
pub struct Trace {
    file: File,
    from: String,
    /// CLOCK_MONOTONIC when the wire's own time began, in nanoseconds.
    epoch: u64,
    senders: BTreeMap<[u8; 6], Totals>,
    next: u64,
    text: String,
}

impl Trace {
    /// A trace of the frames that arrive on the interface `from`. The file must be in append mode: both directions share
    /// it. The times given to it later count from now.
    pub fn new(file: File, from: &str) -> Self {
        Self {
            file,
            epoch: 1_000_000 * monotonic_ms(),
            from: from.to_owned(),
            senders: BTreeMap::new(),
            next: 0,
            text: String::new(),
        }
    }

    /// A frame came out of the wire.
    pub fn count(&mut self, frame: &[u8]) {
        let Some(source) = frame.get(6..12).and_then(|mac| mac.try_into().ok()) else {
            return;
        };
        if self.senders.len() >= SENDERS_MAX && !self.senders.contains_key(&source) {
            return;
        }
        let totals = self.senders.entry(source).or_default();
        totals.frames += 1;
        totals.bytes += frame.len() as u64;
        totals.changed = true;
    }

    /// Whether an interval is over at `now`.
    pub fn is_due(&self, now: u64) -> bool {
        now >= self.next
    }

    /// Writes what changed in the interval that ends at `now`, in one piece.
    ///
    /// # Errors
    /// As write(2).
    pub fn write(&mut self, now: u64, backlog: Backlog, counters: &Counters) -> io::Result<()> {
        self.next = now + INTERVAL;
        let (time, from) = ((self.epoch + now) / 1_000_000, &self.from);
        self.text.clear();
        for (mac, totals) in &mut self.senders {
            if std::mem::take(&mut totals.changed) {
                let [a, b, c, d, e, f] = mac;
                let Totals { frames, bytes, .. } = totals;
                // Writing to a String does not fail.
                let _ = writeln!(
                    self.text,
                    "{time} {from} {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} {frames} {bytes}"
                );
            }
        }
        if self.text.is_empty() {
            return Ok(());
        }
        let (Backlog { frames, bytes }, dropped, marked) =
            (backlog, counters.queue_drops, counters.marked);
        let _ = writeln!(
            self.text,
            "{time} {from} queue {frames} {bytes} {dropped} {marked}"
        );
        self.file.write_all(self.text.as_bytes())
    }
}
