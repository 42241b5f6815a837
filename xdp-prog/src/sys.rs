//! The bpf(2) commands that aya does not offer as they are needed here.
//!
//! aya's own attach falls back to a netlink attachment when the kernel answers `EINVAL`. Such a program
//! stays on the interface when the process is killed, so that is never an option.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `BPF_LINK_CREATE` of `enum bpf_cmd` (include/uapi/linux/bpf.h).
const BPF_LINK_CREATE: libc::c_long = 28;
/// `BPF_LINK_GET_FD_BY_ID` of `enum bpf_cmd` (include/uapi/linux/bpf.h).
const BPF_LINK_GET_FD_BY_ID: libc::c_long = 30;
/// `BPF_XDP` of `enum bpf_attach_type` (include/uapi/linux/bpf.h).
const BPF_XDP: u32 = 37;

/// The part of `union bpf_attr` that `BPF_LINK_CREATE` reads for an XDP program (struct `link_create`,
/// include/uapi/linux/bpf.h). The kernel takes a shorter union as one padded with zeros.
#[repr(C)]
struct LinkCreate {
    program: i32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches an XDP program to an interface by a BPF link: it stays as long as the returned descriptor, or
/// a copy of it, is open anywhere. `flags` are the `XDP_FLAGS_*` of include/uapi/linux/if_link.h.
///
/// # Errors
/// The kernel's error number: `EBUSY` or `EEXIST` when there is another program, `EOPNOTSUPP` when the
/// driver does not do this mode, `EINVAL` and others when it does not want this program now.
pub fn create_xdp_link(program: BorrowedFd<'_>, interface: u32, flags: u32) -> io::Result<OwnedFd> {
    let attributes = LinkCreate {
        program: program.as_raw_fd(),
        interface,
        attach_type: BPF_XDP,
        flags,
    };
    make_descriptor(BPF_LINK_CREATE, &attributes)
}

/// The part of `union bpf_attr` that `BPF_LINK_GET_FD_BY_ID` reads: the second anonymous struct with ids.
#[repr(C)]
struct GetFdById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// Another descriptor of the BPF link with this id.
///
/// # Errors
/// The kernel's error number: `EPERM` without CAP_SYS_ADMIN, `ENOENT` or `EAGAIN` when it is gone, or going.
pub fn link_by_id(id: u32) -> io::Result<OwnedFd> {
    let attributes = GetFdById {
        id,
        next_id: 0,
        open_flags: 0,
    };
    make_descriptor(BPF_LINK_GET_FD_BY_ID, &attributes)
}

/// Runs a command that makes a descriptor. `T` is the part of `union bpf_attr` that it reads.
fn make_descriptor<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the pointer and size describe `attributes`, which outlives the call; of a plain structure of integers the
    // kernel only reads.
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us; nothing else owns it. It fits an `int`.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as i32) })
}
