//! One read or write in progress: a cursor over a run of frames.

use std::{sync::Arc, time::Instant};

use super::{
    cost::{CostModel, Shape},
    file::BlockFile,
    layout::{Layout, Unaligned},
    plan::Rules,
    read_choice::ReadWay,
};
use crate::{
    ring::CopyBuffer,
    umem::{Disk, Frame, Umem},
};

/// Most frames in one operation. Far below `IOV_MAX` (1024). So many frames of 3072 bytes, or 240 of 3584, are what lies
/// between two bounds of the [grid](blk_proto::geometry::GRID), a request of 840 KiB.
pub const RUN_MAX: usize = 280;
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

/// A run of frames on its way from or to consecutive bytes of a file. Positions count bytes of the run as they lie in the
/// file; what goes which way is in its [`Layout`].
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    pub(super) file: Arc<BlockFile>,
    pub(super) offset: u64,
    pub(super) frames: Vec<Frame<Disk>>,
    pub(super) tag: u64,
    /// When the queue took it.
    pub(super) begun: Instant,
    /// Payload bytes of the run.
    pub(super) total: u64,
    pub(super) layout: Layout,
    /// Bytes that the kernel reported as done.
    pub(super) done: u64,
    /// Which way it is read; writes go the file's way.
    pub(super) way: ReadWay,
    /// Of `done`, what the page cache gave before the rest turned out to be missing there.
    pub(super) from_cache: u64,
    /// The copy buffer in use.
    pub(super) copy: Option<CopyBuffer>,
    /// Requests that transferred something.
    pub(super) requests: Amounts,
    /// What is in the kernel is a timer: the next request waits for it.
    pub(super) resting: bool,
    pub(super) retries: Retries,
}

/// What comes next in an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Through the page cache, up to this position.
    Buffered(u64),
    /// From or to frames, up to this position.
    Gather(u64),
    /// Through a copy buffer, up to this position.
    Copy(u64),
    /// Nothing.
    Over,
}

impl Operation {
    /// Plans the run, gathered as far as its alignment allows and that costs less than a copy. `Err` gives the frames back with the reason (an errno)
    /// why the run cannot be.
    pub(super) fn plan(
        (kind, way): (Kind, ReadWay),
        file: &Arc<BlockFile>,
        offset: u64,
        frames: Vec<Frame<Disk>>,
        tag: u64,
        cost: &CostModel,
    ) -> Result<Self, (i32, Vec<Frame<Disk>>)> {
        let total: u64 = frames.iter().map(|frame| frame.len() as u64).sum();
        // An offset beyond what the kernel's signed loff_t takes is refused here, so sums below cannot wrap.
        if frames.len() > RUN_MAX || offset > i64::MAX as u64 - (1 << 30) {
            return Err((libc::EINVAL, frames));
        }
        let mut operation = Self {
            kind,
            file: Arc::clone(file),
            offset,
            frames,
            tag,
            begun: Instant::now(),
            total,
            layout: Layout::buffered(total),
            done: 0,
            way,
            from_cache: 0,
            copy: None,
            requests: Amounts::default(),
            resting: false,
            retries: Retries::default(),
        };
        if operation.is_direct() {
            match operation.direct_layout(cost) {
                Ok(layout) => operation.layout = layout,
                Err(Unaligned) => return Err((libc::EINVAL, operation.frames)),
            }
        }
        Ok(operation)
    }

    /// Whether it goes past the page cache, but for its ends.
    pub(super) fn is_direct(&self) -> bool {
        self.file.is_direct() && (self.kind == Kind::Write || self.way == ReadWay::Direct)
    }

    /// Whether a thread waits for all of it, be it in the kernel.
    pub(super) fn waits_for_cache(&self) -> bool {
        !self.is_direct() && self.way != ReadWay::Cache
    }

    /// What of a direct run goes straight and what through copies.
    fn direct_layout(&self, cost: &CostModel) -> Result<Layout, Unaligned> {
        let Some(rules) = self.file.rules() else {
            return Ok(Layout::buffered(self.total));
        };
        let layout = Layout::direct(rules, self.offset, self.frames.iter().map(Frame::len))?;
        let bytes = layout.gathered_bytes();
        if bytes == 0 || self.frames.len() == 1 {
            return Ok(layout);
        }
        let read_whole = self.kind == Kind::Read && cost.copies_read(bytes);
        if read_whole || self.file.is_coalescing() || !cost.gathers(self.shape(rules, bytes)) {
            return Ok(layout.coalesced());
        }
        Ok(layout)
    }

    /// What it is to gather so many bytes of the run.
    fn shape(&self, rules: &Rules, bytes: u64) -> Shape {
        Shape {
            // Those at the ends may not be gathered whole; a few more or less do not matter.
            frames: self.frames.len() as u64,
            bytes,
            max_segments: u64::from(rules.max_segments),
            max_request: rules.max_request,
        }
    }

    /// Has a read that was to go through a copy buffer, because that costs less, go into its frames: there is no buffer. `false`:
    /// it has no other way, or has gone some of this one.
    pub(super) fn gather_instead(&mut self, cost: &CostModel) -> bool {
        let Layout { head, gathered, .. } = self.layout;
        let by_choice = self.kind == Kind::Read && !self.file.is_coalescing();
        if !by_choice || self.done > head || gathered > head {
            return false;
        }
        let Some(rules) = self.file.rules() else {
            return false;
        };
        let lengths = self.frames.iter().map(Frame::len);
        let Ok(layout) = Layout::direct(rules, self.offset, lengths) else {
            return false;
        };
        let bytes = layout.gathered_bytes();
        if bytes == 0 || !cost.gathers(self.shape(rules, bytes)) {
            return false;
        }
        self.layout = layout.after(self.done);
        true
    }

    /// The page cache does not have the rest of a run to be read: that is read directly, from the last unit on that it
    /// gave the whole of. `false` where that cannot be.
    pub(super) fn miss(&mut self, cost: &CostModel) -> bool {
        self.way = ReadWay::Direct;
        let (Some(rules), true) = (self.file.rules(), self.is_direct()) else {
            self.way = ReadWay::Buffered;
            return false;
        };
        let unit = u64::from(rules.unit);
        let Ok(layout) = self.direct_layout(cost) else {
            self.way = ReadWay::Buffered;
            return false;
        };
        // Behind the head, units start at multiples of their length from there.
        self.done -= self.done.saturating_sub(layout.head) % unit;
        self.from_cache = self.done;
        self.layout = layout.after(self.done);
        true
    }

    /// What the next request is.
    pub(super) fn phase(&self) -> Phase {
        let Layout {
            head,
            gathered,
            copied,
            end,
        } = self.layout;
        match self.done {
            done if done < head => Phase::Buffered(head),
            done if done < gathered => Phase::Gather(gathered),
            done if done < copied => Phase::Copy(copied),
            done if done < end => Phase::Buffered(end),
            _ => Phase::Over,
        }
    }

    /// Writes the vectors for `done..to` and returns how many there are.
    pub(super) fn gather(
        &self,
        umem: &Umem,
        to: u64,
        vectors: &mut [libc::iovec; RUN_MAX],
    ) -> usize {
        let mut count = 0;
        let mut start = 0;
        for (index, frame) in self.frames.iter().enumerate() {
            if start >= to {
                break;
            }
            // Of the frames gathered only the run's last can be partial (`Layout`); it takes the padding.
            let len = if index + 1 == self.frames.len() {
                self.layout.end - start
            } else {
                frame.len() as u64
            };
            let skip = self.done.saturating_sub(start).min(len);
            let until = len.min(to - start);
            if skip < until {
                vectors[count] = libc::iovec {
                    // `wrapping_add`: within the frame, as skip < len <= PAYLOAD_MAX.
                    iov_base: umem
                        .payload_address(frame)
                        .wrapping_add(skip as usize)
                        .cast(),
                    iov_len: (until - skip) as usize,
                };
                count += 1;
            }
            start += len;
        }
        count
    }

    /// Bytes of the next request through a copy buffer of `room` bytes.
    pub(super) fn copy_len(&self, to: u64, room: usize) -> usize {
        // Room is a multiple of any unit, so a direct request ends at one.
        ((to - self.done) as usize).min(room)
    }

    /// Fills `buffer` with the bytes from `done` on, and zeros where the run is padded.
    pub(super) fn copy_into(&self, umem: &Umem, buffer: &mut [u8]) {
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
        buffer[filled..].fill(0);
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

    /// A request of this phase transferred `bytes`.
    pub(super) fn advance(&mut self, phase: Phase, bytes: u64) {
        self.done += bytes;
        self.retries = Retries::default();
        if bytes == 0 {
            return;
        }
        match phase {
            Phase::Buffered(_) => self.requests.buffered += 1,
            Phase::Gather(_) => self.requests.gathered += 1,
            Phase::Copy(_) => self.requests.coalesced += 1,
            Phase::Over => {}
        }
    }

    /// Of `bytes` from the run's start, how many went which way.
    pub(super) fn bytes_by_way(&self, bytes: u64) -> Amounts {
        let Layout {
            head,
            gathered,
            copied,
            ..
        } = self.layout;
        let up_to = |position: u64| position.min(bytes);
        Amounts {
            gathered: up_to(gathered) - up_to(head),
            coalesced: up_to(copied) - up_to(gathered),
            buffered: up_to(head) + bytes - up_to(copied),
        }
    }
}

/// A number for each way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Amounts {
    pub(super) gathered: u64,
    pub(super) coalesced: u64,
    pub(super) buffered: u64,
}

/// What to do after a transient error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Retry {
    /// Try again.
    Now,
    /// Try again after so many milliseconds.
    After(u32),
    /// It is not transient.
    Never,
}

/// Transient errors (`EAGAIN`, `EINTR`) in a row. The first few are tried again at once; then the operation rests between
/// tries, longer each time, so that a storm of them costs no CPU time: about 7 s in all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Retries(u32);

impl Retries {
    const AT_ONCE: u32 = 4;
    const MAX: u32 = 64;
    /// Longest rest is 2 to this, milliseconds.
    const LONGEST: u32 = 7;

    /// One more.
    pub(super) fn next(&mut self) -> Retry {
        self.0 += 1;
        match self.0 {
            n if n <= Self::AT_ONCE => Retry::Now,
            n if n <= Self::MAX => Retry::After(1 << (n - Self::AT_ONCE - 1).min(Self::LONGEST)),
            _ => Retry::Never,
        }
    }
}
