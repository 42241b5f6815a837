//! The smallest XDP program: every packet to the AF_XDP socket of its queue, the rest passes. Loaded by raw
//! bpf(2), so that the tests of the rings depend on nothing but the rings.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;

/// A program attached to an interface; detached when dropped.
pub struct Redirect {
    map: OwnedFd,
    _link: OwnedFd,
}

impl Redirect {
    /// Loads the program and attaches it in native mode.
    pub fn attach(interface: u32) -> Self {
        Self::attach_with(interface, 0)
    }

    /// The same of a program that takes packets in several buffers.
    #[allow(dead_code, reason = "not all tests that share this module use it")]
    pub fn attach_for_fragments(interface: u32) -> Self {
        const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
        Self::attach_with(interface, BPF_F_XDP_HAS_FRAGS)
    }

    fn attach_with(interface: u32, flags: u32) -> Self {
        let map = create(BPF_MAP_CREATE, &[BPF_MAP_TYPE_XSKMAP, 4, 4, 64, 0]);
        let map_fd = map.as_raw_fd() as u64;
        // Opcodes: include/uapi/linux/bpf.h; fields: opcode, dst | src << 4, offset, immediate.
        let instruction = |opcode: u64, registers: u64, offset: u64, immediate: u64| {
            opcode | registers << 8 | offset << 16 | immediate << 32
        };
        let program = [
            instruction(0x61, 0x12, 16, 0),     // r2 = ctx->rx_queue_index
            instruction(0x18, 0x11, 0, map_fd), // r1 = map (BPF_PSEUDO_MAP_FD)
            instruction(0, 0, 0, 0),            // second half of the above
            instruction(0xb7, 0x03, 0, 2),      // r3 = XDP_PASS
            instruction(0x85, 0, 0, 51),        // r0 = bpf_redirect_map(r1, r2, r3)
            instruction(0x95, 0, 0, 0),         // exit
        ];
        let license = c"MIT";
        let (program_at, license_at) = (program.as_ptr() as u64, license.as_ptr() as u64);
        let mut load = [0u32; 18];
        load[..2].copy_from_slice(&[BPF_PROG_TYPE_XDP, program.len() as u32]);
        load[2..6].copy_from_slice(&[
            low(program_at),
            high(program_at),
            low(license_at),
            high(license_at),
        ]);
        load[11] = flags;
        load[17] = BPF_XDP;
        let program_fd = create(BPF_PROG_LOAD, &load);
        const XDP_FLAGS_DRV_MODE: u32 = 4;
        let link = create(
            BPF_LINK_CREATE,
            &[
                program_fd.as_raw_fd() as u32,
                interface,
                BPF_XDP,
                XDP_FLAGS_DRV_MODE,
            ],
        );
        Self { map, _link: link }
    }

    /// Sends the packets of `queue` to the socket.
    pub fn insert(&self, queue: u32, socket: RawFd) {
        let (key, value) = (queue, socket as u32);
        let (key_at, value_at) = (&raw const key as u64, &raw const value as u64);
        let mut update = [0u32; 8];
        update[0] = self.map.as_raw_fd() as u32;
        update[2..6].copy_from_slice(&[low(key_at), high(key_at), low(value_at), high(value_at)]);
        bpf(BPF_MAP_UPDATE_ELEM, &update).expect("bpf(BPF_MAP_UPDATE_ELEM)");
    }
}

fn low(value: u64) -> u32 {
    value as u32
}

fn high(value: u64) -> u32 {
    (value >> 32) as u32
}

fn create(command: libc::c_long, attributes: &[u32]) -> OwnedFd {
    let fd = bpf(command, attributes).unwrap_or_else(|error| panic!("bpf({command}): {error}"));
    // SAFETY: these commands return a new descriptor.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn bpf(command: libc::c_long, attributes: &[u32]) -> io::Result<RawFd> {
    // SAFETY: `union bpf_attr` of the given size; what it points to lives in the callers' frames.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_ptr(),
            size_of_val(attributes),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as RawFd)
    }
}
