//! Which way a file's bytes take, from what its file system and its device report. Pure: [`DeviceReport`] in, [`Plan`] and
//! [`Rules`] out; the reading is in `report`.
//!
//! | reported | plan | what happens to a run |
//! |---|---|---|
//! | no direct I/O (tmpfs, kernels before 6.1) | [`Plan::Buffered`] | all through the page cache |
//! | alignment above what copy buffers have | [`Plan::Buffered`] | the same |
//! | `virt_boundary_mask` of 511 or less | [`Plan::Gather`] | straight from the frames, or copied, by cost |
//! | `virt_boundary_mask` above 511 | [`Plan::Coalesce`] | through aligned copy buffers |
//! | memory alignment above 512 | [`Plan::Coalesce`] | the same |
//! | device not known | [`Plan::Coalesce`] | the same: a copy costs little, a request per frame much |
//! | offset alignment above 512 | [`Plan::Gather`] | whole blocks: gathered where the kernel takes the joints, else copied |
//!
//! # Ends of a run
//!
//! With alignment to 512 ([`Ends::Padded`]) every byte goes direct: runs start at sectors, and what is missing to the last
//! sector of the file is padded, and cut off in the end. Two runs may share a file system's block then, which file systems
//! serialise.
//!
//! With coarser alignment, and for files written in place at any offset ([`Ends::Shared`]), a run may start and end within
//! a [unit](Rules::unit), the largest of the alignment, a page, and a block of the file system. What it covers of whole
//! units goes direct, the pieces at its ends go through the page cache, by a second descriptor.
//!
//! **No unit is written both ways**, which would lose bytes: the page cache writes whole blocks back, with what it read
//! before the direct write. Every byte is written by one run (see [`Coverage`](crate::engine::Coverage)). So a unit lies
//! wholly within one run, then this run writes it, direct, and no other touches it; or it does not, then none of the runs
//! that share it covers it wholly, and each of them writes its piece through the page cache. A run that is written again
//! after an error may have other bounds, but then the first write is over, and one after the other is safe: a direct write
//! makes the kernel write back and drop what the cache holds of it, a buffered one reads what is on the disk.

use std::fmt;

use super::file::{BufferedReason, Intent};
use crate::umem::SECTOR;

/// Largest unit that copy buffers serve, bytes.
pub const UNIT_MAX: u32 = 64 << 10;

/// What is known of a file's way to its device. Zero is "not told" unless said otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeviceReport {
    /// `stx_dio_mem_align` of statx(2): alignment of memory for direct I/O, bytes; 0: no direct I/O.
    pub memory_align: u32,
    /// `stx_dio_offset_align`: alignment of offset and length, bytes; 0: no direct I/O.
    pub offset_align: u32,
    /// `stx_dio_read_offset_align` (Linux 6.16): the same for reads, where it is finer; 0: as for writes.
    pub read_offset_align: u32,
    /// The block device's queue; `None` where it is not known which device that is (network and overlay file systems).
    pub queue: Option<QueueLimits>,
    /// The file system's magic number (statfs(2)). Only told: what a file system can do is asked, not guessed by its name.
    pub file_system: u64,
    /// The file system's block, bytes (`f_bsize`).
    pub block: u32,
    /// A page of memory, bytes.
    pub page: u32,
}

/// Limits of a block device's queue (Documentation/ABI/stable/sysfs-block); of several devices, the strictest of each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueLimits {
    /// `virt_boundary_mask`: a request is taken apart where two pieces of memory do not meet at a multiple of it plus
    /// one; 0: anywhere. NVMe without scatter-gather lists (all of it before Linux 6.19) has 4095.
    pub virt_boundary: u64,
    /// `max_segments`: pieces of memory in a request.
    pub max_segments: u32,
    /// `max_sectors_kb`: KiB in a request.
    pub max_kib: u32,
    /// `logical_block_size`, bytes: what the device can address. Only told, as the two below: what runs must be aligned
    /// to is what the file system says for the file ([`DeviceReport::offset_align`]), which is at least this.
    pub logical_block: u32,
    /// `physical_block_size`, bytes: what it writes without reading.
    pub physical_block: u32,
    /// `rotational`. Virtual disks have it set whatever they are.
    pub rotational: bool,
    /// How many devices these are the limits of.
    pub devices: u32,
}

impl QueueLimits {
    /// The strictest of both.
    pub fn and(self, other: Self) -> Self {
        Self {
            virt_boundary: self.virt_boundary.max(other.virt_boundary),
            max_segments: self.max_segments.min(other.max_segments),
            max_kib: self.max_kib.min(other.max_kib),
            logical_block: self.logical_block.max(other.logical_block),
            physical_block: self.physical_block.max(other.physical_block),
            rotational: self.rotational || other.rotational,
            devices: self.devices + other.devices,
        }
    }
}

impl fmt::Display for DeviceReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let system = file_system_name(self.file_system);
        match system {
            Some(name) => write!(out, "{name}")?,
            None => write!(out, "file system {:#x}", self.file_system)?,
        }
        write!(
            out,
            " with blocks of {}, direct I/O aligned to {} in memory and {} in the file",
            self.block, self.memory_align, self.offset_align
        )?;
        if self.read_offset_align != 0 {
            write!(out, " ({} for reads)", self.read_offset_align)?;
        }
        let Some(queue) = self.queue else {
            return write!(out, ", on a device that is not known");
        };
        write!(
            out,
            ", on {} device(s): boundary {:#x}, {} segments, {} KiB, blocks of {} ({} physical){}",
            queue.devices,
            queue.virt_boundary,
            queue.max_segments,
            queue.max_kib,
            queue.logical_block,
            queue.physical_block,
            if queue.rotational { ", rotational" } else { "" },
        )
    }
}

/// The names of the file systems one meets most (include/uapi/linux/magic.h).
pub(crate) fn file_system_name(magic: u64) -> Option<&'static str> {
    Some(match magic {
        0xEF53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683E => "btrfs",
        0x0102_1994 => "tmpfs",
        0x794C_7630 => "overlay",
        0x6969 => "nfs",
        0xF2F5_2010 => "f2fs",
        0xCA45_1A4E => "bcachefs",
        0x2FC1_2FC1 => "zfs",
        0x6573_5546 => "fuse",
        _ => return None,
    })
}

/// Which way a file's bytes take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// Direct, straight between frames and device where a run's alignment allows it and it costs less than a copy.
    Gather,
    /// Direct, through copy buffers.
    Coalesce {
        /// Why not gathered.
        reason: CoalesceReason,
        /// Alignment of offset and length in the file, bytes.
        align: u32,
    },
    /// Through the page cache.
    Buffered {
        /// Why not direct.
        reason: BufferedReason,
    },
}

/// Why all runs of a file go through copy buffers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CoalesceReason {
    /// The caller asked for it.
    Asked,
    /// The device takes a request apart wherever frames meet.
    Joints {
        /// Its `virt_boundary_mask`.
        boundary: u64,
    },
    /// Frames are not aligned well enough in memory.
    Memory {
        /// Alignment needed, bytes.
        align: u32,
    },
    /// Which device it is, and so what it does with joints, is not known.
    UnknownDevice,
}

impl fmt::Display for CoalesceReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => write!(out, "asked for"),
            Self::Joints { boundary } => write!(
                out,
                "the device splits requests at joints not on a multiple of {} bytes",
                boundary.saturating_add(1)
            ),
            Self::Memory { align } => write!(
                out,
                "direct I/O needs memory aligned to {align} bytes, frames have {SECTOR}"
            ),
            Self::UnknownDevice => write!(out, "the device behind the file system is not known"),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gather => write!(out, "gather"),
            Self::Coalesce { reason, align } => {
                write!(out, "coalesce, aligned to {align} bytes: {reason}")
            }
            Self::Buffered { reason } => write!(out, "buffered: {reason}"),
        }
    }
}

/// What happens at the ends of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ends {
    /// Runs start at a unit, and end at one or at the end of the file, where they are padded.
    Padded,
    /// Runs start and end anywhere; pieces of units go through the page cache.
    Shared,
}

/// How the runs of one file are laid out (see [`Layout`](super::Layout)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rules {
    /// What goes direct starts and ends at multiples of this, bytes.
    pub unit: u32,
    /// What a piece gathered from a frame must be aligned to in memory, and its length.
    pub joint: u32,
    /// The ends of runs.
    pub ends: Ends,
    /// Pieces in a request of the device.
    pub max_segments: u32,
    /// Bytes in a request of the device.
    pub max_request: u64,
}

impl DeviceReport {
    /// The way of a file opened for `intent`.
    pub fn plan(&self, intent: Intent) -> Plan {
        let sector = SECTOR as u32;
        let offset = self.align(intent);
        if self.memory_align == 0 || offset == 0 {
            let reason = BufferedReason::NotReported;
            return Plan::Buffered { reason };
        }
        if !offset.is_power_of_two()
            || !self.memory_align.is_power_of_two()
            || self.memory_align > self.page.max(sector)
            || self.rules(intent).unit > UNIT_MAX
        {
            let reason = BufferedReason::Alignment {
                memory: self.memory_align,
                offset,
            };
            return Plan::Buffered { reason };
        }
        let reason = match self.queue {
            _ if self.memory_align > sector => CoalesceReason::Memory {
                align: self.memory_align,
            },
            None => CoalesceReason::UnknownDevice,
            // Payloads start at multiples of 512 and not of more.
            Some(queue) if queue.virt_boundary >= u64::from(sector) => CoalesceReason::Joints {
                boundary: queue.virt_boundary,
            },
            Some(_) => return Plan::Gather,
        };
        let align = offset.max(sector);
        Plan::Coalesce { reason, align }
    }

    /// How its runs are laid out, if it goes direct.
    pub fn rules(&self, intent: Intent) -> Rules {
        let sector = SECTOR as u32;
        let align = self.align(intent).max(sector);
        let ends = match intent {
            Intent::Update => Ends::Shared,
            Intent::Read | Intent::Write if align > sector => Ends::Shared,
            Intent::Read | Intent::Write => Ends::Padded,
        };
        let unit = match (ends, intent) {
            // Reading a page both ways does no harm.
            (Ends::Padded, _) | (Ends::Shared, Intent::Read) => align,
            (Ends::Shared, _) => align.max(self.page).max(self.block),
        };
        Rules {
            // What is larger than any power of two is larger than any buffer: `plan` refuses it.
            unit: unit.checked_next_power_of_two().unwrap_or(u32::MAX),
            joint: sector,
            ends,
            max_segments: self.queue.map_or(u32::MAX, |queue| queue.max_segments),
            max_request: self
                .queue
                .map_or(u64::MAX, |queue| u64::from(queue.max_kib) << 10),
        }
    }

    fn align(&self, intent: Intent) -> u32 {
        match intent {
            Intent::Read if self.read_offset_align != 0 => self.read_offset_align,
            _ => self.offset_align,
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
