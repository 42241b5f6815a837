//! The answers to a batch of files: given together, when the last is known.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::FileError;
use super::store::{StoreFile, StoreResults};

/// Called once with what became of each file.
pub(super) type Done = Box<dyn FnOnce(StoreResults) + Send>;

/// Files that are answered together.
pub(super) struct Batch(Mutex<State>);

struct State {
    results: Vec<Option<Result<(), FileError>>>,
    left: usize,
    done: Option<Done>,
}

/// One file's claim to an answer. Dropped without one it is answered with an error, so that nobody waits for ever.
pub(super) struct Ticket {
    batch: Arc<Batch>,
    index: usize,
    label: Vec<u8>,
    settled: bool,
}

impl Batch {
    /// A ticket for each file. An empty batch is answered now.
    pub(super) fn tickets(files: Vec<StoreFile>, done: Done) -> Vec<(StoreFile, Ticket)> {
        if files.is_empty() {
            done(Vec::new());
            return Vec::new();
        }
        let state = State {
            results: files.iter().map(|_| None).collect(),
            left: files.len(),
            done: Some(done),
        };
        let batch = Arc::new(Batch(Mutex::new(state)));
        let ticket = |(index, mut file): (usize, StoreFile)| {
            let ticket = Ticket {
                batch: Arc::clone(&batch),
                index,
                label: std::mem::take(&mut file.label),
                settled: false,
            };
            (file, ticket)
        };
        files.into_iter().enumerate().map(ticket).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// The file's name in messages.
    pub(super) fn label(&self) -> &[u8] {
        &self.label
    }

    /// Answers: this operation failed.
    pub(super) fn fail(self, operation: &'static str, error: impl Into<io::Error>) {
        let error = FileError::new(operation, &self.label, error);
        self.settle(Err(error));
    }

    /// Answers.
    pub(super) fn settle(mut self, result: Result<(), FileError>) {
        self.answer(result);
    }

    fn answer(&mut self, result: Result<(), FileError>) {
        self.settled = true;
        let mut state = self.batch.lock();
        if let Some(place) = state.results.get_mut(self.index) {
            *place = Some(result);
        }
        state.left = state.left.saturating_sub(1);
        if state.left > 0 {
            return;
        }
        let results = std::mem::take(&mut state.results);
        let done = state.done.take();
        drop(state);
        if let Some(done) = done {
            // All are there: each ticket has put its own.
            done(results.into_iter().flatten().collect());
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            let reason = io::Error::other("the store of small files lost it, see the log");
            let error = FileError::new("store", &self.label, reason);
            self.answer(Err(error));
        }
    }
}
