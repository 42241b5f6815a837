//! Files that are written in place through the client library, with a sync now and then.

use std::sync::Arc;

use anyhow::{Context, Result};
use blk_bench::lab::hosts::Host;
use blk_bench::lab::inside::on_client;
use blk_bench::powerloss::RangedWrite;
use blk_client::{Connection, OpenOptions, RemoteFile, RemotePath};

use super::workload::Scene;

/// A file grows up to this size.
const SIZE: u64 = 1 << 20;

/// Times that each file is opened, and syncs of it then.
const OPENED: usize = 2;
const SYNCS: usize = 6;

/// Most writes between two syncs.
const WRITES: u64 = 5;

/// A few bytes, some pages, and what goes in blocks.
const LENGTHS: [u64; 4] = [300, 6_000, 60_000, 400_000];

impl Scene {
    /// Two files are made, and written to at random offsets. The last writes before each close are not synced.
    pub(super) fn in_place(&mut self) -> Result<()> {
        self.free(Host::Client)?;
        let hosts = Arc::clone(&self.hosts);
        on_client(&hosts, async |connection: &Connection| {
            for _ in 0..OPENED {
                for name in ["in-place-1", "in-place-2"] {
                    self.written(connection, name).await?;
                }
            }
            Ok(())
        })
    }

    async fn written(&mut self, connection: &Connection, name: &str) -> Result<()> {
        let file = open(connection, name).await?;
        let name = format!("data/{name}");
        for _ in 0..SYNCS {
            self.writes(&file, &name).await?;
            file.sync().await.context("cannot sync")?;
            self.recording.synced(&name);
        }
        self.writes(&file, &name).await?;
        file.close().await.context("cannot close")
    }

    async fn writes(&mut self, file: &RemoteFile, name: &str) -> Result<()> {
        for _ in 0..=self.random.below(WRITES) {
            let most = LENGTHS[self.random.below(LENGTHS.len() as u64) as usize];
            let write = RangedWrite {
                offset: self.random.below(SIZE),
                len: 1 + self.random.below(most) as usize,
                seed: self.random.bits(),
            };
            self.recording.write(name, write);
            file.write_at(&write.bytes(), write.offset)
                .await
                .with_context(|| format!("cannot write to {name}"))?;
        }
        Ok(())
    }
}

async fn open(connection: &Connection, name: &str) -> Result<RemoteFile> {
    let path = RemotePath {
        host: "10.77.0.1".to_owned(),
        export: "data".to_owned(),
        path: name.as_bytes().to_vec(),
        trailing_slash: false,
    };
    let create = Some(0o644);
    connection
        .open_file(&path, OpenOptions { create })
        .await
        .with_context(|| format!("cannot open {name}"))
}
