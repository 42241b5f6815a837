//! Aligned buffers for the bytes that do not go between disk and frames directly.

use std::io;

use memmap2::{Advice, MmapMut};

/// Bytes of one copy buffer: any run in one request, and a multiple of any alignment served.
const COPY_BUFFER: usize = 1 << 20;
/// How many there are: 16 MiB in flight, whatever the queue's depth. One device alone gets 11 of them (`disk/shares.rs`).
const COUNT: usize = 16;

const _: () = assert!(crate::disk::RUN_MAX * crate::umem::PAYLOAD_MAX <= COPY_BUFFER);
const _: () = assert!(COPY_BUFFER.is_multiple_of(crate::disk::plan::UNIT_MAX as usize));

/// Whether the kernel gives transparent huge pages to who asks for them (Documentation/admin-guide/mm/transhuge.rst).
fn huge_pages_are_given() -> bool {
    let enabled = std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled");
    enabled.is_ok_and(|enabled| !enabled.contains("[never]"))
}

/// The right to use one copy buffer. Comes from and goes back to [`CopyBuffers`].
#[must_use = "a dropped copy buffer is lost; give it back"]
#[derive(Debug)]
pub(crate) struct CopyBuffer(usize);

/// Page-aligned buffers in one mapping, and which of them are free.
#[derive(Debug)]
pub(crate) struct CopyBuffers {
    map: MmapMut,
    free: Vec<CopyBuffer>,
    huge: bool,
}

impl CopyBuffers {
    /// Maps the buffers, in huge pages where the kernel has some: then a buffer is one piece of memory to a device, or two.
    pub(crate) fn new() -> io::Result<Self> {
        let map = MmapMut::map_anon(COPY_BUFFER * COUNT)?;
        // Refused by a kernel without transparent huge pages, and taken without effect where they are switched off.
        let huge = map.advise(Advice::HugePage).is_ok() && huge_pages_are_given();
        Ok(Self {
            map,
            huge,
            free: (0..COUNT).rev().map(CopyBuffer).collect(),
        })
    }

    /// First byte of the mapping.
    pub(super) fn base(&mut self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// Bytes of the mapping.
    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    /// A free buffer, if there is one.
    pub(crate) fn take(&mut self) -> Option<CopyBuffer> {
        self.free.pop()
    }

    /// Whether they were asked for in huge pages.
    pub(crate) fn is_huge(&self) -> bool {
        self.huge
    }

    /// How many are free.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Gives a buffer back.
    pub(crate) fn put(&mut self, buffer: CopyBuffer) {
        self.free.push(buffer);
    }

    /// The bytes of a buffer that no operation uses at the moment.
    pub(crate) fn bytes(&mut self, buffer: &CopyBuffer) -> &mut [u8] {
        &mut self.map[buffer.0 * COPY_BUFFER..][..COPY_BUFFER]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_distinct_and_limited() {
        let mut buffers = CopyBuffers::new().expect("memory");
        let mut taken = Vec::new();
        while let Some(buffer) = buffers.take() {
            taken.push(buffer);
        }
        assert_eq!(taken.len(), COUNT);
        let mut starts: Vec<_> = taken
            .iter()
            .map(|buffer| buffers.bytes(buffer).as_ptr() as usize)
            .collect();
        assert!(starts.iter().all(|start| start % 4096 == 0));
        starts.sort_unstable();
        assert!(
            starts
                .windows(2)
                .all(|pair| pair[1] - pair[0] == COPY_BUFFER)
        );
        taken.into_iter().for_each(|buffer| buffers.put(buffer));
        assert!(buffers.take().is_some());
    }
}
