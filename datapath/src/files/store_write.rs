//! The writers of a store: from a batch to files that have everything but a name.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rustix::fs::{Mode, Timespec, Timestamps, UTIME_OMIT, fchmod, fstat, futimens};
use rustix::io::{Errno, pwrite, retry_on_intr};

use super::attributes::timespec;
use super::store::{StoreFile, StorePlace};
use super::store_batch::Ticket;
use super::store_device::{Device, Job};
use super::store_name::{TemporaryName, open_nameless};
use super::store_shared::{OpenPermit, Shared, count};
use super::{FileError, FileErrorKind, check_name};

/// A file that has its content, mode and time, neither durable nor under its name.
pub(super) struct Written {
    pub(super) fd: OwnedFd,
    pub(super) place: Arc<StorePlace>,
    pub(super) name: Vec<u8>,
    /// The name that it bears where files need one.
    pub(super) temporary: Option<TemporaryName>,
    pub(super) ticket: Ticket,
    /// In bytes.
    pub(super) size: u64,
    /// It was synced by itself, not with its file system.
    pub(super) synced_alone: bool,
    /// [`Device::failures`] before it was opened.
    pub(super) failures: u64,
    pub(super) _permit: OpenPermit,
}

/// The main function of a writer.
pub(super) fn write_jobs(shared: &Shared, device: &Device) {
    while let Some((job, _working)) = device.take_job(shared) {
        // Tickets that are dropped on the way answer.
        if catch_unwind(AssertUnwindSafe(|| write_job(shared, device, job))).is_err() {
            tracing::error!("a writer of small files panicked");
        }
    }
}

fn write_job(shared: &Shared, device: &Device, job: Job) {
    let mut heap = Vec::with_capacity(job.len());
    for (file, ticket) in job {
        let permit = match device.open.try_acquire() {
            Some(permit) => permit,
            None => {
                // What this thread holds back may be what all permits are taken by.
                device.add_written(&mut heap);
                device.open.acquire()
            }
        };
        match write_one(device, file, permit, ticket) {
            Ok(written) => heap.push(written),
            Err((ticket, error)) => {
                count(&shared.counters.failed);
                ticket.settle(Err(error));
            }
        }
    }
    device.add_written(&mut heap);
}

/// Writes a file; on an error nothing of it stays.
fn write_one(
    device: &Device,
    file: StoreFile,
    permit: OpenPermit,
    ticket: Ticket,
) -> Result<Written, (Ticket, FileError)> {
    if let Err(error) = check(&file, ticket.label()) {
        return Err((ticket, error));
    }
    // Before the file is opened: a sync that fails from now on may be about it.
    let failures = device.failures();
    match write(&file, ticket.label()) {
        Ok((fd, temporary)) => Ok(Written {
            fd,
            place: file.place,
            name: file.name,
            temporary,
            ticket,
            size: file.bytes.len() as u64,
            synced_alone: false,
            failures,
            _permit: permit,
        }),
        Err(error) => Err((ticket, error)),
    }
}

fn check(file: &StoreFile, label: &[u8]) -> Result<(), FileError> {
    check_name("create", &file.name).map_err(|error| error.with_path(label))?;
    let crc = crc32fast::hash(&file.bytes);
    if crc == file.crc {
        return Ok(());
    }
    Err(FileError::explained(
        FileErrorKind::ChecksumMismatch,
        "store",
        label,
        format!(
            "its CRC32 is {crc:08x} here and {:08x} at the sender",
            file.crc
        ),
    ))
}

/// Opens a file without a name, or a name that nobody sees, and gives it everything else.
fn write(file: &StoreFile, label: &[u8]) -> Result<(OwnedFd, Option<TemporaryName>), FileError> {
    let mode = Mode::from_raw_mode(file.mode & 0o777);
    let (fd, temporary) = open_nameless(&file.place, &file.name, mode)
        .map_err(|error| FileError::new("create", label, error))?;
    write_all(fd.as_fd(), &file.bytes).map_err(|error| FileError::new("write", label, error))?;
    set_mode(fd.as_fd(), mode).map_err(|errno| FileError::new("set the mode of", label, errno))?;
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: timespec(file.mtime_ns),
    };
    futimens(&fd, &times).map_err(|errno| FileError::new("set the times of", label, errno))?;
    Ok((fd, temporary))
}

/// Most files have been opened with their mode, and looking costs a tenth of a change, which goes through the journal.
fn set_mode(fd: BorrowedFd<'_>, mode: Mode) -> Result<(), Errno> {
    if fstat(fd)?.st_mode & 0o7777 == mode.as_raw_mode() {
        return Ok(());
    }
    fchmod(fd, mode)
}

fn write_all(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let mut written = 0;
    while written < bytes.len() {
        match retry_on_intr(|| pwrite(fd, &bytes[written..], written as u64))? {
            // Never for a regular file; it must not become an endless loop.
            0 => return Err(Errno::IO.into()),
            more => written += more,
        }
    }
    Ok(())
}
