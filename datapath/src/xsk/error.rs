//! Why a socket could not be opened or used, and what to do about it.

use std::io;

use super::{BindMode, XskConfig};

/// `ENOTSUPP` of the kernel (include/linux/errno.h), which leaks out of some drivers.
const ENOTSUPP: i32 = 524;

/// An error of an AF_XDP socket.
#[derive(Debug, thiserror::Error)]
pub enum XskError {
    /// The UMEM is anonymous memory.
    #[error("this UMEM is not registered with AF_XDP")]
    NotXdp,
    /// The UMEM has, or had, a socket.
    #[error("this UMEM already belongs to a socket: make a UMEM per queue")]
    UmemInUse,
    /// A ring size that is not a power of two.
    #[error("a ring of {size} entries: the size must be a power of two")]
    RingSize {
        /// What was asked for.
        size: u32,
    },
    /// Fill or completion ring other than the UMEM's.
    #[error(
        "fill and completion ring of {asked:?} entries asked for, but the UMEM was made with {made:?}: use Umem::with_rings"
    )]
    RingMismatch {
        /// Sizes in the configuration.
        asked: (u32, u32),
        /// Sizes that the UMEM has.
        made: (u32, u32),
    },
    /// RX or TX ring other than in an earlier, failed attempt on the same UMEM.
    #[error(
        "RX and TX ring of {asked:?} entries asked for, but an earlier attempt on this UMEM had {first:?}: use \
         these, or a new UMEM"
    )]
    RingsFixed {
        /// Sizes in the configuration.
        asked: (u32, u32),
        /// Sizes of the first attempt.
        first: (u32, u32),
    },
    /// A name that cannot be one of an interface.
    #[error("{interface:?} is no interface name")]
    InterfaceName {
        /// The name.
        interface: String,
    },
    /// No such interface.
    #[error("no interface {interface}: see `ip link` (in this network namespace)")]
    NoSuchInterface {
        /// Its name.
        interface: String,
    },
    /// Interface down.
    #[error("interface {interface} is down: `ip link set {interface} up`")]
    InterfaceDown {
        /// Its name.
        interface: String,
    },
    /// The kernel calls the request invalid; nearly always the queue number.
    #[error(
        "queue {queue} of {interface} cannot be bound: it probably does not exist (see `ethtool -l {interface}`; \
         queues count from 0)"
    )]
    NoSuchQueue {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// The kernel calls a request for zero-copy invalid. Drivers say that, too, when something that they need for it is not
    /// there: virtnet_xsk_pool_enable in drivers/net/virtio_net.c without DMA addresses.
    #[error(
        "{interface} (queue {queue}) refuses zero-copy mode: what its driver needs for it is not there (virtio_net: \
         Linux 6.18, and a device with DMA addresses, `iommu_platform=on` in QEMU), or the queue does not exist (see \
         `ethtool -l {interface}`; queues count from 0); or use copy mode"
    )]
    ZeroCopyRefused {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// Somebody else has the queue, also after some time of trying.
    #[error(
        "queue {queue} of {interface} is taken by an AF_XDP socket of another process: wait until that ends, give the \
         interface more queues (`ethtool -L {interface} combined N`), or use --datapath udp"
    )]
    QueueBusy {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
    },
    /// Others have all the queues that would do, also after some time of trying.
    #[error(
        "queues {first} to {last} of {interface} are all taken by AF_XDP sockets of other processes: wait until one of these \
         ends, give the interface more queues (`ethtool -L {interface} combined N`), or use --datapath udp"
    )]
    QueuesBusy {
        /// The interface.
        interface: String,
        /// The first queue tried.
        first: u32,
        /// The last.
        last: u32,
    },
    /// The driver cannot do it.
    #[error(
        "{interface} (queue {queue}) does not support {mode:?}: the driver lacks it, or the MTU is above what it \
         allows in this mode; lower the MTU, or use copy mode"
    )]
    Unsupported {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// The mode asked for.
        mode: BindMode,
    },
    /// An option for busy polling.
    #[error(
        "the kernel does not take {option} for an AF_XDP socket ({source}): Linux 5.11 or newer with \
         CONFIG_NET_RX_BUSY_POLL, and CAP_NET_ADMIN, are needed; or leave --busy-poll out"
    )]
    BusyPoll {
        /// The option's name in socket(7).
        option: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// Not allowed.
    #[error(
        "no privilege to bind to {interface} ({source}): CAP_NET_RAW is needed, and CAP_NET_ADMIN for some drivers"
    )]
    NoPrivilege {
        /// The interface.
        interface: String,
        /// The system's error.
        source: io::Error,
    },
    /// Out of memory.
    #[error(
        "no memory for the rings on {interface} ({source}): use smaller rings, or raise the memlock limit (ulimit -l)"
    )]
    NoMemory {
        /// The interface.
        interface: String,
        /// The system's error.
        source: io::Error,
    },
    /// Anything else while opening.
    #[error("cannot open an AF_XDP socket on queue {queue} of {interface}: {source}")]
    Open {
        /// The interface.
        interface: String,
        /// The queue.
        queue: u32,
        /// The system's error.
        source: io::Error,
    },
    /// Transmission failed for good: the interface went down or away.
    #[error("the kernel refuses to transmit: {source}")]
    Transmit {
        /// The system's error.
        source: io::Error,
    },
}

impl XskError {
    /// Whether other sockets have the queues: that may change.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::QueueBusy { .. } | Self::QueuesBusy { .. })
    }

    /// Whether it may be that the kernel, or the driver, knows nothing of packets in several frames: then the same without them may
    /// do.
    pub(crate) fn may_be_for_fragments(&self) -> bool {
        matches!(self, Self::NoSuchQueue { .. } | Self::Unsupported { .. })
    }

    /// The error when others have these queues.
    pub(super) fn busy(interface: String, first: u32, last: u32) -> Self {
        if first == last {
            let queue = first;
            return Self::QueueBusy { interface, queue };
        }
        Self::QueuesBusy {
            interface,
            first,
            last,
        }
    }

    /// Explains why socket creation or bind(2) failed. Error numbers: net/xdp/xsk.c `xsk_bind`,
    /// net/xdp/xsk_buff_pool.c `xp_assign_dev`.
    pub(super) fn from_open(source: io::Error, config: &XskConfig, queue: u32) -> Self {
        let interface = config.interface.clone();
        match source.raw_os_error() {
            Some(libc::ENODEV | libc::ENXIO) => Self::NoSuchInterface { interface },
            Some(libc::ENETDOWN) => Self::InterfaceDown { interface },
            Some(libc::EINVAL) if config.mode == BindMode::ZeroCopy => {
                Self::ZeroCopyRefused { interface, queue }
            }
            Some(libc::EINVAL) => Self::NoSuchQueue { interface, queue },
            Some(libc::EBUSY) => Self::busy(interface, queue, queue),
            Some(libc::EOPNOTSUPP | ENOTSUPP) => Self::Unsupported {
                interface,
                queue,
                mode: config.mode,
            },
            Some(libc::EPERM | libc::EACCES) => Self::NoPrivilege { interface, source },
            Some(libc::ENOMEM | libc::ENOBUFS) => Self::NoMemory { interface, source },
            _ => Self::Open {
                interface,
                queue,
                source,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(mode: BindMode, code: i32) -> XskError {
        let config = XskConfig::new("eth0", 3, mode);
        XskError::from_open(io::Error::from_raw_os_error(code), &config, config.queue)
    }

    #[test]
    fn an_invalid_request_for_zero_copy_is_not_put_down_to_the_queue_alone() {
        let error = opening(BindMode::ZeroCopy, libc::EINVAL);
        assert!(matches!(error, XskError::ZeroCopyRefused { queue: 3, .. }));
        assert!(error.to_string().contains("iommu_platform=on"), "{error}");
        for mode in [BindMode::Copy, BindMode::Auto] {
            let error = opening(mode, libc::EINVAL);
            assert!(matches!(error, XskError::NoSuchQueue { queue: 3, .. }));
        }
    }
}
