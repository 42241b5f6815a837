//! What this kernel's io_uring can do beyond the minimum.

use io_uring::{IoUring, Probe, opcode};

/// Optional operations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Capabilities {
    /// `READV_FIXED` and `WRITEV_FIXED` (Linux 6.15).
    pub(super) vectored_fixed: bool,
}

impl Capabilities {
    /// Asks the kernel. A kernel that cannot be asked has none.
    pub(super) fn probe(ring: &IoUring) -> Self {
        let mut probe = Probe::new();
        if ring.submitter().register_probe(&mut probe).is_err() {
            return Self::default();
        }
        Self {
            vectored_fixed: probe.is_supported(opcode::WritevFixed::CODE)
                && probe.is_supported(opcode::ReadvFixed::CODE),
        }
    }
}
