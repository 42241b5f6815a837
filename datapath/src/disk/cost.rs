//! Whether a run is gathered from its frames or copied first: by the bytes in its frames, and by what the device takes in a
//! request.
//!
//! A gather costs per frame (the kernel builds a segment of each), a copy per byte; both pay for each request into which the
//! device's limits split a run. Where they meet is a constant, and not measured on the spot: what a gather costs is in part
//! spent in the kernel's own threads (ext4 hands writes into reserved space to them), which a thread's clock does not show, so
//! that gathering would look cheaper than it is. It is not the same everywhere either: file systems differ in what a copied
//! run costs beside a gathered one. Full frames are gathered in any case, as that spares a pass over memory, which is what
//! all queues share.

/// From so many bytes a frame on average a run is gathered, unless [`DiskQueue::set_gather_min`](super::DiskQueue) says
/// otherwise. Measured with runs of 128 frames on a virtio disk (`gather_write`, an example of this crate): a gather write
/// costs per frame, a copy per byte, and they meet near 2 KiB. At 1024 bytes (MTU 1500) a copy takes a third of the CPU
/// time, at 3584 as much as the gather but more memory bandwidth.
pub const GATHER_MIN: usize = 2048;
/// Reads of so many bytes go through a copy buffer where these lie in huge pages: a virtual disk pays for each piece of memory in a
/// request, more than the copy is (fio reads 2.27 times as fast into huge pages as into small ones, docs/measurements.md). Smaller
/// ones have few pieces, and there may be more of them in flight than there are buffers.
pub(super) const READ_WHOLE_MIN: u64 = 128 << 10;
/// Picoseconds of CPU time per copied byte (15 GB/s).
const COPY: u64 = 70;
/// Nanoseconds for a further request of the device, an estimate: submission and completion of a small virtio or NVMe
/// request.
const REQUEST: u64 = 3_000;

/// A run as the cost depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shape {
    /// Frames to be gathered.
    pub(super) frames: u64,
    /// Bytes in them.
    pub(super) bytes: u64,
    /// Pieces that the device takes in a request.
    pub(super) max_segments: u64,
    /// Bytes that it takes in a request.
    pub(super) max_request: u64,
}

/// What is known of the costs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CostModel {
    fixed: Option<u64>,
    /// Copy buffers lie in huge pages.
    huge: bool,
}

impl CostModel {
    /// From so many bytes a frame on, gather, whatever the device takes in a request.
    pub(super) fn fix(&mut self, bytes: usize) {
        self.fixed = Some(bytes as u64);
    }

    /// Tells whether copy buffers lie in huge pages.
    pub(super) fn with_huge_copies(huge: bool) -> Self {
        Self { fixed: None, huge }
    }

    /// Whether a read of so many bytes into several frames goes through a copy buffer.
    pub(super) fn copies_read(&self, bytes: u64) -> bool {
        self.huge && self.fixed.is_none() && bytes >= READ_WHOLE_MIN
    }

    /// Whether the run is to be gathered.
    pub(super) fn gathers(&self, shape: Shape) -> bool {
        if shape.frames <= 1 {
            return true;
        }
        if let Some(min) = self.fixed {
            return shape.bytes >= min.saturating_mul(shape.frames);
        }
        let by_bytes = shape.bytes.div_ceil(shape.max_request.max(1));
        let by_frames = shape
            .frames
            .div_ceil(shape.max_segments.max(1))
            .max(by_bytes);
        // In nanoseconds, a frame as many bytes as where the ways meet.
        let bytes = |bytes: u64| bytes.saturating_mul(COPY) / 1000;
        let frames = bytes(shape.frames.saturating_mul(GATHER_MIN as u64));
        let gather = frames.saturating_add(by_frames.saturating_mul(REQUEST));
        let copy = bytes(shape.bytes).saturating_add(by_bytes.saturating_mul(REQUEST));
        gather <= copy
    }
}

#[cfg(test)]
#[path = "cost_tests.rs"]
mod tests;
