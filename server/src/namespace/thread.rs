//! The thread itself: from the queue to tasks, from tasks to answers.

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use blk_proto::message::{ErrorCode, Failure};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::run::State;
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

/// Entries of the ring: enough for the syncs of many tasks. It also bounds how many syncs the
/// kernel works on at once (at four per CPU).
const RING_ENTRIES: u32 = 512;

/// The thread's main function; tells `started` whether the ring could be set up.
pub(super) fn main(
    exports: Exports,
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
        runtime.block_on(serve(Rc::new(State::new(exports)), Rc::new(reply), jobs));
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
    while let Some(message) = jobs.recv().await {
        let Message::Job(key, job, place) = message else {
            // What is queued already is still received.
            jobs.close();
            continue;
        };
        // Waiting here fills the queue, and a full queue is what senders see.
        let Ok(permit) = tasks.clone().acquire_owned().await else {
            break;
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
