//! A file that is read and written in place.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use blk_proto::message::Attributes;
use rustix::fs::{
    Advice, FallocateFlags, OFlags, fadvise, fallocate, fcntl_getfl, fcntl_setfl, fstat, ftruncate,
};
use rustix::io::{Errno, ReadWriteFlags, preadv2, retry_on_intr};
use tokio::sync::Mutex;

use super::sync_directory as fsync;
use super::{FileError, FileErrorKind, attributes_of, check_regular};
use crate::disk::{BlockFile, Intent, cached};

/// Set-user-id and set-group-id.
const PRIVILEGES: u32 = 0o6000;

/// A regular file open for reading and writing in place, two ways: whole blocks of frames, direct where the file system
/// can, and a few bytes anywhere, through the page cache, by the second descriptor that [`BlockFile`] has for ranges that end
/// within a page.
///
/// Invariants, which the caller keeps:
///
/// - No page is touched both ways at the same time. The kernel writes dirty pages back before direct I/O and drops them
///   after it (mm/filemap.c, `kiocb_invalidate_pages`), but only those that lie still: a page that somebody dirties while
///   the device writes beneath it stays in the cache, and is stale.
/// - A sync that failed is not repeated and believed: the kernel reports a lost write once (fsync(2), EIO). From then on
///   every write and every sync by this `EditFile` fails; only who opens the file anew, and looks, knows what is there.
#[derive(Debug)]
pub struct EditFile {
    blocks: Arc<BlockFile>,
    label: Vec<u8>,
    identity: (u64, u64),
    /// One sync at a time: of two the kernel tells only one of a loss.
    syncing: Mutex<()>,
    is_lost: AtomicBool,
}

impl EditFile {
    /// Flags to open a file with, as [`SourceFile::OPEN_FLAGS`](super::SourceFile::OPEN_FLAGS).
    pub const OPEN_FLAGS: OFlags = OFlags::RDWR
        .union(OFlags::NONBLOCK)
        .union(OFlags::NOCTTY)
        .union(OFlags::CLOEXEC);

    /// Takes a file opened with [`OPEN_FLAGS`](Self::OPEN_FLAGS); `label` is its name in messages.
    ///
    /// # Errors
    ///
    /// [`FileErrorKind::IsDirectory`], [`FileErrorKind::NotRegular`], [`FileErrorKind::PermissionDenied`] for a program
    /// with set-user-id or set-group-id (who may store files must not change what runs as somebody else), and what the
    /// system calls report.
    pub fn from_fd(fd: OwnedFd, label: &[u8]) -> Result<EditFile, FileError> {
        let failed = |error: io::Error| FileError::new("open", label, error);
        let stat = fstat(&fd).map_err(|errno| failed(errno.into()))?;
        check_regular(&stat, label)?;
        if stat.st_mode & PRIVILEGES != 0 {
            return Err(FileError::explained(
                FileErrorKind::PermissionDenied,
                "open",
                label,
                "it has the set-user-id or set-group-id bit, so it is not written in place",
            ));
        }
        // io_uring takes O_NONBLOCK seriously on files too.
        fcntl_getfl(&fd)
            .and_then(|flags| fcntl_setfl(&fd, flags - OFlags::NONBLOCK))
            .map_err(|errno| failed(errno.into()))?;
        // No read-ahead: it would bring pages into the cache while the device writes them.
        fadvise(&fd, 0, None, Advice::Random).map_err(|errno| failed(errno.into()))?;
        let blocks = BlockFile::new(fd, Intent::Update).map_err(failed)?;
        Ok(EditFile {
            blocks: Arc::new(blocks),
            label: label.to_vec(),
            identity: (stat.st_dev, stat.st_ino),
            syncing: Mutex::new(()),
            is_lost: AtomicBool::new(false),
        })
    }

    /// The file for whole blocks.
    pub fn blocks(&self) -> &Arc<BlockFile> {
        &self.blocks
    }

    /// Device and inode number.
    pub fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// What it is now.
    ///
    /// # Errors
    ///
    /// What fstat(2) reports.
    pub fn attributes(&self) -> Result<Attributes, FileError> {
        let stat = fstat(&*self.blocks).map_err(|errno| self.failed("look at", errno))?;
        Ok(attributes_of(&stat))
    }

    /// Fails when an earlier sync has failed: what would be written could not be made durable by any later one.
    ///
    /// # Errors
    ///
    /// [`FileErrorKind::Io`].
    pub fn check_intact(&self) -> Result<(), FileError> {
        if !self.is_lost.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(FileError::explained(
            FileErrorKind::Io,
            "write",
            &self.label,
            "an earlier sync failed: what was written since the one before may be lost; open the file anew and look",
        ))
    }

    /// Writes a few bytes through the page cache. To be called inside a `tokio_uring` runtime, like all that is `async`
    /// here.
    ///
    /// # Errors
    ///
    /// What write(2) reports; some of the bytes may have been written. [`check_intact`](Self::check_intact).
    pub async fn write_at(&self, bytes: Vec<u8>, offset: u64) -> Result<(), FileError> {
        self.check_intact()?;
        if bytes.is_empty() {
            return Ok(());
        }
        let (result, _) = self.in_ring("write")?.write_all_at(bytes, offset).await;
        result.map_err(|error| self.failed("write", error))
    }

    /// Reads a few bytes through the page cache; fewer than `len` at the end of the file.
    ///
    /// # Errors
    ///
    /// What read(2) reports.
    pub async fn read_at(&self, offset: u64, len: usize) -> Result<Vec<u8>, FileError> {
        let file = self.in_ring("read")?;
        let mut bytes: Vec<u8> = Vec::with_capacity(len);
        while bytes.len() < len {
            let want = len - bytes.len();
            let at = offset.saturating_add(bytes.len() as u64);
            let (result, part) = file.read_at(Vec::with_capacity(want), at).await;
            match result {
                Ok(0) => break,
                // The kernel fills at most what was asked for; the vector may have more room.
                Ok(_) if bytes.is_empty() && part.len() == len => return Ok(part),
                Ok(count) => bytes.extend_from_slice(&part[..count.min(want)]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed("read", error)),
            }
        }
        Ok(bytes)
    }

    /// Reads a few bytes that are in the page cache already, without waiting for anything; fewer than `len` at the end of the
    /// file. `None`: they are not all there, or the kernel does not say so (before Linux 6.5), or something else is in the way;
    /// [`read_at`](Self::read_at) then tells what.
    pub fn read_cached(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        // To preadv2(2) -1 is no offset but the descriptor's own position.
        i64::try_from(offset).ok()?;
        let fd = self.blocks.buffered_fd().ok()?;
        if !is_cached(fd, offset, len as u64)? {
            return None;
        }
        let mut bytes = vec![0; len];
        let count = preadv2(
            fd,
            &mut [IoSliceMut::new(&mut bytes)],
            offset,
            ReadWriteFlags::NOWAIT,
        )
        .ok()?;
        if count < len {
            // The file ends there, or the cache does.
            let size = fstat(fd).ok()?.st_size as u64;
            if size > offset.saturating_add(count as u64) {
                return None;
            }
            bytes.truncate(count);
        }
        Some(bytes)
    }

    /// Makes durable what was written before this call, and the size.
    ///
    /// # Errors
    ///
    /// What fsync(2) reports, the first time; ever after [`check_intact`](Self::check_intact).
    pub async fn sync(&self) -> Result<(), FileError> {
        // Of any descriptor: fsync(2) is about the inode, and tells a loss to each that was open before it.
        self.sync_with(async || fsync(&*self.blocks).await).await
    }

    async fn sync_with(&self, sync: impl AsyncFnOnce() -> io::Result<()>) -> Result<(), FileError> {
        let _turn = self.syncing.lock().await;
        self.check_intact()?;
        sync().await.map_err(|error| {
            self.is_lost.store(true, Ordering::Release);
            self.failed("make durable", error)
        })
    }

    /// Sets the size in bytes; what it gains reads as zeros. May block.
    ///
    /// # Errors
    ///
    /// What ftruncate(2) reports. [`check_intact`](Self::check_intact).
    pub fn set_len(&self, size: u64) -> Result<(), FileError> {
        self.check_intact()?;
        retry_on_intr(|| ftruncate(&*self.blocks, size))
            .map_err(|errno| self.failed("set the size of", errno))
    }

    /// Reserves space; the file grows when the range reaches beyond its end. May block.
    ///
    /// # Errors
    ///
    /// What fallocate(2) reports. [`check_intact`](Self::check_intact).
    pub fn reserve(&self, offset: u64, len: u64) -> Result<(), FileError> {
        self.check_intact()?;
        retry_on_intr(|| fallocate(&*self.blocks, FallocateFlags::empty(), offset, len))
            .map_err(|errno| self.failed("reserve space of", errno))
    }

    /// Gives space back: it reads as zeros from now on. The size stays. May block.
    ///
    /// # Errors
    ///
    /// What fallocate(2) reports. [`check_intact`](Self::check_intact).
    pub fn punch(&self, offset: u64, len: u64) -> Result<(), FileError> {
        self.check_intact()?;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        retry_on_intr(|| fallocate(&*self.blocks, flags, offset, len))
            .map_err(|errno| self.failed("punch a hole into", errno))
    }

    /// `tokio_uring` owns the descriptors that it works on, so it gets one of its own.
    fn in_ring(&self, operation: &'static str) -> Result<tokio_uring::fs::File, FileError> {
        let owned = self
            .blocks
            .buffered_fd()
            .and_then(|fd| fd.try_clone_to_owned())
            .map_err(|error| self.failed(operation, error))?;
        Ok(tokio_uring::fs::File::from_std(File::from(owned)))
    }

    fn failed(&self, operation: &'static str, error: impl Into<io::Error>) -> FileError {
        let error = error.into();
        let kind = match Errno::from_io_error(&error) {
            Some(Errno::OPNOTSUPP) => Some(FileErrorKind::Unsupported),
            // Offsets that the kernel's signed numbers do not hold.
            Some(Errno::INVAL) => Some(FileErrorKind::TooLarge),
            _ => None,
        };
        let error = FileError::new(operation, &self.label, error);
        match kind {
            Some(kind) => error.with_kind(kind),
            None => error,
        }
    }
}

/// Whether a range is in the page cache, up to the end of the file. RWF_NOWAIT alone does not wait for what is missing, but has the
/// device read it (mm/filemap.c, `filemap_get_pages`), and that can keep the caller.
fn is_cached(fd: BorrowedFd<'_>, offset: u64, len: u64) -> Option<bool> {
    let is_there = |len| cached(fd, offset, len).map(|found| found.cached == found.pages);
    // To cachestat(2) no bytes are all there are.
    if len == 0 || is_there(len)? {
        return Some(true);
    }
    let size = fstat(fd).ok()?.st_size as u64;
    match size.saturating_sub(offset) {
        0 => Some(true),
        rest if rest < len => is_there(rest),
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use rustix::fs::{CWD, Mode, openat};

    fn edit(path: &std::path::Path) -> Result<EditFile, FileError> {
        let fd = openat(CWD, path, EditFile::OPEN_FLAGS, Mode::empty()).unwrap();
        EditFile::from_fd(fd, b"file")
    }

    #[test]
    fn bytes_go_in_and_out_anywhere() {
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = directory.path().join("file");
        fs::write(&path, b"0123456789").unwrap();
        let file = edit(&path).unwrap();
        tokio_uring::start(async {
            file.write_at(b"abc".to_vec(), 4).await.unwrap();
            file.write_at(b"end".to_vec(), 5000).await.unwrap();
            assert_eq!(file.read_at(3, 5).await.unwrap(), b"3abc7");
            assert_eq!(file.read_at(4999, 100).await.unwrap(), b"\0end");
            assert!(file.read_at(5003, 100).await.unwrap().is_empty());
            file.sync().await.unwrap();
        });
        assert_eq!(file.attributes().unwrap().size, 5003);
        file.set_len(6).unwrap();
        file.reserve(0, 9000).unwrap();
        file.punch(1, 2).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!((bytes.len(), &bytes[..7]), (9000, &b"0\0\x003ab\0"[..]));
    }

    #[test]
    fn what_is_cached_is_read_at_once_and_nothing_else() {
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = directory.path().join("file");
        let content: Vec<u8> = (0..20_000_u32).map(|at| at as u8).collect();
        fs::write(&path, &content).unwrap();
        let whole = fs::OpenOptions::new().write(true).open(&path).unwrap();
        let file = edit(&path).unwrap();
        if cached(whole.as_fd(), 0, 4096).is_none() {
            return crate::skip::skip("no cachestat(2)");
        }
        assert_eq!(file.read_cached(4000, 5000).unwrap(), content[4000..9000]);
        assert_eq!(file.read_cached(19_990, 100).unwrap(), content[19_990..]);
        assert!(file.read_cached(20_000, 1).unwrap().is_empty());
        assert!(file.read_cached(u64::MAX, 1).is_none());
        tokio_uring::start(async {
            file.write_at(vec![9; 3], 4096).await.unwrap();
        });
        assert_eq!(file.read_cached(4095, 2).unwrap(), [content[4095], 9]);
        if !file.blocks().is_direct() {
            return; // tmpfs: there is nothing but the cache
        }
        whole.sync_all().unwrap();
        fadvise(&whole, 0, None, Advice::DontNeed).unwrap();
        let fd = file.blocks().buffered_fd().unwrap();
        for (offset, len) in [(0, 20_000), (8192, 4096), (19_000, 5000)] {
            assert_eq!(file.read_cached(offset, len), None);
            // Nor does the device read it now for that.
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(cached(fd, 0, 20_000).unwrap().cached, 0);
        }
        assert!(file.read_cached(0, 0).unwrap().is_empty());
        // One page of five.
        tokio_uring::start(async { file.read_at(8192, 1).await.unwrap() });
        assert_eq!(file.read_cached(8200, 100).unwrap(), content[8200..8300]);
        assert_eq!(file.read_cached(8100, 100), None);
    }

    #[test]
    fn a_file_in_place_takes_two_descriptors() {
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = directory.path().join("file");
        fs::write(&path, b"x").unwrap();
        let file = edit(&path).unwrap();
        let links = fs::read_dir("/proc/self/fd").unwrap();
        let links = links.filter_map(|link| fs::read_link(link.ok()?.path()).ok());
        let most = 1 + usize::from(file.blocks().is_direct());
        assert_eq!(links.filter(|to| *to == path).count(), most);
    }

    #[test]
    fn after_a_sync_that_failed_nothing_is_believed() {
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = directory.path().join("file");
        fs::write(&path, b"x").unwrap();
        let file = edit(&path).unwrap();
        tokio_uring::start(async {
            let failing = async || Err(Errno::IO.into());
            assert!(file.sync_with(failing).await.is_err());
            let error = file.sync().await.unwrap_err();
            assert!(
                error.to_string().contains("an earlier sync failed"),
                "{error}"
            );
            assert!(file.write_at(vec![1], 0).await.is_err());
            assert!(file.set_len(0).is_err());
            assert_eq!(file.read_at(0, 1).await.unwrap(), b"x");
            let anew = edit(&path).unwrap();
            anew.write_at(vec![1], 0).await.unwrap();
            anew.sync().await.unwrap();
        });
    }

    #[test]
    fn programs_with_privileges_are_left_alone() {
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = directory.path().join("file");
        fs::write(&path, b"x").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4755)).unwrap();
        let error = edit(&path).unwrap_err();
        assert_eq!(error.kind, FileErrorKind::PermissionDenied);
    }
}
