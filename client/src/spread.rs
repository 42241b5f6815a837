//! Large files over all flows of a connection: each other session joins the transfer that the first one has opened.

use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use blk_datapath::disk::BlockFile;
use blk_datapath::engine::{Coverage, Progress, ReceivedFile, SentFile, SharedWork, TransferError};
use blk_proto::message::{ErrorCode, Reply, Request};
use futures_util::future::{FusedFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::connection::Connection;
use crate::error::ClientError;
use crate::flow::Flow;
use crate::service::Command;
use crate::transfer::expect;

/// Files from this size on are worth the start of more flows, which takes some ten milliseconds.
const SPREAD_MIN: u64 = 16 << 20;
/// How often a reception is looked at that should be over.
const LOOK: Duration = Duration::from_millis(20);
/// A worker sees well within this time that the others have finished what it sent with them, and can send the next.
const STILL_BUSY: Duration = Duration::from_secs(5);
/// Ranges that are asked for again at once.
const HOLES_MAX: usize = 64;

/// Which way the blocks go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the server.
    Put,
    /// From the server.
    Get,
}

/// A transfer as its flows see it.
#[derive(Clone, Copy)]
pub(crate) struct Shape<'a> {
    /// For messages.
    pub what: &'a str,
    /// Its number, the same in all sessions.
    pub transfer: u32,
    /// Bytes of the file.
    pub size: u64,
}

impl Connection {
    /// Sends what is left of `work`, over all flows if that is worth it; ready when all of it is acknowledged.
    pub(crate) async fn send_all(
        &self,
        home: &Flow,
        shape: Shape<'_>,
        file: &Arc<BlockFile>,
        work: &Arc<SharedWork>,
        progress: &Progress,
    ) -> Result<SentFile, ClientError> {
        self.spread(home, shape, Way::Put, async |flow: &Flow| {
            while_busy(STILL_BUSY, async || {
                let (file, work) = (Arc::clone(file), Arc::clone(work));
                let (transfer, progress) = (shape.transfer, progress.clone());
                let sent = flow.ask(|answer| Command::Send {
                    transfer,
                    file,
                    work,
                    progress,
                    answer,
                });
                sent.await?.map_err(|source| failed(shape.what, source))
            })
            .await
        })
        .await
    }

    /// Receives a file over all flows, if that is worth it; ready when every byte is written.
    pub(crate) async fn receive_all(
        &self,
        home: &Flow,
        shape: Shape<'_>,
        file: &Arc<BlockFile>,
        coverage: &Arc<Coverage>,
        progress: &Progress,
    ) -> Result<ReceivedFile, ClientError> {
        self.spread(home, shape, Way::Get, async |flow: &Flow| {
            let (file, coverage) = (Arc::clone(file), Arc::clone(coverage));
            let (transfer, progress) = (shape.transfer, progress.clone());
            let received = flow.ask(|answer| Command::Receive {
                transfer,
                file,
                coverage,
                progress,
                answer,
            });
            received.await?.map_err(|source| failed(shape.what, source))
        })
        .await
    }

    /// Does `carry` on the session that opened the transfer, and for a large file on the others, which join it. Each of them
    /// tells the end of the whole, so the first success is it. The loss of a session is only a warning when another one
    /// brings it to a good end: what it had to carry goes to the rest.
    async fn spread<T>(
        &self,
        home: &Flow,
        shape: Shape<'_>,
        way: Way,
        carry: impl AsyncFn(&Flow) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        if !self.is_spread(shape) {
            return carry(home).await;
        }
        let losses = Losses::default();
        let done = self.first_success(home, shape, way, carry, &losses).await?;
        losses.warn();
        Ok(done)
    }

    async fn first_success<'a, T>(
        &'a self,
        home: &'a Flow,
        shape: Shape<'_>,
        way: Way,
        carry: impl AsyncFn(&Flow) -> Result<T, ClientError>,
        losses: &Losses<'a>,
    ) -> Result<T, ClientError> {
        let mut first = pin!(carry(home));
        let mut rest = pin!(
            self.carry_on_others(home, shape, way, &carry, losses)
                .fuse()
        );
        let failure = tokio::select! {
            biased;
            outcome = &mut first => match outcome {
                Err(error @ ClientError::Lost { .. }) => error,
                outcome => return outcome,
            },
            Some(done) = &mut rest => return Ok(done),
        };
        if rest.is_terminated() {
            return Err(failure);
        }
        losses.add(home, &failure);
        rest.await.ok_or(failure)
    }

    /// Has the other sessions join a transfer and carry their parts; the first success, if there is one.
    async fn carry_on_others<'a, T>(
        &'a self,
        home: &Flow,
        shape: Shape<'_>,
        way: Way,
        carry: &impl AsyncFn(&Flow) -> Result<T, ClientError>,
        losses: &Losses<'a>,
    ) -> Option<T> {
        let (token, queues) = match share(home, shape).await {
            Ok(shared) => shared,
            Err(error @ ClientError::Lost { .. }) => {
                tracing::info!(%error, "over one flow only");
                return None;
            }
            Err(error) => {
                tracing::warn!(%error, "over one flow only");
                return None;
            }
        };
        let flows = self.open_others(queues).await;
        let mut running: FuturesUnordered<_> = flows
            .filter(|flow| !std::ptr::eq(*flow, home) && !flow.is_lost())
            .map(|flow| async move {
                if let Err(error) = flow.connected().await {
                    tracing::warn!(%error, queue = flow.queue(), "no flow on this queue");
                    // Somebody else may have the queue.
                    flow.tell(Command::Finish);
                    return None;
                }
                let outcome = carry_along(flow, shape, token, way, carry).await;
                Some((flow, outcome))
            })
            .collect();
        while let Some(ended) = running.next().await {
            match ended {
                Some((_, Ok(done))) => return Some(done),
                Some((flow, Err(error))) => losses.add(flow, &error),
                None => {}
            }
        }
        None
    }

    /// Whether a file is carried by several flows.
    fn is_spread(&self, shape: Shape<'_>) -> bool {
        shape.size >= SPREAD_MIN && self.may_spread()
    }

    /// Asks for the end of a transfer: by the session that opened it, or when that is lost by another one that carries it.
    pub(crate) async fn ask_for(
        &self,
        home: &Flow,
        shape: Shape<'_>,
        request: Request,
    ) -> Result<Reply, ClientError> {
        let failure = match home.request(shape.what, request.clone()).await {
            Err(error @ ClientError::Lost { .. }) if self.is_spread(shape) => error,
            outcome => return outcome,
        };
        for flow in self.sessions() {
            if !flow.is_up() || !flow.has_joined(shape.transfer) {
                continue;
            }
            match flow.request(shape.what, request.clone()).await {
                Err(ClientError::Lost { .. }) => {}
                // It has no part in the transfer any more; another one may have.
                Err(ClientError::Refused { failure: why, .. })
                    if why.code == ErrorCode::Protocol => {}
                outcome => return outcome,
            }
        }
        Err(failure)
    }

    /// Asks for what is missing of a file that was sent whole: a flow may have died with blocks that it had acknowledged.
    /// Ready only with a failure.
    pub(crate) async fn fill_holes(
        &self,
        shape: Shape<'_>,
        coverage: &Coverage,
        read: impl AsyncFn(u64, u64) -> Result<u32, ClientError>,
    ) -> ClientError {
        loop {
            tokio::time::sleep(LOOK).await;
            for (offset, len) in coverage.missing(HOLES_MAX).unwrap_or_default() {
                tracing::info!(
                    file = shape.what,
                    offset,
                    len,
                    "asking again for what is missing"
                );
                if let Err(error) = read(offset, len).await {
                    return error;
                }
            }
        }
    }
}

/// Lets other sessions join a transfer: the token, and the server's queues.
async fn share(home: &Flow, shape: Shape<'_>) -> Result<(u64, u16), ClientError> {
    let transfer = shape.transfer;
    let request = Request::Share { transfer };
    let reply = home.request(shape.what, request).await?;
    expect(shape.what, reply, |reply| match reply {
        Reply::Shared { token, queues } => Some((*token, *queues)),
        _ => None,
    })
}

/// Has a session join a transfer and carry its part.
async fn carry_along<T>(
    flow: &Flow,
    shape: Shape<'_>,
    token: u64,
    way: Way,
    carry: &impl AsyncFn(&Flow) -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let transfer = shape.transfer;
    let mut join = pin!(async {
        if flow.has_joined(transfer) {
            return Ok::<_, ClientError>(());
        }
        let request = Request::Join { transfer, token };
        let reply = flow.request(shape.what, request).await?;
        expect(shape.what, reply, |reply| {
            matches!(reply, Reply::Joined).then_some(())
        })?;
        flow.join(transfer);
        Ok(())
    });
    match way {
        // The server must know where blocks belong before they come,
        Way::Put => {
            join.await?;
            carry(flow).await
        }
        // and so must this end.
        Way::Get => {
            let mut carried = pin!(carry(flow));
            tokio::select! {
                biased;
                outcome = &mut carried => return outcome,
                joined = &mut join => joined?,
            }
            carried.await
        }
    }
}

fn failed(what: &str, source: TransferError) -> ClientError {
    ClientError::Transfer {
        what: what.to_owned(),
        source,
    }
}

/// Flows that were lost on the way. That is a warning only when the others brought the transfer to its end; else the
/// failure of the whole says it all.
#[derive(Default)]
struct Losses<'a>(RefCell<Vec<(&'a Flow, String)>>);

impl<'a> Losses<'a> {
    fn add(&self, flow: &'a Flow, error: &ClientError) {
        tracing::info!(queue = flow.queue(), port = flow.port(), %error, "a flow is lost");
        self.0.borrow_mut().push((flow, error.to_string()));
    }

    fn warn(self) {
        for (flow, error) in self.0.into_inner() {
            tracing::warn!(
                queue = flow.queue(),
                port = flow.port(),
                error,
                "a flow is lost; the others go on"
            );
        }
    }
}

/// Does `attempt` until the session has done with an earlier part of the transfer, for so long.
async fn while_busy<T>(
    patience: Duration,
    attempt: impl AsyncFn() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let busy = |outcome: &Result<T, ClientError>| {
        matches!(
            outcome,
            Err(ClientError::Transfer {
                source: TransferError::Busy,
                ..
            })
        )
    };
    let until = tokio::time::Instant::now() + patience;
    loop {
        let outcome = attempt().await;
        if !busy(&outcome) || tokio::time::Instant::now() >= until {
            return outcome;
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_busy_session_is_asked_again() {
        tokio_uring::start(async {
            let tries = Cell::new(0);
            let attempt = async || {
                tries.set(tries.get() + 1);
                match tries.get() {
                    3 => Ok(7),
                    _ => Err(failed("x", TransferError::Busy)),
                }
            };
            assert_eq!(while_busy(STILL_BUSY, attempt).await.unwrap(), 7);
            assert_eq!(tries.get(), 3);
            let never = async || Err::<(), _>(failed("x", TransferError::Busy));
            assert!(while_busy(Duration::ZERO, never).await.is_err());
        });
    }
}
