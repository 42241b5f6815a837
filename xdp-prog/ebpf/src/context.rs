//! The packet of an XDP context as the shared parser reads it.

use core::cell::Cell;
use core::ptr;

use aya_ebpf::helpers::bpf_xdp_load_bytes;
use aya_ebpf::programs::XdpContext;
use blk_proto::net::{ETHERNET_LEN, IPV4_LEN, PAYLOAD_OFFSET_MAX, PacketBytes, UDP_LEN};

use crate::words::{self, Words};

/// A packet whose headers must lie in its linear part: all of it, or the first fragment of a multi-buffer
/// packet. Drivers put the headers there.
pub struct Linear<'a> {
    context: &'a XdpContext,
    /// Something was read at an offset that is no constant.
    far: Cell<bool>,
}

impl<'a> Linear<'a> {
    #[inline(always)]
    pub const fn new(context: &'a XdpContext) -> Self {
        let far = Cell::new(false);
        Self { context, far }
    }

    /// Whether headers that end at `end` lie in the linear part. Constant reads have shown it of themselves;
    /// the helper behind [`read_far`](PacketBytes::read_far) reads on in the fragments.
    #[inline(always)]
    pub fn holds_headers(&self, end: usize) -> bool {
        !self.far.get() || end <= self.linear_len()
    }

    /// Bytes of the linear part, as far as headers can go, rounded down to where headers can end.
    ///
    /// The difference of two packet pointers, and a pointer plus a variable, would need CAP_PERFMON. So
    /// constants are tried one after the other.
    #[inline(always)]
    fn linear_len(&self) -> usize {
        /// Headers end in steps of 4 bytes from here on.
        const FIRST: usize = ETHERNET_LEN + IPV4_LEN + UDP_LEN;
        const STEPS: usize = (PAYLOAD_OFFSET_MAX - FIRST) / 4;
        const { assert!(STEPS == 39 && (PAYLOAD_OFFSET_MAX - FIRST) % 4 == 0) };
        let mut len = 0;
        macro_rules! rungs {
            ($($step:literal)+) => {
                $(if self.context.data() + FIRST + 4 * $step <= self.context.data_end() {
                    len = FIRST + 4 * $step;
                })+
            };
        }
        rungs!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36
            37 38 39);
        len
    }
}

impl PacketBytes for Linear<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let start = self.context.data() + offset;
        // The comparison that the verifier looks for: everything up to `start + N` is packet.
        if start + N > self.context.data_end() {
            return None;
        }
        // SAFETY: `N` bytes from `start` lie between `data` and `data_end`; a byte array has no alignment.
        Some(unsafe { ptr::read(start as *const [u8; N]) })
    }

    #[inline(always)]
    fn read_far<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.far.set(true);
        const { assert!(N <= size_of::<[u64; 2]>()) };
        let mut place = Words::uninit();
        let words = words::write(&mut place, [0, 0]);
        // SAFETY: the helper writes `N` bytes to `words`, or fails; the context is the program's own.
        let result = unsafe {
            bpf_xdp_load_bytes(
                self.context.ctx,
                offset as u32,
                words.as_mut_ptr().cast(),
                N as u32,
            )
        };
        // SAFETY: `words` has `N` bytes and more; a byte array has no alignment.
        (result == 0).then(|| unsafe { ptr::read(words.as_ptr().cast::<[u8; N]>()) })
    }
}
