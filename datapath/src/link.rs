//! What carries packets between wire and frames: an AF_XDP socket, or UDP sockets. The engine does not tell them apart.

use std::fmt;
use std::io;
use std::ops::Range;
use std::os::fd::RawFd;

use blk_xdp::AttachMode;
use rustix::thread::{CapabilitySet, capabilities};

use crate::chain::Chain;
use crate::dump::Tap;
use crate::udp::{Grouping, UdpCounters, UdpLink};
use crate::umem::{Frame, Free, Held, Rx, Umem};
use crate::xsk::{BindMode, Parts, XskError, XskSocket, XskStatistics};

/// How blocks shall cross the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Datapath {
    /// AF_XDP where the driver has zero-copy; UDP elsewhere.
    #[default]
    Auto,
    /// AF_XDP in the best mode that can be had; UDP where none can.
    PreferXdp,
    /// AF_XDP, zero-copy.
    ZeroCopy,
    /// AF_XDP, copied by the kernel.
    Copy,
    /// AF_XDP behind a program that the network stack runs, on any driver.
    Skb,
    /// Ordinary UDP sockets.
    Udp,
}

impl Datapath {
    /// Whether it is UDP where AF_XDP cannot be had.
    pub fn falls_back(self) -> bool {
        matches!(self, Self::Auto | Self::PreferXdp)
    }

    /// How an AF_XDP socket binds for it.
    pub fn bind_mode(self) -> BindMode {
        match self {
            Self::Auto | Self::ZeroCopy => BindMode::ZeroCopy,
            Self::Copy | Self::Skb => BindMode::Copy,
            Self::PreferXdp | Self::Udp => BindMode::Auto,
        }
    }

    /// How the XDP program is attached for it. Generic mode has to be asked for: sockets of UDP are faster than it.
    pub fn attach_mode(self) -> AttachMode {
        match self {
            Self::Skb => AttachMode::Generic,
            Self::Auto | Self::PreferXdp | Self::ZeroCopy | Self::Copy | Self::Udp => {
                AttachMode::Native
            }
        }
    }
}

/// The privileges that AF_XDP needs and this thread lacks, for a message; `None`: it has them all.
pub fn missing_privileges() -> Option<String> {
    let has = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    let needed = [
        ("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN),
        ("CAP_NET_RAW", CapabilitySet::NET_RAW),
        ("CAP_BPF", CapabilitySet::BPF | CapabilitySet::SYS_ADMIN),
    ];
    let missing: Vec<&str> = needed
        .iter()
        .filter(|(_, any)| !has.intersects(*any))
        .map(|&(name, _)| name)
        .collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

/// Which link a worker has got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkKind {
    /// AF_XDP; the driver reads and writes the frames.
    ZeroCopy,
    /// AF_XDP; the kernel copies.
    Copy,
    /// AF_XDP in generic mode; the kernel makes socket buffers, and copies.
    Skb,
    /// UDP sockets.
    Udp,
}

impl LinkKind {
    /// The name in summaries.
    pub fn name(self) -> &'static str {
        match self {
            Self::ZeroCopy => "af_xdp-zerocopy",
            Self::Copy => "af_xdp-copy",
            Self::Skb => "af_xdp-skb",
            Self::Udp => "udp",
        }
    }
}

/// What a link has counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LinkStatistics {
    /// Of an AF_XDP socket; zero otherwise.
    pub xsk: XskStatistics,
    /// Of UDP sockets.
    pub udp: Option<UdpCounters>,
}

/// The link of an engine. See [`XskSocket`] for what each call promises; [`UdpLink`] promises the same.
#[derive(Debug)]
pub enum Link {
    /// An AF_XDP socket.
    Xsk(Box<XskSocket>),
    /// UDP sockets.
    Udp(Box<UdpLink>),
}

impl Link {
    /// Whether somebody looks at the UDP checksum of what is sent. UDP sockets make their own, and leave these headers at home, but
    /// a tap takes them down.
    pub fn wants_checksums(&self) -> bool {
        match self {
            Self::Xsk(_) => true,
            Self::Udp(udp) => udp.has_tap(),
        }
    }

    /// Which one it is.
    pub fn kind(&self) -> LinkKind {
        match self {
            Self::Xsk(xsk) if xsk.is_generic() => LinkKind::Skb,
            Self::Xsk(xsk) if xsk.is_zero_copy() => LinkKind::ZeroCopy,
            Self::Xsk(_) => LinkKind::Copy,
            Self::Udp(_) => LinkKind::Udp,
        }
    }

    /// The queue of the interface that an AF_XDP socket is bound to.
    pub fn queue(&self) -> Option<u32> {
        match self {
            Self::Xsk(xsk) => Some(xsk.bound_queue()),
            Self::Udp(_) => None,
        }
    }

    /// Packets that one session may send before the next has its turn: for UDP, some full messages at MTU 1500.
    pub fn burst(&self) -> usize {
        match self {
            Self::Xsk(_) => 64,
            Self::Udp(_) => 4 * 59,
        }
    }

    /// Puts free frames aside for reception.
    #[inline]
    pub fn fill(&mut self, umem: &mut Umem, target: usize) -> usize {
        match self {
            Self::Xsk(xsk) => xsk.fill(umem, target),
            Self::Udp(udp) => udp.fill(umem, target),
        }
    }

    /// Appends frames received. Each is a packet, but for those within `long`: each of its ranges is one packet.
    #[inline]
    pub fn receive(
        &mut self,
        umem: &mut Umem,
        batch: &mut Vec<Frame<Rx>>,
        long: &mut Vec<Range<usize>>,
    ) -> usize {
        match self {
            Self::Xsk(xsk) => xsk.receive_parts(umem, batch, long),
            Self::Udp(udp) => udp.receive(umem, batch),
        }
    }

    /// Whether a packet waits, as far as that can be told without a system call.
    #[inline]
    pub fn has_received(&mut self) -> bool {
        match self {
            Self::Xsk(xsk) => xsk.has_received(),
            Self::Udp(_) => false,
        }
    }

    /// Takes note of a session whose packets begin to go alone. An AF_XDP socket has no messages of several.
    pub fn note_parted(&mut self) {
        match self {
            Self::Xsk(_) => {}
            Self::Udp(udp) => udp.note_parted(),
        }
    }

    /// Queues a packet whose frame is free afterwards. Only UDP sockets have messages of several packets.
    #[inline]
    pub fn transmit(
        &mut self,
        umem: &mut Umem,
        frame: Frame<Free>,
        packet_len: usize,
        grouping: Grouping,
    ) -> Result<(), Frame<Free>> {
        match self {
            Self::Xsk(xsk) => xsk.transmit(umem, frame, packet_len),
            Self::Udp(udp) => udp.transmit(umem, frame, packet_len, grouping),
        }
    }

    /// Queues a packet whose frame is held afterwards.
    #[inline]
    pub fn transmit_held(
        &mut self,
        umem: &mut Umem,
        frame: Frame<Held>,
        packet_len: usize,
        grouping: Grouping,
    ) -> Result<(), Frame<Held>> {
        match self {
            Self::Xsk(xsk) => xsk.transmit_held(umem, frame, packet_len),
            Self::Udp(udp) => udp.transmit_held(umem, frame, packet_len, grouping),
        }
    }

    /// Queues a packet in several frames; see [`XskSocket::transmit_parts`]. UDP sockets take none, and no peer of theirs is told
    /// otherwise.
    pub fn transmit_parts(
        &mut self,
        umem: &mut Umem,
        parts: Vec<(Frame<Free>, usize)>,
        held: Chain<Frame<Held>>,
    ) -> Result<(), Parts> {
        match self {
            Self::Xsk(xsk) => xsk.transmit_parts(umem, parts, held),
            Self::Udp(_) => Err(Parts { parts, held }),
        }
    }

    /// Makes the kernel take what is queued.
    ///
    /// # Errors
    /// The interface of an AF_XDP socket is down or away.
    #[inline]
    pub fn kick(&mut self, umem: &Umem) -> Result<(), XskError> {
        match self {
            Self::Xsk(xsk) => xsk.kick(),
            Self::Udp(udp) => {
                udp.kick(umem);
                Ok(())
            }
        }
    }

    /// Packets that the kernel has not taken yet.
    pub fn queued(&mut self) -> usize {
        match self {
            Self::Xsk(xsk) => xsk.queued(),
            Self::Udp(udp) => udp.queued(),
        }
    }

    /// Takes back the frames of packets that were sent.
    #[inline]
    pub fn complete(&mut self, umem: &mut Umem, returned: &mut Vec<Frame<Held>>) -> usize {
        match self {
            Self::Xsk(xsk) => xsk.complete(umem, returned),
            Self::Udp(udp) => udp.complete(umem, returned),
        }
    }

    /// Packets that there is room for.
    #[inline]
    pub fn transmit_space(&mut self) -> usize {
        match self {
            Self::Xsk(xsk) => xsk.transmit_space(),
            Self::Udp(udp) => udp.transmit_space(),
        }
    }

    /// What becomes readable when packets come.
    pub fn fd(&self) -> RawFd {
        match self {
            Self::Xsk(xsk) => xsk.fd(),
            Self::Udp(udp) => udp.fd(),
        }
    }

    /// What the kernel heard about the other end. An AF_XDP socket hears nothing: its companion does.
    #[inline]
    pub fn take_error(&mut self) -> Option<io::Error> {
        match self {
            Self::Xsk(_) => None,
            Self::Udp(udp) => udp.take_error(),
        }
    }

    /// What was counted.
    ///
    /// # Errors
    /// As getsockopt(2).
    pub fn statistics(&self) -> io::Result<LinkStatistics> {
        Ok(match self {
            Self::Xsk(xsk) => LinkStatistics {
                xsk: xsk.statistics()?,
                udp: None,
            },
            Self::Udp(udp) => LinkStatistics {
                xsk: XskStatistics::default(),
                udp: Some(udp.counters()),
            },
        })
    }

    /// From now on every packet goes by this tap.
    pub fn set_tap(&mut self, tap: Tap) {
        match self {
            Self::Xsk(xsk) => xsk.set_tap(tap),
            Self::Udp(udp) => udp.set_tap(tap),
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}
