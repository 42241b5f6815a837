//! Threads for calls that block, so that sources are read while messages travel.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

/// One reads what is in the page cache faster than it is sent; the other is for sources that are not.
const THREADS: usize = 2;

type Call = Box<dyn FnOnce() + Send>;

/// The threads. Dropped, they end after the call that they are at; those that wait are not made any more.
pub(super) struct Readers {
    calls: Option<Sender<Call>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(super) fn start() -> io::Result<Self> {
        let (calls, waiting) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let mut readers = Self {
            calls: Some(calls),
            threads: Vec::new(),
        };
        for _ in 0..THREADS {
            let waiting = Arc::clone(&waiting);
            let thread = std::thread::Builder::new()
                .name("blk-read".to_owned())
                .spawn(move || serve(&waiting))?;
            readers.threads.push(thread);
        }
        Ok(readers)
    }

    /// Makes a call on one of the threads; `None`: it panicked.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let call: Call = Box::new(move || {
            // Nobody wants what would come of it.
            if !answer.is_closed() {
                drop(answer.send(call()));
            }
        });
        self.calls.as_ref()?.send(call).ok()?;
        answered.await.ok()
    }
}

fn serve(waiting: &Mutex<Receiver<Call>>) {
    loop {
        let next = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        match next {
            Ok(call) => call(),
            Err(_) => return,
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.calls = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that reads small files panicked");
            }
        }
    }
}
