//! A namespace thread itself: from the queue to tasks, from tasks to answers.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use blk_proto::message::{ErrorCode, Failure};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::routes::Route;
use super::run::{Common, State};
use super::{Job, JobKey, Outcome, TASKS_MAX};
use crate::exports::Exports;

/// What comes through the queue.
#[derive(Debug)]
pub(super) enum Message {
    /// A job, and its place in the queue if it needs one: given back when it is taken from the queue.
    Job(JobKey, Job, Option<OwnedSemaphorePermit>),
    /// Take no more jobs.
    Stop,
}

/// Jobs that only wait, for a time or for the threads of the small files, besides those that work. Each of the latter
/// holds a message.
const WAITING_MAX: usize = 1024;

/// Entries of the ring: enough for the syncs of many tasks. It also bounds how many syncs the
/// kernel works on at once (at four per CPU).
const RING_ENTRIES: u32 = 512;

/// The thread's main function; tells `started` whether the ring could be set up.
pub(super) fn main(
    own: Route,
    exports: Exports,
    common: Common,
    reply: impl Fn(JobKey, Outcome) + 'static,
    jobs: mpsc::UnboundedReceiver<Message>,
    started: &std::sync::mpsc::Sender<io::Result<()>>,
) {
    let mut builder = tokio_uring::builder();
    builder.entries(RING_ENTRIES);
    let runtime = match tokio_uring::Runtime::new(&builder) {
        Ok(runtime) => runtime,
        Err(error) => {
            // The receiver waits for exactly this.
            let _ = started.send(Err(error));
            return;
        }
    };
    let _ = started.send(Ok(()));
    let served = catch_unwind(AssertUnwindSafe(|| {
        let state = Rc::new(State::new(exports, &common));
        let reply = move |key, outcome| {
            common.routes.learn(own, &outcome);
            reply(key, outcome);
        };
        runtime.block_on(serve(state, Rc::new(reply), jobs));
    }));
    if let Err(panic) = served {
        tracing::error!("the namespace thread panicked: no request about names can be served");
        std::panic::resume_unwind(panic);
    }
}

/// Takes jobs until told to stop, then finishes those accepted.
async fn serve(
    state: Rc<State>,
    reply: Rc<impl Fn(JobKey, Outcome) + 'static>,
    mut jobs: mpsc::UnboundedReceiver<Message>,
) {
    let tasks = Arc::new(Semaphore::new(TASKS_MAX));
    // What only waits takes the place of nobody who works.
    let waiting = Arc::new(Semaphore::new(WAITING_MAX));
    while let Some(message) = jobs.recv().await {
        let Message::Job(key, job, place) = message else {
            // What is queued already is still received.
            jobs.close();
            continue;
        };
        let idle = waiting.clone().try_acquire_owned();
        let permit = match idle.ok().filter(|_| job.waits()) {
            Some(permit) => permit,
            // Waiting here fills the queue, and a full queue is what senders see.
            None => match tasks.clone().acquire_owned().await {
                Ok(permit) => permit,
                Err(_) => break,
            },
        };
        drop(place);
        let (state, reply) = (state.clone(), reply.clone());
        tokio_uring::spawn(async move {
            // The task ends where its permit does.
            let _permit = permit;
            let outcome = guarded(state.run(job)).await;
            reply(key, outcome);
        });
    }
    // All permits back: all tasks done.
    let _ = tasks.acquire_many(TASKS_MAX as u32).await;
    let _ = waiting.acquire_many(WAITING_MAX as u32).await;
}

/// The outcome of a job, or, should it panic, an answer that says so: a bug in one job must not
/// leave its peer waiting, nor end the thread for all others.
async fn guarded(job: impl Future<Output = Outcome>) -> Outcome {
    let mut job = pin!(job);
    poll_fn(move |context| {
        // The job is not polled again after a panic, and what it shares with others is changed
        // only in steps that cannot panic halfway.
        match catch_unwind(AssertUnwindSafe(|| job.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(_) => {
                tracing::error!("a job of the namespace thread panicked");
                Poll::Ready(Outcome::Failed(Failure {
                    code: ErrorCode::Io,
                    message: "internal error of the server, see its log".to_owned(),
                }))
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_of_a_job_becomes_its_answer() {
        let outcome = tokio_uring::start(guarded(async {
            tokio_uring::no_op().await.unwrap();
            panic!("on purpose");
        }));
        let Outcome::Failed(failure) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(failure.code, ErrorCode::Io);
    }
}
