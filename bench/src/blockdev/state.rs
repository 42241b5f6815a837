//! What a disk does with a request: faults, bytes, log.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;

use super::blocks::Image;
use super::faults::{Faults, Operation};
use super::log::{Event, Log};

/// Requests that a disk has been asked for since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads.
    pub reads: u64,
    /// Writes, with discarded and zeroed ranges.
    pub writes: u64,
    /// Flushes.
    pub flushes: u64,
}

#[derive(Debug, Default)]
struct State {
    image: Image,
    log: Option<Log>,
    faults: Faults,
    counts: Counts,
}

/// A disk of some size, shared by who serves it and who breaks it.
#[derive(Debug)]
pub struct Shared {
    size: u64,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    /// A disk full of zeros.
    pub fn new(size: u64) -> Self {
        Self {
            size,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as the disk takes, and says whether it fails.
    fn enter(&self, operation: Operation, offset: u64, length: usize) -> Result<(), Errno> {
        let mut state = self.lock();
        match operation {
            Operation::Read => state.counts.reads += 1,
            Operation::Write => state.counts.writes += 1,
            Operation::Flush => state.counts.flushes += 1,
        }
        while state.faults.still {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let time = state.faults.time(length);
        let verdict = state
            .faults
            .verdict(operation, &(offset..offset.saturating_add(length as u64)));
        drop(state);
        if time > Duration::ZERO {
            std::thread::sleep(time);
        }
        verdict.map_or(Ok(()), Err)
    }

    /// Reads bytes; those beyond the end are left alone.
    ///
    /// # Errors
    /// What a fault says.
    pub fn read(&self, offset: u64, to: &mut [u8]) -> Result<(), Errno> {
        self.enter(Operation::Read, offset, to.len())?;
        self.lock().image.read(offset, to);
        Ok(())
    }

    /// Writes bytes.
    ///
    /// # Errors
    /// ENOSPC beyond the end; what a fault says: then nothing was written.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), Errno> {
        self.check(offset, bytes.len() as u64)?;
        self.enter(Operation::Write, offset, bytes.len())?;
        let mut state = self.lock();
        state.image.write(offset, bytes);
        if let Some(log) = &mut state.log {
            let bytes = bytes.into();
            log.push(Event::Write { offset, bytes });
        }
        Ok(())
    }

    /// Makes a range zeros.
    ///
    /// # Errors
    /// As for a write.
    pub fn zero(&self, offset: u64, length: u64) -> Result<(), Errno> {
        self.check(offset, length)?;
        self.enter(Operation::Write, offset, 0)?;
        let mut state = self.lock();
        state.image.zero(offset, length);
        if let Some(log) = &mut state.log {
            log.push(Event::Zero { offset, length });
        }
        Ok(())
    }

    /// Makes everything durable.
    ///
    /// # Errors
    /// What a fault says: then nothing became durable.
    pub fn flush(&self) -> Result<(), Errno> {
        self.enter(Operation::Flush, 0, 0)?;
        if let Some(log) = &mut self.lock().log {
            log.push(Event::Flush);
        }
        Ok(())
    }

    fn check(&self, offset: u64, length: u64) -> Result<(), Errno> {
        let end = offset.checked_add(length).ok_or(Errno::NOSPC)?;
        if end > self.size {
            return Err(Errno::NOSPC);
        }
        Ok(())
    }

    /// Changes the faults from now on.
    pub fn faults<T>(&self, change: impl FnOnce(&mut Faults) -> T) -> T {
        let answer = change(&mut self.lock().faults);
        self.changed.notify_all();
        answer
    }

    /// Requests so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    /// Begins a log of at most `limit` bytes. What the disk holds now is its base.
    pub fn record(&self, limit: usize) {
        let mut state = self.lock();
        let base = state.image.settle();
        state.log = Some(Log::new(base, limit));
    }

    /// The position of the log; 0 without one.
    pub fn position(&self) -> usize {
        self.lock().log.as_ref().map_or(0, Log::position)
    }

    /// Ends the log and gives it.
    pub fn recorded(&self) -> Option<Log> {
        self.lock().log.take()
    }

    /// Replaces everything that the disk holds, and gives what it held.
    pub fn load(&self, image: Image) -> Image {
        std::mem::replace(&mut self.lock().image, image)
    }
}
