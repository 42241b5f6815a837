//! Files to the server: whole, sparse, or the rest of one of which an earlier put brought a part.

use std::sync::Arc;

use blk_datapath::engine::{Progress, SharedWork, TransferError};
use blk_datapath::files::SourceFile;
use blk_proto::message::{Extent, Identity, Reply, Request};

use crate::address::RemotePath;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::flow::Flow;
use crate::resume::{self, RESUME_MIN};
use crate::spread::Shape;
use crate::transfer::{Copied, Transfer, check_missing, expect};
use crate::verify::{Mismatch, verify};

/// So often a commit is asked for, and what is missing sent again.
const COMMIT_TRIES: usize = 8;

/// How a file is put.
#[derive(Debug, Clone)]
pub struct PutOptions {
    /// Whether what an earlier put of the same source brought is gone on with, and what this one brings is kept when it
    /// does not come to its end. Of files smaller than [`RESUME_MIN`] nothing is kept.
    pub resume: bool,
    /// Counts the bytes that need not be sent: what is there already, and holes. [`Progress`] of the put counts the
    /// others.
    pub present: Progress,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self {
            resume: true,
            present: Progress::default(),
        }
    }
}

/// One put on its way.
struct Put<'a> {
    what: &'a str,
    source: &'a SourceFile,
    target: &'a RemotePath,
    progress: &'a Progress,
    present: &'a Progress,
    holes: &'a [(u64, u64)],
}

/// What became of an attempt.
enum Attempt {
    Stored(Copied),
    /// What the server has is not what the source has there.
    Differs,
}

impl Connection {
    /// Stores a file: durable under its name at the other end when this returns `Ok`. Holes stay holes.
    /// When an earlier put of the same, unchanged file did not come to its end, this one goes on with what arrived.
    pub async fn put(
        &self,
        source: &SourceFile,
        target: &RemotePath,
        progress: Progress,
    ) -> Result<Copied, ClientError> {
        self.put_with(source, target, progress, &PutOptions::default())
            .await
    }

    /// As [`put`](Self::put), with options.
    pub async fn put_with(
        &self,
        source: &SourceFile,
        target: &RemotePath,
        progress: Progress,
        options: &PutOptions,
    ) -> Result<Copied, ClientError> {
        let what = target.to_string();
        let kept = source.attributes().size >= RESUME_MIN;
        let holes = resume::holes(source).await;
        let put = Put {
            what: &what,
            source,
            target,
            progress: &progress,
            present: &options.present,
            holes: &holes,
        };
        if !kept && holes.is_empty() {
            return self.put_small(&put).await;
        }
        let identity = match kept && options.resume {
            true => Some(resume::identity(source)?),
            false => None,
        };
        if let Attempt::Stored(copied) = self.put_large(&put, identity).await? {
            return Ok(copied);
        }
        tracing::warn!(
            file = what,
            "what the server has of an earlier put is not what the file has there: it is sent from its beginning"
        );
        // With an identity that nothing else has: what the server has is dropped.
        let afresh = Some(resume::unlike_any());
        match self.put_large(&put, afresh).await? {
            Attempt::Stored(copied) => Ok(copied),
            Attempt::Differs => Err(ClientError::Unexpected {
                what: what.clone(),
                reply: "it says that a part of a file is there that was never sent".to_owned(),
            }),
        }
    }

    /// A file of which nothing is kept when its put does not come to its end.
    async fn put_small(&self, put: &Put<'_>) -> Result<Copied, ClientError> {
        let spec = put.source.attributes();
        let home = self.lead();
        let transfer = Transfer::new(self);
        let request = Request::Put {
            transfer: transfer.number,
            export: put.target.export.clone(),
            path: put.target.path.clone(),
            size: spec.size,
            mode: spec.mode,
            mtime_ns: spec.mtime_ns,
        };
        expect(put.what, home.request(put.what, request).await?, |reply| {
            matches!(reply, Reply::PutReady).then_some(())
        })?;
        let shape = put.shape(&transfer);
        let work = Arc::new(SharedWork::new(0, spec.size));
        let sent = self
            .send_all(home, shape, put.source.file(), &work, put.progress)
            .await?;
        self.finish(put, home, transfer, sent.crc).await
    }

    /// A file that may have holes, and of which the server may have a part. That part is compared with the source, by its
    /// checksums, while the rest is sent.
    async fn put_large(
        &self,
        put: &Put<'_>,
        identity: Option<Identity>,
    ) -> Result<Attempt, ClientError> {
        let home = self.lead();
        let transfer = Transfer::new(self);
        let done = put.begin(home, transfer.number, identity).await?;
        let there = resume::present(&done, put.holes, put.source.attributes().size);
        let Some(there) = there else {
            return Err(ClientError::Unexpected {
                what: put.what.to_owned(),
                reply: "what it has of the file overlaps, or lies beyond its end".to_owned(),
            });
        };
        let (resumed, present) = (sum(&done), sum(&there));
        if resumed > 0 {
            tracing::info!(file = put.what, resumed, "an earlier put goes on");
        }
        put.present.add(present);
        let shape = put.shape(&transfer);
        let work = Arc::new(SharedWork::without(0, shape.size, &there));
        let send = self.send_all(home, shape, put.source.file(), &work, put.progress);
        let verify = verify(put.source, done);
        // The first failure of either ends both.
        let sent = async { send.await.map_err(Mismatch::Failed) };
        let sent = match tokio::try_join!(sent, verify) {
            Ok((sent, ())) => sent,
            Err(Mismatch::Differs) => {
                put.present.take_back(present);
                // What it has must go before the file is sent again: it would be in the way.
                let transfer = transfer.number;
                let reply = self
                    .ask_for(home, shape, Request::Discard { transfer })
                    .await?;
                expect(put.what, reply, |reply| {
                    matches!(reply, Reply::Closed).then_some(())
                })?;
                return Ok(Attempt::Differs);
            }
            Err(Mismatch::Failed(error)) => return Err(error),
        };
        let copied = self.finish(put, home, transfer, sent.crc).await?;
        Ok(Attempt::Stored(Copied {
            resumed_bytes: resumed,
            ..copied
        }))
    }

    /// Everything is sent: has the server store it.
    async fn finish(
        &self,
        put: &Put<'_>,
        home: &Flow,
        transfer: Transfer<'_>,
        crc: u32,
    ) -> Result<Copied, ClientError> {
        if !put.source.unchanged().unwrap_or(false) {
            return Err(ClientError::Changed {
                what: put.what.to_owned(),
            });
        }
        let shape = put.shape(&transfer);
        let reply = self.commit(home, shape, put.source, crc).await?;
        transfer.over();
        expect(put.what, reply, |reply| match reply {
            Reply::Committed {
                zero_copy_bytes,
                copied_bytes,
            } => Some(Copied {
                bytes: shape.size,
                crc,
                zero_copy_bytes: *zero_copy_bytes,
                copied_bytes: *copied_bytes,
                reads: put.source.file().reads(),
                ..Copied::default()
            }),
            _ => None,
        })
    }

    /// Commits a put; what the server says is missing, because a flow died with blocks that it had acknowledged, is sent
    /// again first.
    async fn commit(
        &self,
        home: &Flow,
        shape: Shape<'_>,
        source: &SourceFile,
        crc: u32,
    ) -> Result<Reply, ClientError> {
        let transfer = shape.transfer;
        for _ in 0..COMMIT_TRIES {
            let request = Request::Commit { transfer, crc };
            let reply = self.ask_for(home, shape, request).await?;
            let Reply::Missing { ranges } = reply else {
                return Ok(reply);
            };
            for (offset, len) in ranges {
                check_missing(shape.what, (offset, len), (0, shape.size))?;
                tracing::info!(
                    file = shape.what,
                    offset,
                    len,
                    "sending again what is missing"
                );
                let work = Arc::new(SharedWork::new(offset, len));
                let part = Shape { size: len, ..shape };
                let flow = self.part_of(home, transfer);
                self.send_all(flow, part, source.file(), &work, &Progress::default())
                    .await?;
            }
        }
        Err(ClientError::Transfer {
            what: shape.what.to_owned(),
            source: TransferError::Incomplete,
        })
    }
}

impl<'a> Put<'a> {
    fn shape(&self, transfer: &Transfer<'_>) -> Shape<'a> {
        Shape {
            what: self.what,
            transfer: transfer.number,
            size: self.source.attributes().size,
        }
    }

    /// Has the server expect the file; what it has of it.
    async fn begin(
        &self,
        home: &Flow,
        transfer: u32,
        identity: Option<Identity>,
    ) -> Result<Vec<Extent>, ClientError> {
        let spec = self.source.attributes();
        let request = Request::Begin {
            transfer,
            export: self.target.export.clone(),
            path: self.target.path.clone(),
            size: spec.size,
            mode: spec.mode,
            mtime_ns: spec.mtime_ns,
            identity,
            holes: self.holes.to_vec(),
        };
        let reply = home.request(self.what, request).await?;
        expect(self.what, reply, |reply| match reply {
            Reply::Begun { done } => Some(done.clone()),
            _ => None,
        })
    }
}

fn sum(extents: &[Extent]) -> u64 {
    extents.iter().map(|extent| extent.len).sum()
}
