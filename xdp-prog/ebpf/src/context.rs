//! The packet of an XDP context as the shared parser reads it.

use core::ptr;

use aya_ebpf::programs::XdpContext;
use blk_proto::net::PacketBytes;

/// The linear part of a packet: all of it, or the first fragment of a multi-buffer packet. Drivers put
/// the headers there.
pub struct Linear<'a>(pub &'a XdpContext);

impl PacketBytes for Linear<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let start = self.0.data() + offset;
        // The comparison that the verifier looks for: everything up to `start + N` is packet.
        if start + N > self.0.data_end() {
            return None;
        }
        // SAFETY: `N` bytes from `start` lie between `data` and `data_end`; a byte array has no alignment.
        Some(unsafe { ptr::read(start as *const [u8; N]) })
    }
}
