//! What a disk was told to do, in order.

use std::sync::Arc;

use super::blocks::{Blocks, Image};

/// One request that the disk has carried out.
#[derive(Clone, Debug)]
pub enum Event {
    /// Bytes were written.
    Write {
        /// Place on the disk.
        offset: u64,
        /// What was written.
        bytes: Box<[u8]>,
    },
    /// A range was discarded, or zeroed: it reads as zeros from now on.
    Zero {
        /// Place on the disk.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// Everything that was completed before is durable from now on.
    Flush,
}

impl Event {
    /// Does it to an image.
    pub fn apply(&self, image: &mut Image) {
        match self {
            Self::Write { offset, bytes } => image.write(*offset, bytes),
            Self::Zero { offset, length } => image.zero(*offset, *length),
            Self::Flush => {}
        }
    }

    fn memory(&self) -> usize {
        let bytes = match self {
            Self::Write { bytes, .. } => bytes.len(),
            Self::Zero { .. } | Self::Flush => 0,
        };
        bytes + size_of::<Self>()
    }
}

/// Everything that a disk was told since the recording began.
///
/// A *position* is a number of events: position n is the moment after the first n of them.
#[derive(Clone, Debug)]
pub struct Log {
    /// What the disk held at position 0, taken as durable.
    pub base: Arc<Blocks>,
    /// Events, in the order in which the disk carried them out.
    pub events: Vec<Event>,
    memory: usize,
    limit: usize,
    overflown: bool,
}

impl Log {
    /// An empty log of at most `limit` bytes on a disk that holds `base`.
    pub fn new(base: Arc<Blocks>, limit: usize) -> Self {
        Self {
            base,
            events: Vec::new(),
            memory: 0,
            limit,
            overflown: false,
        }
    }

    /// Adds an event. Beyond the limit nothing more is added, and the log says so.
    pub fn push(&mut self, event: Event) {
        self.memory += event.memory();
        self.overflown |= self.memory > self.limit;
        if !self.overflown {
            self.events.push(event);
        }
    }

    /// The position reached.
    pub fn position(&self) -> usize {
        self.events.len()
    }

    /// Bytes written.
    pub fn bytes(&self) -> usize {
        self.memory
    }

    /// Was there more than the limit allows? Then the log is of no use.
    pub fn overflown(&self) -> bool {
        self.overflown
    }

    /// How many events of each kind there are: writes, zeroed ranges, flushes.
    pub fn counts(&self) -> (usize, usize, usize) {
        self.events
            .iter()
            .fold((0, 0, 0), |(w, z, f), event| match event {
                Event::Write { .. } => (w + 1, z, f),
                Event::Zero { .. } => (w, z + 1, f),
                Event::Flush => (w, z, f + 1),
            })
    }
}
