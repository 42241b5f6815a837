//! One read or write in progress: a cursor over a run of frames.

use std::sync::Arc;

use super::file::BlockFile;
use crate::{
    ring::CopyBuffer,
    umem::{Disk, Frame, SECTOR, Umem},
};

/// Most frames in one operation. Far below `IOV_MAX` (1024). So many frames of 3072 bytes, or 120 of 3584, are what lies
/// between two bounds of the [grid](blk_proto::geometry::GRID), a request of 420 KiB.
pub const RUN_MAX: usize = 140;
/// Transient errors in a row after which an operation gives up.
const RETRIES_MAX: u32 = 1000;

/// The vectors of one operation; boxed, so the kernel may read them until it has completed.
pub(super) type Vectors = Box<[libc::iovec; RUN_MAX]>;

/// Empty vectors.
pub(super) fn vectors() -> Vectors {
    Box::new(
        [libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        }; RUN_MAX],
    )
}

/// Which way the bytes flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// File to frames.
    Read,
    /// Frames to file.
    Write,
}

/// A run of frames on its way from or to consecutive bytes of a file.
///
/// Positions count bytes of the run as they lie in the file:
///
/// ```text
/// 0 .......... done ............ gathered ............ padded
/// | finished   | straight between | through a copy      |
///              | file and frames  | buffer              | total rounded up to a sector (direct files)
/// ```
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    pub(super) file: Arc<BlockFile>,
    pub(super) offset: u64,
    pub(super) frames: Vec<Frame<Disk>>,
    pub(super) tag: u64,
    /// Payload bytes of the run.
    pub(super) total: u64,
    /// Bytes of the run on disk.
    pub(super) padded: u64,
    /// Up to here the frames' own memory is used.
    pub(super) gathered: u64,
    /// Bytes that the kernel reported as done.
    pub(super) done: u64,
    /// The copy buffer in use.
    pub(super) copy: Option<CopyBuffer>,
    retries: u32,
}

impl Operation {
    /// Plans the run. Frames with fewer than `gather_min` bytes on average are copied. `Err` gives the frames
    /// back with the reason (an errno) why the run cannot be.
    pub(super) fn plan(
        kind: Kind,
        file: &Arc<BlockFile>,
        offset: u64,
        frames: Vec<Frame<Disk>>,
        tag: u64,
        gather_min: usize,
    ) -> Result<Self, (i32, Vec<Frame<Disk>>)> {
        let sector = SECTOR as u64;
        let total: u64 = frames.iter().map(|frame| frame.len() as u64).sum();
        // An offset beyond what the kernel's signed loff_t takes is refused here, so sums below cannot wrap.
        if frames.len() > RUN_MAX || offset > i64::MAX as u64 - (1 << 30) {
            return Err((libc::EINVAL, frames));
        }
        let (mut padded, mut gathered) = (total, total);
        if file.is_direct() {
            if !offset.is_multiple_of(sector) {
                return Err((libc::EINVAL, frames));
            }
            padded = total.next_multiple_of(sector);
            let small = total < (gather_min * frames.len()) as u64;
            gathered = if frames.len() > 1 && (small || file.is_coalescing()) {
                0
            } else {
                aligned_prefix(&frames).unwrap_or(padded)
            };
        }
        Ok(Self {
            kind,
            file: Arc::clone(file),
            offset,
            frames,
            tag,
            total,
            padded,
            gathered,
            done: 0,
            copy: None,
            retries: 0,
        })
    }

    /// Writes the vectors for `done..gathered` and returns how many there are.
    pub(super) fn gather(&self, umem: &Umem, vectors: &mut [libc::iovec; RUN_MAX]) -> usize {
        let mut count = 0;
        let mut start = 0;
        for (index, frame) in self.frames.iter().enumerate() {
            if start >= self.gathered {
                break;
            }
            // Of the frames gathered only the run's last can be partial (`plan`); it takes the padding.
            let len = if index + 1 == self.frames.len() {
                self.padded - start
            } else {
                frame.len() as u64
            };
            let skip = self.done.saturating_sub(start).min(len);
            if skip < len {
                vectors[count] = libc::iovec {
                    // `wrapping_add`: within the frame, as skip < len <= PAYLOAD_MAX.
                    iov_base: umem
                        .payload_address(frame)
                        .wrapping_add(skip as usize)
                        .cast(),
                    iov_len: (len - skip) as usize,
                };
                count += 1;
            }
            start += len;
        }
        count
    }

    /// Copies the bytes from `done` on into `buffer`, zero-padded to the run's padding where it ends. Returns
    /// how many bytes of the buffer to write.
    pub(super) fn copy_into(&self, umem: &Umem, buffer: &mut [u8]) -> usize {
        let mut filled = 0;
        let mut start = 0;
        for frame in &self.frames {
            let payload = umem.payload(frame);
            let skip = self.done.saturating_sub(start).min(payload.len() as u64) as usize;
            let take = (payload.len() - skip).min(buffer.len() - filled);
            buffer[filled..filled + take].copy_from_slice(&payload[skip..skip + take]);
            filled += take;
            start += payload.len() as u64;
        }
        // `buffer` is a multiple of a sector, so the padding fits whenever the run ends in it.
        let wanted = ((self.padded - self.done) as usize).min(buffer.len());
        buffer[filled..wanted].fill(0);
        wanted
    }

    /// Copies what was read at `done` out of a copy buffer, to the frames.
    pub(super) fn copy_out(&mut self, umem: &mut Umem, mut bytes: &[u8]) {
        let mut start = 0;
        for frame in &mut self.frames {
            let len = frame.len();
            let skip = self.done.saturating_sub(start).min(len as u64) as usize;
            let (now, later) = bytes.split_at((len - skip).min(bytes.len()));
            umem.payload_mut(frame)[skip..skip + now.len()].copy_from_slice(now);
            bytes = later;
            start += len as u64;
        }
    }

    /// Whether a transient error may be tried again.
    pub(super) fn may_retry(&mut self) -> bool {
        self.retries += 1;
        self.retries <= RETRIES_MAX
    }

    /// `bytes` more are done.
    pub(super) fn advance(&mut self, bytes: u64) {
        self.done += bytes;
        self.retries = 0;
    }
}

/// Bytes of the leading frames of whole sectors, when a later one follows a frame that is not; `None` when all
/// frames but the last are whole sectors, so that the run can go as it is.
fn aligned_prefix(frames: &[Frame<Disk>]) -> Option<u64> {
    let partial = frames.iter().position(|frame| frame.len() % SECTOR != 0)?;
    (partial + 1 < frames.len()).then(|| {
        frames[..partial]
            .iter()
            .map(|frame| frame.len() as u64)
            .sum()
    })
}
