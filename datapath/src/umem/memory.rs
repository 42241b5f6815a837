//! The memory behind a UMEM, and the only place where its base address is known.

use std::{
    io,
    num::NonZeroU32,
    ptr,
    sync::{Arc, LazyLock},
};

use memmap2::{Advice, MmapMut, MmapOptions};
use xsk_rs::{
    FrameDesc,
    config::{FrameSize, QueueSize, UmemConfig},
};

use super::{CHUNK, UmemError};

/// What the kernel leaves free in front of a packet (`XDP_PACKET_HEADROOM`), behind the UMEM's own headroom.
const KERNEL_HEADROOM: usize = blk_proto::geometry::XDP_PACKET_HEADROOM;

/// A huge page on x86-64, and on ARM with pages of 4 KiB (Documentation/admin-guide/mm/hugetlbpage.rst).
const HUGE_PAGE: usize = 2 << 20;

/// Whether a mapping of so many bytes may lie in huge pages. They are used where enough of them are reserved
/// (`vm.nr_hugepages`). Transparent ones are not asked for: the kernel may have to move memory about for them first, which
/// costs more than they save.
fn fills_huge_pages(len: usize) -> bool {
    // xsk-rs takes those of the default size.
    static ARE_DEFAULT: LazyLock<bool> = LazyLock::new(|| {
        let told = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let size = told
            .lines()
            .find_map(|line| line.strip_prefix("Hugepagesize:"));
        size.is_some_and(|size| size.trim() == format!("{} kB", HUGE_PAGE >> 10))
    });
    len.is_multiple_of(HUGE_PAGE) && *ARE_DEFAULT
}

/// Memory in huge pages. All of it is there from the start: mmap(2) succeeds where a control group or a NUMA node refuses
/// the pages, and then the first touch would be a SIGBUS.
fn map_huge(len: usize) -> Option<MmapMut> {
    let bits = HUGE_PAGE.ilog2() as u8;
    let map = MmapOptions::new()
        .len(len)
        .huge(Some(bits))
        .map_anon()
        .ok()?;
    map.advise(Advice::PopulateWrite).ok()?;
    Some(map)
}

/// A shared handle on the mapping. It stays mapped (and, for AF_XDP, registered) while any handle lives, so
/// sockets, disk queues and the UMEM may be dropped in any order.
#[derive(Clone, Debug)]
pub(crate) struct Memory {
    base: *mut u8,
    len: usize,
    is_huge: bool,
    owner: Owner,
}

/// Who keeps the bytes mapped.
#[derive(Clone, Debug)]
enum Owner {
    /// Registered with AF_XDP.
    Xdp(xsk_rs::Umem),
    /// Plain anonymous memory.
    Anonymous {
        /// Only held, never read: it is what keeps `base` mapped.
        _map: Arc<MmapMut>,
    },
}

// SAFETY: `base` points into the mapping that `owner` keeps alive on whatever thread; the handle itself gives
// no access to the bytes, that goes through `Umem` (one thread) or the kernel.
unsafe impl Send for Memory {}

impl Memory {
    /// Maps `frames` chunks and registers them with AF_XDP, for packets that begin `packet_start` bytes after a chunk does. The descriptors, one per frame in order, are
    /// xsk-rs' own.
    pub(super) fn xdp(
        frames: NonZeroU32,
        fill: u32,
        completion: u32,
        packet_start: usize,
    ) -> Result<(Self, Vec<FrameDesc>), UmemError> {
        let ring = |size: u32| QueueSize::new(size).map_err(|_| UmemError::RingSize { size });
        let config = UmemConfig::builder()
            .frame_size(
                FrameSize::new(CHUNK as u32)
                    .map_err(|error| UmemError::Config(error.to_string()))?,
            )
            .frame_headroom((packet_start - KERNEL_HEADROOM) as u32)
            .fill_queue_size(ring(fill)?)
            .comp_queue_size(ring(completion)?)
            .build()
            .map_err(|error| UmemError::Config(error.to_string()))?;
        let len = frames.get() as usize * CHUNK;
        let huge = fills_huge_pages(len)
            .then(|| xsk_rs::Umem::new(config, frames, true).ok())
            .flatten();
        let is_huge = huge.is_some();
        let (umem, mut descriptors) = match huge {
            Some(made) => made,
            None => xsk_rs::Umem::new(config, frames, false)
                .map_err(|error| UmemError::from_create(&error, frames.get()))?,
        };
        let base = base_address(&umem, &mut descriptors, packet_start)?;
        let memory = Self {
            base,
            len,
            is_huge,
            owner: Owner::Xdp(umem),
        };
        Ok((memory, descriptors))
    }

    /// Maps `frames` chunks of anonymous memory.
    pub(super) fn anonymous(frames: NonZeroU32) -> Result<Self, UmemError> {
        let len = frames.get() as usize * CHUNK;
        let huge = fills_huge_pages(len).then(|| map_huge(len)).flatten();
        let is_huge = huge.is_some();
        let mut map = match huge {
            Some(map) => map,
            None => MmapMut::map_anon(len).map_err(|source| UmemError::Map { len, source })?,
        };
        Ok(Self {
            base: map.as_mut_ptr(),
            len,
            is_huge,
            owner: Owner::Anonymous {
                _map: Arc::new(map),
            },
        })
    }

    /// The first byte; page-aligned.
    #[inline]
    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }

    /// Whether it lies in huge pages.
    pub(crate) fn is_huge(&self) -> bool {
        self.is_huge
    }

    /// Bytes mapped.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The UMEM as AF_XDP knows it, `None` for anonymous memory.
    pub(crate) fn xdp_umem(&self) -> Option<&xsk_rs::Umem> {
        match &self.owner {
            Owner::Xdp(umem) => Some(umem),
            Owner::Anonymous { .. } => None,
        }
    }
}

/// xsk-rs does not give the base address away, but each descriptor's data lies at base + `addr`.
fn base_address(
    umem: &xsk_rs::Umem,
    descriptors: &mut [FrameDesc],
    packet_start: usize,
) -> Result<*mut u8, UmemError> {
    let Some(first) = descriptors.first_mut() else {
        return Err(UmemError::Frames { frames: 0 });
    };
    let address = first.addr();
    // SAFETY: the descriptor is of this UMEM and no ring has seen it yet, so nobody else touches its bytes.
    let mut data = unsafe { umem.data_mut(first) };
    // `cursor` has the whole data segment; `contents_mut` would have the 0 bytes written so far. Their address
    // is the same. The base lies in front of that slice, so its provenance is that of the mapping (exposed by
    // the FFI call that made it), not of the slice.
    let base = data.contents_mut().as_mut_ptr().expose_provenance() - address;
    if address != packet_start || base % CHUNK != 0 {
        return Err(UmemError::Config(format!(
            "the first packet would start at {address} (expected {packet_start}) of a mapping at {base:#x}"
        )));
    }
    Ok(ptr::with_exposed_provenance_mut(base))
}

impl UmemError {
    /// Explains why the kernel refused an AF_XDP UMEM.
    fn from_create(error: &xsk_rs::umem::UmemCreateError, frames: u32) -> Self {
        let source = std::error::Error::source(error)
            .and_then(|source| source.downcast_ref::<io::Error>())
            .and_then(io::Error::raw_os_error)
            .map_or_else(
                || io::Error::other(error.to_string()),
                io::Error::from_raw_os_error,
            );
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => Self::NoPrivilege { source },
            Some(libc::EAFNOSUPPORT) => Self::NoAfXdp,
            Some(libc::ENOBUFS | libc::ENOMEM) => Self::Memlock {
                len: frames as usize * CHUNK,
                source,
            },
            _ => Self::Create { frames, source },
        }
    }
}
