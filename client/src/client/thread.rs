//! The thread of a client: it has the connection and the io_uring runtime, and carries out what takes more than waiting for
//! an answer.
//!
//! ```text
//!   any executor                                 blk-client                         workers
//!   Running ◄── one-shot ── outcome ◄── task ── select ── work ── Connection ── Command ──►
//!      └─ dropped ──► the one-shot is closed ──────┘ ── the work is dropped: both ends forget
//! ```
//!
//! Work goes on whether or not anybody polls what waits for it: who reads ahead and looks away keeps nobody else's blocks back.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::{FutureExt, LocalBoxFuture};
use tokio::sync::{mpsc, oneshot, watch};

use crate::connection::{ConnectOptions, Connection};
use crate::error::ClientError;

type Job = Box<dyn FnOnce() -> LocalBoxFuture<'static, ()> + Send>;

/// The way to the thread. When the last one is dropped, the thread closes the connection and ends.
#[derive(Clone)]
pub(super) struct Jobs(mpsc::UnboundedSender<Job>);

/// What is carried out on the thread. Dropped, it is given up there, soon.
pub(super) struct Running<T>(oneshot::Receiver<Result<T, ClientError>>);

impl Jobs {
    /// Starts work on the thread, now. What waits for it need not be polled for it to go on.
    pub(super) fn start<T, W>(&self, work: impl FnOnce() -> W + Send + 'static) -> Running<T>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, ClientError>> + 'static,
    {
        let (mut answer, outcome) = oneshot::channel();
        let job = move || {
            async move {
                let outcome = tokio::select! {
                    biased;
                    () = answer.closed() => return,
                    outcome = async { work().await } => outcome,
                };
                // Given up at the last moment, it has come to its end all the same.
                let _ = answer.send(outcome);
            }
            .boxed_local()
        };
        // Without the thread the answer's sender is dropped, which tells.
        let _ = self.0.send(Box::new(job));
        Running(outcome)
    }
}

impl<T> Future for Running<T> {
    type Output = Result<T, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(self.0.poll_unpin(context));
        Poll::Ready(outcome.unwrap_or(Err(ClientError::Panicked)))
    }
}

/// What the thread has opened.
pub(super) struct Opened {
    pub(super) connection: Arc<Connection>,
    pub(super) jobs: Jobs,
    /// Its sender goes when the connection is closed.
    pub(super) ended: watch::Receiver<()>,
}

/// Starts the thread, which opens the connection. Dropped, it gives that up; what it has begun is undone there.
pub(super) async fn open(host: String, options: ConnectOptions) -> Result<Opened, ClientError> {
    let (answer, opened) = oneshot::channel();
    start(
        async move || Connection::open(&host, &options).await,
        answer,
    )?;
    let outcome = opened.await.unwrap_or(Err(ClientError::Panicked))?;
    Ok(Opened {
        connection: outcome.0,
        jobs: outcome.1,
        ended: outcome.2,
    })
}

type Parts<C> = (Arc<C>, Jobs, watch::Receiver<()>);

/// Starts a thread that opens something, carries out jobs until nobody can give it any, and closes it.
fn start<C: Send + Sync + 'static>(
    open: impl AsyncFnOnce() -> Result<C, ClientError> + Send + 'static,
    answer: oneshot::Sender<Result<Parts<C>, ClientError>>,
) -> Result<(), ClientError> {
    let run = move || {
        let (ending, ended) = watch::channel(());
        let runtime = match tokio_uring::Runtime::new(&tokio_uring::builder()) {
            Ok(runtime) => runtime,
            Err(error) => return drop(answer.send(Err(ClientError::Start(error)))),
        };
        let held = runtime.block_on(open_and_serve(open, ended, answer));
        // In this order: work that is left is dropped before what it works with, and then whoever waits for the end hears of it.
        drop(runtime);
        drop(held);
        drop(ending);
    };
    let thread = std::thread::Builder::new().name("blk-client".to_owned());
    thread.spawn(run).map(drop).map_err(ClientError::Start)
}

async fn open_and_serve<C: Send + Sync>(
    open: impl AsyncFnOnce() -> Result<C, ClientError>,
    ended: watch::Receiver<()>,
    mut answer: oneshot::Sender<Result<Parts<C>, ClientError>>,
) -> Option<Arc<C>> {
    let opened = tokio::select! {
        biased;
        () = answer.closed() => return None,
        opened = open() => opened,
    };
    let opened = match opened {
        Ok(opened) => Arc::new(opened),
        Err(error) => {
            let _ = answer.send(Err(error));
            return None;
        }
    };
    let (sender, mut jobs) = mpsc::unbounded_channel::<Job>();
    // When nobody waits any more, the only sender goes, and the loop is over.
    let _ = answer.send(Ok((Arc::clone(&opened), Jobs(sender), ended)));
    while let Some(job) = jobs.recv().await {
        // Spawned, a job that panics ends alone.
        tokio_uring::spawn(job());
    }
    Some(opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use crate::blocking::block_on;

    /// Says when it is dropped, and where.
    struct Told(Sender<String>);

    impl Drop for Told {
        fn drop(&mut self) {
            let name = std::thread::current().name().unwrap_or("?").to_owned();
            let _ = self.0.send(name);
        }
    }

    fn started() -> (Parts<Told>, Receiver<String>) {
        let (sender, dropped) = channel();
        let (answer, opened) = oneshot::channel();
        start(async move || Ok(Told(sender)), answer).unwrap();
        (block_on(opened).unwrap().unwrap(), dropped)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn work_goes_on_unpolled_and_its_outcome_waits() {
        let ((_held, jobs, _ended), _dropped) = started();
        let (sender, done) = channel();
        let running = jobs.start(async move || {
            tokio::time::sleep(Duration::from_millis(1)).await;
            sender.send(()).unwrap();
            Ok(7)
        });
        done.recv_timeout(LONG).unwrap();
        assert_eq!(block_on(running).unwrap(), 7);
    }

    #[test]
    fn what_is_dropped_is_given_up() {
        let ((_held, jobs, _ended), _dropped) = started();
        let (sender, given_up) = channel();
        let (begun, has_begun) = channel();
        let running = jobs.start(async move || {
            let _told = Told(sender);
            begun.send(()).unwrap();
            std::future::pending::<Result<(), ClientError>>().await
        });
        has_begun.recv_timeout(LONG).unwrap();
        drop(running);
        assert_eq!(given_up.recv_timeout(LONG).unwrap(), "blk-client");
    }

    #[test]
    fn a_panic_ends_one_operation_and_no_other() {
        let ((_held, jobs, _ended), _dropped) = started();
        let panics = jobs.start::<(), _>(async || panic!("on purpose, to see what becomes of it"));
        assert!(matches!(block_on(panics), Err(ClientError::Panicked)));
        let goes_on = jobs.start(async || Ok(()));
        block_on(goes_on).unwrap();
    }

    #[test]
    fn the_last_handle_closes_on_the_thread() {
        let ((held, jobs, mut ended), dropped) = started();
        let never = jobs.start(std::future::pending::<Result<(), ClientError>>);
        drop((held, jobs));
        assert!(block_on(ended.changed()).is_err());
        assert_eq!(dropped.recv_timeout(LONG).unwrap(), "blk-client");
        assert!(matches!(block_on(never), Err(ClientError::Panicked)));
    }

    #[test]
    fn what_cannot_be_opened_is_said() {
        let (answer, opened) = oneshot::channel();
        let failing = async || Err::<Told, _>(ClientError::Panicked);
        start(failing, answer).unwrap();
        assert!(block_on(opened).unwrap().is_err());
    }
}
