//! The journal while blocks arrive: from runs that are written to pieces that are there.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use rustix::io::Errno;

use super::{Journal, Scribe, State};
use crate::disk::BlockFile;
use crate::engine::{FileChecksum, WriteObserver};
use crate::files::directory::{sync_all, sync_data};
use crate::files::pool::in_pool;

/// A partial file that is being written, and its journal. Told of runs by several threads at once.
#[derive(Debug)]
pub(in crate::files) struct Progress {
    /// This one, for the scribe.
    itself: Weak<Progress>,
    journal: Arc<Journal>,
    file: Arc<BlockFile>,
    scribe: Scribe,
    /// Held for less than a microsecond, by workers too: nothing is written meanwhile.
    open: Mutex<Open>,
    /// Held while entries are written, however long that takes: never by a worker, unless there is no scribe.
    noting: Mutex<()>,
    /// The journal cannot be written any more; the put goes on without it.
    ended: AtomicBool,
    /// A sync of the file failed: what it should have made durable is lost, and no later sync will say so again.
    lost: OnceLock<i32>,
    /// One sync at a time: the kernel tells a lost write to one of them only.
    syncing: tokio::sync::Mutex<()>,
}

/// A piece that is there, and its checksum.
pub(in crate::files) type Piece = (u64, u32);

/// What is being counted.
#[derive(Debug, Default)]
struct Open {
    /// Pieces of which a part is written.
    pieces: HashMap<u64, FileChecksum>,
    /// Pieces whose entries are to be written.
    pending: Vec<Piece>,
    /// What was written since the last sync began.
    unsynced: Unsynced,
    closed: bool,
}

#[derive(Debug, Default)]
struct Unsynced {
    pieces: Vec<Piece>,
    bytes: u64,
}

impl Progress {
    /// Of a journal that may have pieces already: `written` are those of them that no sync has made durable.
    pub(in crate::files) fn new(
        journal: Journal,
        file: Arc<BlockFile>,
        scribe: Scribe,
        written: Vec<Piece>,
    ) -> Arc<Progress> {
        let length = |piece: &Piece| {
            let (start, end) = journal.layout().piece(piece.0);
            end - start
        };
        let unsynced = Unsynced {
            bytes: written.iter().map(length).sum(),
            pieces: written,
        };
        let open = Open {
            unsynced,
            ..Open::default()
        };
        Arc::new_cyclic(|itself| Progress {
            itself: itself.clone(),
            journal: Arc::new(journal),
            file,
            scribe,
            open: Mutex::new(open),
            noting: Mutex::default(),
            ended: AtomicBool::new(false),
            lost: OnceLock::new(),
            syncing: tokio::sync::Mutex::new(()),
        })
    }

    pub(in crate::files) fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// The file, to be synced.
    pub(in crate::files) fn file(&self) -> &Arc<BlockFile> {
        &self.file
    }

    /// Bytes of whole pieces written since the last sync began.
    pub(in crate::files) fn unsynced(&self) -> u64 {
        lock(&self.open).unsynced.bytes
    }

    /// Whether the journal can still be written.
    pub(in crate::files) fn is_kept(&self) -> bool {
        !self.ended.load(Ordering::Relaxed)
    }

    /// Makes what is written durable, then notes that it is. To be called inside a `tokio_uring` runtime.
    ///
    /// # Errors
    ///
    /// That of the sync of the file, now or earlier: then the file must not be used. A journal that cannot be written is no
    /// error of the file ([`is_kept`](Progress::is_kept)).
    pub(in crate::files) async fn sync(self: &Arc<Self>) -> io::Result<()> {
        self.synced_by(async |file| sync_data(file).await).await?;
        if !self.is_kept() {
            return Ok(());
        }
        if let Err(error) = sync_all(&self.journal).await {
            self.end(&error);
        }
        Ok(())
    }

    /// The same for any way to sync the file, and without the sync of the journal.
    pub(in crate::files) async fn synced_by(
        self: &Arc<Self>,
        sync: impl AsyncFnOnce(&Arc<BlockFile>) -> io::Result<()>,
    ) -> io::Result<()> {
        let _turn = self.syncing.lock().await;
        if let Some(code) = self.lost.get() {
            return Err(io::Error::from_raw_os_error(*code));
        }
        let before = std::mem::take(&mut lock(&self.open).unsynced);
        let progress = self.clone();
        if let Err(error) = sync(&self.file).await {
            let code = error.raw_os_error().unwrap_or(Errno::IO.raw_os_error());
            // Set once only: whoever comes later finds it.
            let _ = self.lost.set(code);
            in_pool(move || progress.void()).await?;
            return Err(error);
        }
        in_pool(move || progress.note_synced(before.pieces)).await
    }

    /// Writes the entries that are to be written.
    pub(super) fn flush(&self) {
        let turn = lock(&self.noting);
        self.note_pending(&turn);
    }

    fn note_pending(&self, turn: &MutexGuard<'_, ()>) {
        let pending = std::mem::take(&mut lock(&self.open).pending);
        self.note(pending, State::Written, turn);
    }

    /// Those of the same pieces that are to be written come first: later they would take back that the piece is durable.
    fn note_synced(&self, pieces: Vec<Piece>) {
        let turn = lock(&self.noting);
        self.note_pending(&turn);
        self.note(pieces, State::Synced, &turn);
    }

    /// Writes entries, neighbours together.
    fn note(&self, mut pieces: Vec<Piece>, state: State, _turn: &MutexGuard<'_, ()>) {
        pieces.sort_unstable();
        for run in pieces.chunk_by(|before, after| before.0 + 1 == after.0) {
            let checksums: Vec<u32> = run.iter().map(|piece| piece.1).collect();
            if !self.is_kept() {
                return;
            }
            if let Err(error) = self.journal.note(run[0].0, &checksums, state) {
                self.end(&error);
            }
        }
    }

    /// A sync of the file failed: nobody may go on with what the journal says, now or after this program.
    fn void(&self) {
        self.ended.store(true, Ordering::Relaxed);
        let _turn = lock(&self.noting);
        if let Err(error) = self.journal.void() {
            tracing::error!(%error, "a partial file lost data and its journal cannot be cut: it must not be gone on with");
        }
    }

    fn end(&self, error: &io::Error) {
        if !self.ended.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "cannot write the journal of a partial file: its put goes on, but cannot be resumed");
        }
    }

    /// Counts no more: what is told from now on was written too late, and may be given back.
    pub(in crate::files) fn close(&self) {
        lock(&self.open).closed = true;
    }

    /// Counts and notes no more: the journal goes.
    pub(in crate::files) fn give_up(&self) {
        let mut open = lock(&self.open);
        open.closed = true;
        open.pending.clear();
    }

    /// Adds a run to its piece; the checksum of the piece when it is whole.
    fn add(&self, open: &mut Open, piece: u64, offset: u64, len: u64, crc: u32) -> Option<u32> {
        let (start, end) = self.journal.layout().piece(piece);
        if len == end - start {
            return Some(crc);
        }
        let checksum = open
            .pieces
            .entry(piece)
            .or_insert_with(|| FileChecksum::new(end - start));
        checksum.add(offset + len - start, len, crc);
        let whole = checksum.finish();
        if whole.is_some() {
            open.pieces.remove(&piece);
        }
        whole
    }
}

impl WriteObserver for Progress {
    fn written(&self, offset: u64, len: u64, crc: u32) {
        // A run across a bound would have one checksum for parts of two pieces: those count as missing.
        let Some(piece) = self.journal.layout().piece_of(offset, len) else {
            return;
        };
        let mut open = lock(&self.open);
        if open.closed || !self.is_kept() {
            return;
        }
        let Some(crc) = self.add(&mut open, piece, offset, len, crc) else {
            return;
        };
        let (start, end) = self.journal.layout().piece(piece);
        open.unsynced.pieces.push((piece, crc));
        open.unsynced.bytes += end - start;
        let is_awake = !open.pending.is_empty();
        open.pending.push((piece, crc));
        drop(open);
        if !is_awake && !self.scribe.wake(&self.itself) {
            self.flush();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // The scribe finds nobody any more.
        self.flush();
    }
}

impl AsFd for Progress {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.journal.as_fd()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No method panics in the middle of a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
