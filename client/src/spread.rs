//! Large files over all flows of a connection: each other session joins the transfer that the first one has opened.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use blk_datapath::disk::BlockFile;
use blk_datapath::engine::{Coverage, Progress, ReceivedFile, SentFile, SharedWork};
use blk_proto::message::{Reply, Request};
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
        shape: Shape<'_>,
        file: &Arc<BlockFile>,
        work: &Arc<SharedWork>,
        progress: &Progress,
    ) -> Result<SentFile, ClientError> {
        self.spread(shape, Way::Put, async |flow: &Flow| {
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
        shape: Shape<'_>,
        file: &Arc<BlockFile>,
        coverage: &Arc<Coverage>,
        progress: &Progress,
    ) -> Result<ReceivedFile, ClientError> {
        self.spread(shape, Way::Get, async |flow: &Flow| {
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

    /// Does `carry` on the first session, and for a large file on the others, which join its transfer. Each of them tells
    /// the end of the whole, so the first success is it. Another session's failure is only a warning: what it had to
    /// carry goes to the rest.
    async fn spread<T>(
        &self,
        shape: Shape<'_>,
        way: Way,
        carry: impl AsyncFn(&Flow) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut home = pin!(carry(self.home()));
        if shape.size < SPREAD_MIN || !self.may_spread() {
            return home.await;
        }
        let carry = &carry;
        let mut others = pin!(async {
            let (token, queues) = match self.share(shape).await {
                Ok(shared) => shared,
                Err(error) => {
                    tracing::warn!(%error, "over one flow only");
                    return None;
                }
            };
            let flows = self.open_others(queues).await;
            let mut running: FuturesUnordered<_> = flows
                .iter()
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
        });
        tokio::select! {
            biased;
            outcome = &mut home => outcome,
            Some(done) = &mut others => Ok(done),
        }
    }

    /// Lets other sessions join a transfer: the token, and the server's queues.
    async fn share(&self, shape: Shape<'_>) -> Result<(u64, u16), ClientError> {
        let transfer = shape.transfer;
        let reply = self
            .request(shape.what, Request::Share { transfer })
            .await?;
        expect(shape.what, reply, |reply| match reply {
            Reply::Shared { token, queues } => Some((*token, *queues)),
            _ => None,
        })
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
