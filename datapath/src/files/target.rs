//! A file being received: space reserved, bytes arriving, no name yet.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, FallocateFlags, FileType, Mode, OFlags, fallocate, openat, statat};
use rustix::io::{Errno, retry_on_intr};

use super::journal::Layout;
use super::name::HiddenName;
use super::partial::{OlderPartial, Partial};
use super::{FileError, FileErrorKind, check_name};
use crate::disk::{BlockFile, Intent};
use crate::engine::{ByteRange, Coverage};

/// Space is reserved in units of this many bytes: a multiple of every logical block size in use
/// (512 and 4096), so that the last block can be written whole by O_DIRECT inside the reservation.
pub(super) const RESERVE_UNIT: u64 = 4096;

/// Largest file: what the kernel's signed offsets hold, less the rounding of the reservation.
const SIZE_MAX: u64 = (i64::MAX as u64) - RESERVE_UNIT;

/// Reservations up to this many bytes are made by a plain system call (microseconds); larger ones
/// may take many extents and go through the ring where there is one.
const RESERVE_INLINE: u64 = 64 << 20;

/// What a file must be when it is complete.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct TargetSpec {
    /// Exact length in bytes.
    pub size: u64,
    /// Permission bits; only 0o777 is taken. Set-user-id and its kin are dropped: they would turn
    /// the right to store a file into the right to run a program as the daemon's user.
    pub mode: u32,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
}

/// A file that is being received. It becomes visible, whole and durable, by
/// [`commit`](PendingTarget::commit); dropped without it, it leaves nothing behind, unless it
/// [can be resumed](PendingTarget::is_resumable): then it stays as after a crash, in `.blockd`.
#[derive(Debug)]
pub struct PendingTarget {
    pub(super) file: Arc<BlockFile>,
    pub(super) directory: Arc<OwnedFd>,
    pub(super) name: Vec<u8>,
    /// The name in error messages.
    pub(super) label: Vec<u8>,
    pub(super) spec: TargetSpec,
    /// Where O_TMPFILE is missing: the name that the file bears until its commit.
    pub(super) hidden: Option<HiddenName>,
    /// What makes it survive this program; then it has no hidden name.
    pub(super) partial: Option<Box<Partial>>,
    pub(super) around: Box<Around>,
}

/// What a target need not have.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// By what the writes to the file are claimed.
    pub(super) writes: Option<Arc<Coverage>>,
    /// Where an earlier put of the same path may have left something.
    pub(super) older: Option<OlderPartial>,
}

impl PendingTarget {
    /// Opens a file without a name in `directory`, to be called `name` one day, and reserves its
    /// space. `directory` must be open for reading (not O_PATH), so that it can be synced.
    ///
    /// Whatever bears the name keeps it until the commit. A symbolic link of that name is going to
    /// be replaced itself; its target is not touched.
    ///
    /// # Errors
    ///
    /// [`FileErrorKind::IsDirectory`] and [`FileErrorKind::NotRegular`] when the name is a
    /// directory, or a device, FIFO or socket; [`FileErrorKind::NoSpace`] when the file does not
    /// fit; [`FileErrorKind::TooLarge`]; [`FileErrorKind::InvalidName`]; and what the system calls
    /// report.
    pub fn create(
        directory: OwnedFd,
        name: &OsStr,
        spec: TargetSpec,
    ) -> Result<PendingTarget, FileError> {
        let layout = layout_of(name.as_bytes(), spec, &[])?;
        let target = PendingTarget::open(Arc::new(directory), name.as_bytes(), spec, open_unnamed)?;
        target.reserve_now(&layout)?;
        Ok(target)
    }

    /// As [`create`](PendingTarget::create), but a large reservation does not block the thread, and no space is
    /// reserved for `holes`: offsets and lengths, ascending, apart, in multiples of
    /// [`HOLE_UNIT`](blk_proto::message::HOLE_UNIT) but for the end of the file. To be called inside a `tokio_uring`
    /// runtime.
    ///
    /// # Errors
    ///
    /// As `create`; [`FileErrorKind::InvalidRange`].
    pub async fn create_in_ring(
        directory: OwnedFd,
        name: &OsStr,
        spec: TargetSpec,
        holes: &[ByteRange],
    ) -> Result<PendingTarget, FileError> {
        let layout = layout_of(name.as_bytes(), spec, holes)?;
        let target = PendingTarget::open(Arc::new(directory), name.as_bytes(), spec, open_unnamed)?;
        target.reserve(&layout).await?;
        Ok(target)
    }

    /// The file, open for reading and writing. Every write to it must be complete before the
    /// commit starts; bytes beyond the exact size are cut off.
    pub fn file(&self) -> &Arc<BlockFile> {
        &self.file
    }

    /// What the file is going to be.
    pub fn spec(&self) -> &TargetSpec {
        &self.spec
    }

    /// The name for error messages, by default the name in the directory.
    pub fn set_label(&mut self, label: &[u8]) {
        self.label = label.to_vec();
    }

    pub(super) fn open(
        directory: Arc<OwnedFd>,
        name: &[u8],
        spec: TargetSpec,
        open_file: impl FnOnce(&Arc<OwnedFd>, &[u8]) -> io::Result<OpenedFile>,
    ) -> Result<PendingTarget, FileError> {
        check_name("create", name)?;
        check_replaceable(&directory, name)?;
        let (fd, hidden) =
            open_file(&directory, name).map_err(|e| FileError::new("create", name, e))?;
        let file =
            BlockFile::new(fd, Intent::Write).map_err(|e| FileError::new("create", name, e))?;
        Ok(PendingTarget {
            hidden,
            ..PendingTarget::of(Arc::new(file), directory, name, spec)
        })
    }

    /// An open file that is to have a name.
    pub(super) fn of(
        file: Arc<BlockFile>,
        directory: Arc<OwnedFd>,
        name: &[u8],
        spec: TargetSpec,
    ) -> PendingTarget {
        PendingTarget {
            file,
            directory,
            name: name.to_vec(),
            label: name.to_vec(),
            spec,
            hidden: None,
            partial: None,
            around: Box::default(),
        }
    }

    /// Tells by what the writes to the file are claimed: [`commit`](PendingTarget::commit),
    /// [`keep`](PendingTarget::keep) and [`quiet`](PendingTarget::quiet) wait until none of them is under way.
    pub fn written_by(&mut self, coverage: Arc<Coverage>) {
        self.around.writes = Some(coverage);
    }

    /// Has no more writes begin: the transfer is over.
    pub fn close(&self) {
        if let Some(writes) = &self.around.writes {
            writes.close();
        }
    }

    /// [Closes](PendingTarget::close) it; ready when the last write is over. Whoever holds the file's place after that
    /// is not disturbed by it.
    pub async fn quiet(&self) {
        if let Some(writes) = &self.around.writes {
            writes.quiet().await;
        }
    }

    /// Reserves the space of the data, in the ring when that may take long.
    pub(super) async fn reserve(&self, layout: &Layout) -> Result<(), FileError> {
        if layout.data_len() <= RESERVE_INLINE {
            self.reserve_now(layout)
        } else {
            self.reserve_in_ring(layout).await
        }
    }

    fn reserve_now(&self, layout: &Layout) -> Result<(), FileError> {
        for (offset, len) in reservations(layout) {
            let result = retry_on_intr(|| {
                fallocate(self.file.as_fd(), FallocateFlags::empty(), offset, len)
            });
            self.reserved(result.map_err(io::Error::from))?;
        }
        Ok(())
    }

    async fn reserve_in_ring(&self, layout: &Layout) -> Result<(), FileError> {
        let fd = self
            .file
            .as_fd()
            .try_clone_to_owned()
            .map_err(|e| FileError::new("create", &self.name, e))?;
        let file = tokio_uring::fs::File::from_std(File::from(fd));
        for (offset, len) in reservations(layout) {
            let result = loop {
                match file.fallocate(offset, len, 0).await {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    result => break result,
                }
            };
            self.reserved(result)?;
        }
        Ok(())
    }

    /// A file system that cannot reserve is told apart from one that has no room.
    fn reserved(&self, result: io::Result<()>) -> Result<(), FileError> {
        match result {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::OPNOTSUPP) => {
                Err(FileError::new("create", &self.name, error))
            }
            _ => Ok(()),
        }
    }
}

/// The ranges to reserve, offsets and lengths: those of data, rounded up so that the last block fits whole.
fn reservations(layout: &Layout) -> impl Iterator<Item = ByteRange> + '_ {
    layout
        .data()
        .map(|(start, end)| (start, end.next_multiple_of(RESERVE_UNIT) - start))
}

/// The pieces of a file, if its size and its holes can be had.
pub(super) fn layout_of(
    name: &[u8],
    spec: TargetSpec,
    holes: &[ByteRange],
) -> Result<Layout, FileError> {
    if spec.size > SIZE_MAX {
        return Err(FileError::new("create", name, Errno::FBIG));
    }
    Layout::new(spec.size, holes).ok_or_else(|| {
        FileError::explained(
            FileErrorKind::InvalidRange,
            "create",
            name,
            "its holes are not in order, not multiples of 4096, beyond its end or too many",
        )
    })
}

/// Refuses names that a commit must not or could not take over.
///
/// Directories cannot be replaced by rename; devices, FIFOs and sockets could, but whoever names
/// `/dev/null` as a target wants anything but its replacement by a file.
pub(super) fn check_replaceable(directory: &OwnedFd, name: &[u8]) -> Result<(), FileError> {
    let stat = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(FileError::new("create", name, errno)),
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::Symlink => Ok(()),
        FileType::Directory => Err(FileError::new("create", name, Errno::ISDIR)),
        _ => Err(FileError::explained(
            FileErrorKind::NotRegular,
            "create",
            name,
            "the name is a device, FIFO or socket, which a file does not replace",
        )),
    }
}

/// A new file, and the name that it bears until its commit, if any.
pub(super) type OpenedFile = (OwnedFd, Option<HiddenName>);

/// Private until the commit sets the mode: a half-received file is nobody else's business.
const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Readable too: the last, partial block may have to be read back.
const TARGET_FLAGS: OFlags = OFlags::RDWR.union(OFlags::CLOEXEC);

/// Opens a file without a name, or under a hidden one where the file system needs a name.
pub(super) fn open_unnamed(directory: &Arc<OwnedFd>, name: &[u8]) -> io::Result<OpenedFile> {
    match openat(directory, c".", TARGET_FLAGS | OFlags::TMPFILE, PRIVATE) {
        Ok(fd) => Ok((fd, None)),
        // open(2): EOPNOTSUPP from file systems without it, EISDIR where the flag is not known.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => open_hidden(directory, name),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens a file under a hidden name.
pub(super) fn open_hidden(directory: &Arc<OwnedFd>, name: &[u8]) -> io::Result<OpenedFile> {
    let flags = TARGET_FLAGS | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let (hidden, fd) = HiddenName::make(directory, name, |directory, hidden| {
        openat(directory, hidden, flags, PRIVATE)
    })?;
    Ok((fd, Some(hidden)))
}
