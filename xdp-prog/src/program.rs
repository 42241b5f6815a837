//! The program on an interface.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use crate::counters::Counters;
use crate::error::{AttachError, CountersError, SlotError};
use crate::link::{Attachment, InterfaceId, LinkState, link_state};
use crate::load::Loaded;
use crate::netlink::NetlinkError;
use crate::ports::PortRange;
use crate::running::RunningProgram;
use crate::sys;
use crate::tables::Tables;

/// `XDP_FLAGS_SKB_MODE` of include/uapi/linux/if_link.h.
const FLAG_GENERIC: u32 = 1 << 1;
/// `XDP_FLAGS_DRV_MODE` of include/uapi/linux/if_link.h.
const FLAG_NATIVE: u32 = 1 << 2;

/// How to run the program; there is no silent fall-back from one to the other.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum AttachMode {
    /// By the driver. Zero-copy sockets need this.
    Native,
    /// By the network stack on socket buffers: any Ethernet device, and slow.
    Generic,
}

/// The XDP program, loaded and attached to one interface.
///
/// Dropping it, or the death of the process in whatever way, takes the program off the interface.
pub struct Program {
    // Declared first, so dropped first: no packet meets the program without its maps.
    link: OwnedFd,
    loaded: Loaded,
    interface: LinkState,
    mode: AttachMode,
    id: u32,
}

impl Program {
    /// Loads the program and attaches it to an interface of the calling thread's network namespace.
    ///
    /// From now on UDP packets to `ports` go to the registered sockets, but for those too short for the protocol,
    /// which are dropped; all others, and those without a socket, reach the kernel as before.
    ///
    /// # Errors
    /// [`AttachError`] with the cause and the remedy. The interface is then unchanged.
    pub fn attach(
        interface: impl Into<InterfaceId>,
        ports: PortRange,
        mode: AttachMode,
    ) -> Result<Self, AttachError> {
        let interface = state(&interface.into())?;
        let loaded = Loaded::new(ports, interface.rx_queues)?;
        let program = loaded.program()?;
        let id = program.info()?.id();
        let flags = match mode {
            AttachMode::Native => FLAG_NATIVE,
            AttachMode::Generic => FLAG_GENERIC,
        };
        let link = sys::create_xdp_link(program.fd()?.as_fd(), interface.index, flags)
            .map_err(|error| explain(&interface, mode, error))?;
        tracing::debug!(
            interface = interface.name,
            program = id,
            ?mode,
            "XDP program attached"
        );
        Ok(Self {
            link,
            loaded,
            interface,
            mode,
            id,
        })
    }

    /// Directs the packets of `queue` and `worker` to an AF_XDP socket. A port's worker is its distance from the first
    /// port, modulo the [workers](Tables::workers) of the queue.
    ///
    /// The socket must be bound to that queue of this interface: the kernel drops what is redirected to a
    /// socket of another queue. A socket leaves its slot by itself when it is closed.
    ///
    /// # Errors
    /// [`SlotError`]: no such queue or worker, the slot is taken, or not an AF_XDP socket.
    pub fn register(
        &mut self,
        queue: u32,
        worker: u32,
        socket: impl AsRawFd,
    ) -> Result<(), SlotError> {
        self.loaded.register(queue, worker, &socket)
    }

    /// Empties a slot: its packets go to the kernel from now on. An empty slot is no error.
    ///
    /// # Errors
    /// [`SlotError`]: no such queue or worker.
    pub fn unregister(&mut self, queue: u32, worker: u32) -> Result<(), SlotError> {
        self.loaded.unregister(queue, worker)
    }

    /// What can be changed while the program runs: ports, workers, limits, lists. As it is.
    #[must_use]
    pub const fn tables(&self) -> &Tables {
        self.loaded.tables()
    }

    /// The same, to be changed.
    pub const fn tables_mut(&mut self) -> &mut Tables {
        self.loaded.tables_mut()
    }

    /// Packets by verdict on each CPU, by its number, since the program was attached.
    ///
    /// # Errors
    /// [`CountersError`] when the map cannot be read.
    pub fn counters_by_cpu(&self) -> Result<Vec<Counters>, CountersError> {
        self.loaded.counters_by_cpu()
    }

    /// Packets by verdict since the program was attached, summed over CPUs.
    ///
    /// # Errors
    /// [`CountersError`] when the map cannot be read.
    pub fn counters(&self) -> Result<Counters, CountersError> {
        self.loaded.counters()
    }

    /// The program's id, as `bpftool prog` and `ip link` show it.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// The id of the BPF link that holds the program on the interface, as `bpftool link` shows it.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn link_id(&self) -> io::Result<u32> {
        let path = format!("/proc/self/fdinfo/{}", self.link.as_raw_fd());
        std::fs::read_to_string(path)?
            .lines()
            .find_map(|line| line.strip_prefix("link_id:")?.trim().parse().ok())
            .ok_or_else(|| io::Error::other("no link id in /proc/self/fdinfo"))
    }

    /// The mode that was asked for, and had.
    #[must_use]
    pub const fn mode(&self) -> AttachMode {
        self.mode
    }

    /// The interface as it was when the program was attached.
    #[must_use]
    pub const fn interface(&self) -> &LinkState {
        &self.interface
    }

    /// The ports that the program serves.
    #[must_use]
    pub const fn ports(&self) -> PortRange {
        self.tables().ports()
    }

    /// RX queues that have slots.
    #[must_use]
    pub const fn queues(&self) -> u32 {
        self.loaded.queues()
    }

    /// Whether the program is still the one on its interface: not when somebody detached it by force, or
    /// the interface is gone.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        let mode = match self.mode {
            AttachMode::Native => Attachment::Native,
            AttachMode::Generic => Attachment::Generic,
        };
        link_state(&InterfaceId::Index(self.interface.index))
            .is_ok_and(|state| state.xdp == Some((mode, self.id)))
    }
}

/// The state of an interface, or the error for the user.
fn state(interface: &InterfaceId) -> Result<LinkState, AttachError> {
    link_state(interface).map_err(|source| match source.refusal() {
        // EINVAL and ERANGE: a name that no interface can have.
        Some(libc::ENODEV | libc::EINVAL | libc::ERANGE) => {
            AttachError::NoInterface(interface.to_string())
        }
        _ => netlink_error(interface, source),
    })
}

fn netlink_error(interface: &InterfaceId, source: NetlinkError) -> AttachError {
    AttachError::Netlink {
        interface: interface.to_string(),
        source,
    }
}

/// The error for an interface that did not take the program.
fn explain(interface: &LinkState, mode: AttachMode, source: io::Error) -> AttachError {
    let name = interface.name.clone();
    match (source.raw_os_error(), mode) {
        (Some(code @ (libc::EPERM | libc::EACCES)), _) => {
            AttachError::no_privileges("attach the XDP program", code)
        }
        // EEXIST: a program in the other mode, native or generic.
        (Some(libc::EBUSY | libc::EEXIST), _) => AttachError::Busy {
            program: RunningProgram::on(interface.index),
            interface: name,
        },
        (Some(libc::EOPNOTSUPP), AttachMode::Native) => {
            AttachError::NoNativeXdp { interface: name }
        }
        (Some(libc::ENOMEM), _) => AttachError::NoMemory {
            operation: "attach the XDP program",
            source,
        },
        // The interface went away in between; bpf_xdp_link_attach says EINVAL then (net/core/dev.c).
        _ if link_state(&InterfaceId::Index(interface.index)).is_err() => {
            AttachError::NoInterface(name)
        }
        _ => AttachError::Refused {
            interface: name,
            mtu: interface.mtu,
            source,
        },
    }
}
