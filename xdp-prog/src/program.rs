//! The program on an interface.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use crate::counters::Counters;
use crate::error::{AttachError, CountersError, SlotError, TableError};
use crate::join::{Joined, join};
use crate::link::{Attachment, InterfaceId, LinkState, link_state};
use crate::load::Loaded;
use crate::maps::Maps;
use crate::netlink::NetlinkError;
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

impl AttachMode {
    /// How the kernel tells it.
    pub(crate) const fn attachment(self) -> Attachment {
        match self {
            Self::Native => Attachment::Native,
            Self::Generic => Attachment::Generic,
        }
    }
}

/// How long is tried to attach a program, or to join the one that is there, while others come and go.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(10);

/// A part in the XDP program on one interface: this process' own, or one that processes share.
///
/// Dropping it, or the death of the process in whatever way, ends this process' part; with the last one the program goes
/// off the interface.
pub struct Program {
    // Declared first, so dropped first: no packet meets the program without its maps.
    link: OwnedFd,
    maps: Maps,
    interface: LinkState,
    mode: AttachMode,
    id: u32,
    joined: bool,
}

impl Program {
    /// Loads the program and attaches it to an interface of the calling thread's network namespace, or joins the one that another
    /// process has there, when it is the same program in the same mode. Joining takes CAP_SYS_ADMIN.
    ///
    /// Nothing else happens to packets before a socket is [registered](Self::register).
    ///
    /// # Errors
    /// [`AttachError`] with the cause and the remedy. The interface is then unchanged.
    pub fn attach(
        interface: impl Into<InterfaceId>,
        mode: AttachMode,
    ) -> Result<Self, AttachError> {
        let interface = state(&interface.into())?;
        let loaded = Loaded::new(interface.rx_queues)?;
        let program = loaded.program()?;
        let own = program.info()?;
        let flags = match mode {
            AttachMode::Native => FLAG_NATIVE,
            AttachMode::Generic => FLAG_GENERIC,
        };
        let deadline = Instant::now() + PATIENCE;
        let (link, id, joined) = loop {
            let error = match sys::create_xdp_link(program.fd()?.as_fd(), interface.index, flags) {
                Ok(link) => break (link, own.id(), None),
                Err(error) => explain(&interface, mode, error),
            };
            if !matches!(error, AttachError::Busy { .. }) {
                return Err(error);
            }
            match join(&interface, mode, &own) {
                Joined::Yes { link, id, maps } => break (link, id, Some(maps)),
                Joined::No(why) => return Err(why.unwrap_or(error)),
                // It has gone, or is going: whoever comes first attaches another.
                Joined::Gone if Instant::now() < deadline => thread::sleep(PAUSE),
                Joined::Gone => return Err(error),
            }
        };
        tracing::debug!(
            interface = interface.name,
            program = id,
            ?mode,
            joined = joined.is_some(),
            "XDP program attached"
        );
        Ok(Self {
            link,
            joined: joined.is_some(),
            maps: joined.map_or(loaded.maps, |maps| *maps),
            interface,
            mode,
            id,
        })
    }

    /// Directs the packets that come by `queue` for `port` to an AF_XDP socket. The caller must have the UDP port bound on the host,
    /// so that no other process has it; several ports can share a queue as long as they differ modulo 16.
    ///
    /// The socket must be bound to that queue of this interface: nobody else can have the queue then, and the kernel drops
    /// what is redirected to a socket of another queue. A socket leaves its slot by itself when it is closed.
    ///
    /// # Errors
    /// [`SlotError`]: no such queue, the slot is taken, the port is claimed on another queue, or not an AF_XDP socket.
    pub fn register(
        &mut self,
        queue: u32,
        port: u16,
        socket: impl AsRawFd,
    ) -> Result<(), SlotError> {
        self.maps.register(queue, port, &socket)
    }

    /// Empties a slot: its packets go to the kernel from now on. An empty slot is no error, and one of another process stays
    /// as it is.
    ///
    /// # Errors
    /// [`SlotError`]: no such queue.
    pub fn unregister(&mut self, queue: u32, port: u16) -> Result<(), SlotError> {
        self.maps.unregister(queue, port)
    }

    /// Makes `port` a service: on every queue, packets to it obey this process' [`Tables`], from the moment on when a socket is
    /// [registered](Self::register) for the port on `queue`, and as long as that is there. On queues without a socket of
    /// the port, those that are let in go to the kernel. A process has one service on an interface.
    ///
    /// # Errors
    /// [`TableError`]: no such queue, too many services, or the kernel refuses.
    pub fn serve(&mut self, port: u16, queue: u32) -> Result<(), TableError> {
        self.maps.serve(port, queue)
    }

    /// What can be changed of the service while the program runs: limits and lists. As it is.
    #[must_use]
    pub const fn tables(&self) -> &Tables {
        self.maps.tables()
    }

    /// The same, to be changed.
    pub const fn tables_mut(&mut self) -> &mut Tables {
        self.maps.tables_mut()
    }

    /// Whether another process had attached the program.
    #[must_use]
    pub const fn is_joined(&self) -> bool {
        self.joined
    }

    /// Packets by verdict on each CPU, by its number, since the program was attached, whosever they were.
    ///
    /// # Errors
    /// [`CountersError`] when the map cannot be read.
    pub fn counters_by_cpu(&self) -> Result<Vec<Counters>, CountersError> {
        self.maps.counters_by_cpu()
    }

    /// Packets by verdict since the program was attached, whosever they were, summed over CPUs.
    ///
    /// # Errors
    /// [`CountersError`] when the map cannot be read.
    pub fn counters(&self) -> Result<Counters, CountersError> {
        self.maps.counters()
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

    /// RX queues that have slots.
    #[must_use]
    pub fn queues(&self) -> u32 {
        self.maps.queues()
    }

    /// Whether the program is still the one on its interface: not when somebody detached it by force, or
    /// the interface is gone.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        link_state(&InterfaceId::Index(self.interface.index))
            .is_ok_and(|state| state.xdp == Some((self.mode.attachment(), self.id)))
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
