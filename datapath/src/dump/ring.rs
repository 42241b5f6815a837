//! A ring of packets between one worker and the thread that writes them: bounded, allocated once, and neither end ever waits.
//!
//! ```text
//!   │ captured length, original length, direction │ time │ lost before │ bytes, in words of 8 … │
//! ```
//!
//! The ring consists of atomic words, so both ends are safe code. Positions count words from the beginning and never wrap
//! (in 2^64 words); what lies between head and tail is whole records.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::pcapng::Direction;

/// Words in front of the bytes of a packet.
const HEADER: u64 = 3;
/// Bytes in a word.
const WORD: usize = 8;
/// In the first word: the packet was sent.
const OUTBOUND: u64 = 1 << 63;

/// What a ring says of a packet, besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Its way.
    pub direction: Direction,
    /// Its length on the wire.
    pub original_len: u32,
    /// Packets that found no room since the one before.
    pub lost_before: u64,
}

#[derive(Debug)]
struct Words {
    /// As many as a power of two.
    words: Box<[AtomicU64]>,
    /// The reader's position; only the reader writes it.
    head: AtomicU64,
    /// The writer's position; only the writer writes it.
    tail: AtomicU64,
    /// Packets that found no room.
    lost: AtomicU64,
}

impl Words {
    /// The words from `position` on, around the end.
    fn from(&self, position: u64) -> impl Iterator<Item = &AtomicU64> {
        let at = position as usize & (self.words.len() - 1);
        let (before, after) = self.words.split_at(at);
        after.iter().chain(before)
    }

    fn get(&self, position: u64) -> u64 {
        self.words[position as usize & (self.words.len() - 1)].load(Ordering::Relaxed)
    }
}

/// A ring of at least `bytes` bytes.
pub(super) fn ring(bytes: usize) -> (Input, Output) {
    let words = (bytes / WORD).next_power_of_two();
    let shared = Arc::new(Words {
        words: (0..words).map(|_| AtomicU64::new(0)).collect(),
        head: AtomicU64::new(0),
        tail: AtomicU64::new(0),
        lost: AtomicU64::new(0),
    });
    let input = Input {
        shared: Arc::clone(&shared),
        tail: 0,
        head: 0,
        lost_since: 0,
    };
    (input, Output { shared, head: 0 })
}

/// The worker's end.
#[derive(Debug)]
pub(super) struct Input {
    shared: Arc<Words>,
    tail: u64,
    /// Where the reader was at the last look.
    head: u64,
    lost_since: u64,
}

impl Input {
    /// Puts the first `captured` bytes of a packet in, or counts it.
    pub(super) fn push(
        &mut self,
        time: u64,
        direction: Direction,
        packet: &[u8],
        captured: &[u8],
    ) -> bool {
        let need = HEADER + captured.len().div_ceil(WORD) as u64;
        if !self.has_room(need) {
            self.lose();
            return false;
        }
        let outbound = match direction {
            Direction::Inbound => 0,
            Direction::Outbound => OUTBOUND,
        };
        let lengths = (captured.len() as u64) << 32 | packet.len() as u64;
        let head = [lengths | outbound, time, self.lost_since];
        let (whole, rest) = captured.as_chunks::<WORD>();
        let mut last = [0; WORD];
        last[..rest.len()].copy_from_slice(rest);
        let bytes = whole
            .iter()
            .chain((!rest.is_empty()).then_some(&last))
            .map(|word| u64::from_ne_bytes(*word));
        for (slot, word) in self
            .shared
            .from(self.tail)
            .zip(head.into_iter().chain(bytes))
        {
            slot.store(word, Ordering::Relaxed);
        }
        self.tail += need;
        // The words are there before the position says so.
        self.shared.tail.store(self.tail, Ordering::Release);
        self.lost_since = 0;
        true
    }

    /// Counts a packet that is not put in.
    pub(super) fn lose(&mut self) {
        self.lost_since += 1;
        // Nobody else writes it.
        let lost = self.shared.lost.load(Ordering::Relaxed) + 1;
        self.shared.lost.store(lost, Ordering::Relaxed);
    }

    fn has_room(&mut self, need: u64) -> bool {
        let limit = self.shared.words.len() as u64;
        if self.tail + need - self.head <= limit {
            return true;
        }
        // The words have been read before the position says so.
        self.head = self.shared.head.load(Ordering::Acquire);
        self.tail + need - self.head <= limit
    }
}

/// The writing thread's end.
#[derive(Debug)]
pub(super) struct Output {
    shared: Arc<Words>,
    head: u64,
}

impl Output {
    /// Up to where there are records now.
    pub(super) fn end(&self) -> u64 {
        self.shared.tail.load(Ordering::Acquire)
    }

    /// The time of the first record before `end`.
    pub(super) fn next_time(&self, end: u64) -> Option<u64> {
        (self.head < end).then(|| self.shared.get(self.head + 1))
    }

    /// Whether more than a quarter is in use before `end`.
    pub(super) fn is_filling(&self, end: u64) -> bool {
        (end - self.head) * 4 > self.shared.words.len() as u64
    }

    /// Takes the first record and its bytes, in place of what `bytes` held; there must be one.
    pub(super) fn pop(&mut self, bytes: &mut Vec<u8>) -> Record {
        let lengths = self.shared.get(self.head);
        let captured = (lengths & !OUTBOUND) >> 32;
        let words = captured.div_ceil(WORD as u64);
        let record = Record {
            time: self.shared.get(self.head + 1),
            direction: if lengths & OUTBOUND == 0 {
                Direction::Inbound
            } else {
                Direction::Outbound
            },
            original_len: lengths as u32,
            lost_before: self.shared.get(self.head + 2),
        };
        bytes.clear();
        for word in self.shared.from(self.head + HEADER).take(words as usize) {
            bytes.extend_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        bytes.truncate(captured as usize);
        self.head += HEADER + words;
        self.shared.head.store(self.head, Ordering::Release);
        record
    }

    /// Packets that found no room so far.
    pub(super) fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }
}
