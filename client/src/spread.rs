//! Large files over all flows of a connection: each other session joins the transfer that the first one has opened.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use blk_datapath::disk::BlockFile;
use blk_datapath::engine::{Coverage, Progress, ReceivedFile, SentFile, SharedWork};
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
    /// tells the end of the whole, so the first success is it. The loss of a session is only a warning while another
    /// lives: what it had to carry goes to the rest.
    async fn spread<T>(
        &self,
        home: &Flow,
        shape: Shape<'_>,
        way: Way,
        carry: impl AsyncFn(&Flow) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut first = pin!(carry(home));
        if !self.is_spread(shape) {
            return first.await;
        }
        let mut rest = pin!(self.carry_on_others(home, shape, way, &carry).fuse());
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
        warn(home, &failure);
        rest.await.ok_or(failure)
    }

    /// Has the other sessions join a transfer and carry their parts; the first success, if there is one.
    async fn carry_on_others<T>(
        &self,
        home: &Flow,
        shape: Shape<'_>,
        way: Way,
        carry: &impl AsyncFn(&Flow) -> Result<T, ClientError>,
    ) -> Option<T> {
        let (token, queues) = match share(home, shape).await {
            Ok(shared) => shared,
            Err(error) => {
                tracing::warn!(%error, "over one flow only");
                return None;
            }
        };
        let flows = self.open_others(queues).await;
        let mut running: FuturesUnordered<_> = flows
            .filter(|flow| !std::ptr::eq(*flow, home) && !flow.is_lost())
            .map(|flow| async move {
                let outcome = carry_along(flow, shape, token, way, carry).await;
                (flow, outcome)
            })
            .collect();
        while let Some((flow, outcome)) = running.next().await {
            match outcome {
                Ok(done) => return Some(done),
                Err(error) => warn(flow, &error),
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
        while let Some(flow) = self.sessions().find(|flow| !flow.is_lost()) {
            match flow.request(shape.what, request.clone()).await {
                Err(ClientError::Lost { .. }) => {}
                // It has no part in the transfer; then that ended with its session.
                Err(ClientError::Refused { failure: why, .. })
                    if why.code == ErrorCode::Protocol =>
                {
                    break;
                }
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
        let request = Request::Join { transfer, token };
        let reply = flow.request(shape.what, request).await?;
        expect(shape.what, reply, |reply| {
            matches!(reply, Reply::Joined).then_some(())
        })
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

fn failed(what: &str, source: blk_datapath::engine::TransferError) -> ClientError {
    ClientError::Transfer {
        what: what.to_owned(),
        source,
    }
}

fn warn(flow: &Flow, error: &ClientError) {
    tracing::warn!(queue = flow.queue(), port = flow.port(), %error, "a flow is lost; the others go on");
}
