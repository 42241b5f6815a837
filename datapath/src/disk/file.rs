//! A file as the data path reads or writes it: by direct I/O but for the ends of its runs, or all through the page cache.

use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::fs::{Advice, Mode, OFlags, fadvise, fcntl_getfl, fcntl_setfl, open};

use super::{
    plan::{CoalesceReason, DeviceReport, Ends, Plan, Rules},
    read_stats::{ReadCounters, ReadWays},
    report::{self, Found},
};

/// What the file was opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intent {
    /// To be read: each run directly, or from the page cache when it is there.
    Read,
    /// To be written: a new file, in runs that start at sectors. The last sector is padded, and the file cut afterwards.
    Write,
    /// To be written (and read) in place: runs start and end at any byte, and nothing beside them changes.
    Update,
}

/// Which way a file's bytes take, but for pieces of blocks at the ends of its runs (see [`plan`](super::plan)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// `O_DIRECT`: between frames and device, no copy.
    Direct,
    /// Through the page cache: one copy by the kernel.
    Buffered {
        /// Why not direct.
        reason: BufferedReason,
    },
}

/// Why a file goes through the page cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BufferedReason {
    /// The caller asked for it.
    Asked,
    /// The file system (or the kernel, before 6.1) reports no direct I/O for this file.
    NotReported,
    /// Direct I/O needs a coarser alignment than copy buffers have, bytes.
    Alignment {
        /// Alignment of memory.
        memory: u32,
        /// Alignment of offset and length.
        offset: u32,
    },
    /// The file system refused `O_DIRECT`, with this error number.
    Refused {
        /// errno.
        errno: i32,
    },
    /// Pieces of blocks would have to go through the page cache, and the file could not be opened for that.
    NoSecond {
        /// errno of open(2).
        errno: i32,
    },
}

impl fmt::Display for BufferedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => write!(f, "asked for"),
            Self::NotReported => write!(f, "the file system reports no direct I/O for this file"),
            Self::Alignment { memory, offset } => write!(
                f,
                "direct I/O here needs alignment to {memory} bytes in memory and {offset} in the file, more than there is"
            ),
            Self::Refused { errno } => write!(
                f,
                "the file system refused O_DIRECT: {}",
                io::Error::from_raw_os_error(*errno)
            ),
            Self::NoSecond { errno } => write!(
                f,
                "the file could not be opened a second time ({}); is /proc mounted?",
                io::Error::from_raw_os_error(*errno)
            ),
        }
    }
}

/// An open regular file and how to access it. Shared as `Arc<BlockFile>`: each operation holds one, so the
/// descriptor stays open until the last completes.
#[derive(Debug)]
pub struct BlockFile {
    fd: OwnedFd,
    /// The same file without `O_DIRECT`, once somebody needed it.
    second: OnceLock<OwnedFd>,
    report: DeviceReport,
    plan: Plan,
    /// For direct files.
    rules: Option<Rules>,
    size: u64,
    /// The device that it is on, as statx(2) names it.
    device: u64,
    reads: ReadCounters,
    /// The kernel refused to gather from frames.
    refused: AtomicBool,
    /// Opened for [`Intent::Update`].
    in_place: bool,
}

impl BlockFile {
    /// Decides how to access the file, from what statx(2) (`STATX_DIOALIGN`, Linux 6.1), sysfs say of it, and sets
    /// `O_DIRECT` accordingly. Runs of a direct file may be read from the page cache even so ([`super::ReadChooser`]).
    ///
    /// `O_DIRECT` belongs to the open file description: whoever shares it (dup, fork) gets it as well.
    pub fn new(fd: OwnedFd, intent: Intent) -> io::Result<Self> {
        let found = report::read(&fd)?;
        Self::planned(fd, intent, found)
    }

    /// The same with a report that the caller made, whatever the file is on.
    pub fn with_report(fd: OwnedFd, intent: Intent, report: DeviceReport) -> io::Result<Self> {
        let found = report::read(&fd)?;
        Self::planned(fd, intent, Found { report, ..found })
    }

    fn planned(fd: OwnedFd, intent: Intent, found: Found) -> io::Result<Self> {
        let report = found.report;
        let plan = match report.plan(intent) {
            buffered @ Plan::Buffered { .. } => buffered,
            planned => match set_direct(&fd, true) {
                Ok(()) => planned,
                Err(errno) => {
                    let errno = errno.raw_os_error();
                    let reason = BufferedReason::Refused { errno };
                    Plan::Buffered { reason }
                }
            },
        };
        let mut file = Self {
            fd,
            second: OnceLock::new(),
            report,
            plan,
            rules: Some(report.rules(intent)),
            size: found.size,
            device: found.device,
            reads: ReadCounters::default(),
            refused: AtomicBool::new(false),
            in_place: intent == Intent::Update,
        };
        // Opened now, where it may block, and not in the middle of a transfer.
        if file.rules.is_some_and(|rules| rules.ends == Ends::Shared)
            && let Err(error) = file.buffered_fd()
        {
            let errno = error.raw_os_error().unwrap_or(0);
            let reason = BufferedReason::NoSecond { errno };
            file.plan = Plan::Buffered { reason };
        }
        if !file.is_direct() {
            file.rules = None;
            set_direct(&file.fd, false)?;
        }
        tracing::debug!(plan = %file.plan, %report, "a file to {intent:?}");
        Ok(file)
    }

    /// The file through the page cache, whatever it could do.
    pub fn buffered(fd: OwnedFd) -> io::Result<Self> {
        let found = report::read(&fd)?;
        set_direct(&fd, false)?;
        let reason = BufferedReason::Asked;
        Ok(Self {
            fd,
            second: OnceLock::new(),
            report: found.report,
            plan: Plan::Buffered { reason },
            rules: None,
            size: found.size,
            device: found.device,
            reads: ReadCounters::default(),
            refused: AtomicBool::new(false),
            in_place: false,
        })
    }

    /// The same file with all its runs going through copy buffers.
    pub fn coalesced(mut self) -> Self {
        if let Some(rules) = self.rules {
            self.plan = Plan::Coalesce {
                reason: CoalesceReason::Asked,
                align: rules.unit,
            };
        }
        self
    }

    /// Whether runs of several frames go through copy buffers, by [plan](Self::plan) or because the kernel refused the
    /// first that did not.
    pub fn is_coalescing(&self) -> bool {
        matches!(self.plan, Plan::Coalesce { .. }) || self.refused.load(Ordering::Relaxed)
    }

    /// The kernel does not take the joints of frames, whatever was reported: from now on they are copied.
    pub(super) fn refuse_gather(&self) {
        if !self.refused.swap(true, Ordering::Relaxed) {
            tracing::debug!(report = %self.report, "the kernel refuses to gather frames here; they are copied");
        }
    }

    /// What was decided.
    pub fn plan(&self) -> Plan {
        self.plan
    }

    /// What it was decided from.
    pub fn report(&self) -> &DeviceReport {
        &self.report
    }

    /// How runs are laid out; `None` when all goes through the page cache.
    pub(super) fn rules(&self) -> Option<&Rules> {
        self.rules.as_ref()
    }

    /// Which way the bytes take.
    pub fn access(&self) -> Access {
        match self.plan {
            Plan::Buffered { reason } => Access::Buffered { reason },
            Plan::Gather | Plan::Coalesce { .. } => Access::Direct,
        }
    }

    /// Whether that is direct I/O.
    #[inline]
    pub fn is_direct(&self) -> bool {
        !matches!(self.plan, Plan::Buffered { .. })
    }

    /// Whether somebody may write it directly while it is read.
    pub(super) fn is_in_place(&self) -> bool {
        self.in_place
    }

    /// Bytes of the file when it was handed in.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// A descriptor of the file without `O_DIRECT`: its own when the file goes through the page cache anyway, else a
    /// second one, opened when first asked for (`/proc/self/fd`, which also finds a file without a name) with the
    /// same access mode.
    ///
    /// Opening does not block for a file that is open already, but costs some microseconds; errors are those of
    /// open(2), with `ENOENT` where `/proc` is not mounted and `EACCES` where the file's mode has changed since.
    pub fn buffered_fd(&self) -> io::Result<BorrowedFd<'_>> {
        if !self.is_direct() {
            return Ok(self.fd.as_fd());
        }
        if let Some(second) = self.second.get() {
            return Ok(second.as_fd());
        }
        let opened = reopen_buffered(&self.fd)?;
        // Should another thread have been faster, its descriptor stays and this one is closed.
        Ok(self.second.get_or_init(|| opened).as_fd())
    }

    /// How it was read so far, by all queues together.
    pub fn reads(&self) -> ReadWays {
        self.reads.get()
    }

    /// Where reads of it are counted.
    pub(super) fn read_counters(&self) -> &ReadCounters {
        &self.reads
    }

    /// Names the device that it is on.
    pub fn device(&self) -> u64 {
        self.device
    }

    /// The descriptor for io_uring of what goes through the page cache.
    pub(super) fn ring_buffered_fd(&self) -> io::Result<io_uring::types::Fd> {
        Ok(io_uring::types::Fd(self.buffered_fd()?.as_raw_fd()))
    }

    /// The descriptor for io_uring.
    #[inline]
    pub(super) fn ring_fd(&self) -> io_uring::types::Fd {
        io_uring::types::Fd(self.fd.as_raw_fd())
    }
}

impl AsFd for BlockFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
impl BlockFile {
    /// The same file, said to be on another device.
    pub(super) fn on_device(self, device: u64) -> Self {
        Self { device, ..self }
    }

    /// /dev/null, said to be accessed like this.
    pub(super) fn null(plan: Plan, rules: Option<Rules>) -> Self {
        let fd = std::fs::File::open("/dev/null").expect("/dev/null").into();
        let file = Self::buffered(fd).expect("/dev/null");
        Self {
            plan,
            rules,
            ..file
        }
    }
}

/// Sets or clears `O_DIRECT`.
fn set_direct(fd: &OwnedFd, direct: bool) -> rustix::io::Result<()> {
    let mut flags = fcntl_getfl(fd)?;
    if flags.contains(OFlags::DIRECT) == direct {
        return Ok(());
    }
    flags.set(OFlags::DIRECT, direct);
    fcntl_setfl(fd, flags)
}

/// Another open file description of the same file, without `O_DIRECT`.
fn reopen_buffered(fd: &OwnedFd) -> io::Result<OwnedFd> {
    let mode = fcntl_getfl(fd)? & OFlags::ACCMODE;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let fd = open(path, mode | OFlags::CLOEXEC, Mode::empty())?;
    // Reads through it are of what is in the cache, mostly: nothing shall be read ahead into it. Only advice.
    let _ = fadvise(&fd, 0, None, Advice::Random);
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_descriptor_is_the_same_file_without_direct_io() {
        let mut temporary = tempfile::tempfile().expect("a file without a name");
        io::Write::write_all(&mut temporary, b"the same").expect("write");
        let file = BlockFile {
            plan: Plan::Gather,
            ..BlockFile::buffered(temporary.into()).expect("file")
        };
        let second = file.buffered_fd().expect("second descriptor");
        assert_ne!(second.as_raw_fd(), file.as_fd().as_raw_fd());
        let flags = fcntl_getfl(second).expect("flags");
        assert!(!flags.contains(OFlags::DIRECT) && flags.contains(OFlags::RDWR));
        let mut bytes = [0; 8];
        rustix::io::pread(second, &mut bytes, 0).expect("read");
        assert_eq!(&bytes, b"the same");
        // The same one again.
        let again = file.buffered_fd().expect("second descriptor");
        assert_eq!(again.as_raw_fd(), second.as_raw_fd());
        // A file that goes through the page cache anyway needs none.
        let reason = BufferedReason::Asked;
        let file = BlockFile::null(Plan::Buffered { reason }, None);
        let only = file.buffered_fd().expect("its own");
        assert_eq!(only.as_raw_fd(), file.as_fd().as_raw_fd());
    }
}
