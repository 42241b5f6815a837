//! The `netdev` family of generic netlink: what a driver announces about XDP, and how its queues are polled.
//!
//! Documentation/netlink/specs/netdev.yaml. The XDP part is of Linux 6.3, the polling part of 6.8 and 6.13.

use std::io;

use super::genetlink::{Ask, call, family};

/// include/uapi/linux/netdev.h.
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
const NETDEV_A_DEV_XDP_ZC_MAX_SEGS: u16 = 4;
const NETDEV_CMD_NAPI_GET: u8 = 11;
const NETDEV_A_NAPI_IFINDEX: u16 = 1;
const NETDEV_A_NAPI_DEFER_HARD_IRQS: u16 = 5;
const NETDEV_A_NAPI_GRO_FLUSH_TIMEOUT: u16 = 6;

/// What a driver announces about XDP in its present state (`enum netdev_xdp_act`).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct XdpFeatures {
    /// The bits as they are.
    pub bits: u64,
    /// Fragments that a packet may have in zero-copy mode, at least 1 (Linux 6.6).
    pub zero_copy_segments: Option<u64>,
}

impl XdpFeatures {
    const BASIC: u64 = 1;
    const REDIRECT: u64 = 2;
    const ZERO_COPY: u64 = 8;
    const RX_FRAGMENTS: u64 = 32;

    /// Programs in native mode that may redirect, which AF_XDP needs.
    #[must_use]
    pub const fn native(self) -> bool {
        self.bits & (Self::BASIC | Self::REDIRECT) == Self::BASIC | Self::REDIRECT
    }

    /// AF_XDP in zero-copy mode.
    #[must_use]
    pub const fn zero_copy(self) -> bool {
        self.bits & Self::ZERO_COPY != 0
    }

    /// Packets in several buffers (`xdp.frags`).
    #[must_use]
    pub const fn fragments(self) -> bool {
        self.bits & Self::RX_FRAGMENTS != 0
    }

    /// Asks about the interface of this index.
    ///
    /// # Errors
    /// Why it is not known.
    pub(super) fn of(index: u32) -> Result<Self, String> {
        let ask = || -> io::Result<Option<Self>> {
            let attribute = (NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes()[..]);
            let answers = call(family("netdev")?, NETDEV_CMD_DEV_GET, Ask::One, attribute)?;
            Ok(answers.first().and_then(|answer| {
                Some(Self {
                    bits: answer.number(NETDEV_A_DEV_XDP_FEATURES)?,
                    zero_copy_segments: answer.number(NETDEV_A_DEV_XDP_ZC_MAX_SEGS),
                })
            }))
        };
        match ask() {
            Ok(Some(features)) => Ok(features),
            Ok(None) => Err("the kernel's answer has no XDP features".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err("Linux 6.3 or newer tells it (netlink family netdev)".to_owned())
            }
            Err(error) => Err(format!("the kernel does not tell: {error}")),
        }
    }
}

/// How the queues of an interface that are in use are polled; of several settings, the lowest.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct BusyPoll {
    /// Instances of NAPI: about one a queue.
    pub instances: usize,
    /// `napi_defer_hard_irqs`: polls without work before interrupts are switched on again (Linux 6.13 tells).
    pub defer_hard_irqs: Option<u64>,
    /// `gro_flush_timeout`, nanoseconds (Linux 6.13 tells).
    pub flush_timeout: Option<u64>,
}

impl BusyPoll {
    /// Asks about the interface of this index. `None`: the kernel is too old, or nothing polls.
    pub(super) fn of(index: u32) -> Option<Self> {
        let attribute = (NETDEV_A_NAPI_IFINDEX, &index.to_ne_bytes()[..]);
        let family = family("netdev").ok()?;
        let answers = call(family, NETDEV_CMD_NAPI_GET, Ask::Dump, attribute).ok()?;
        let lowest = |kind| answers.iter().filter_map(|napi| napi.number(kind)).min();
        (!answers.is_empty()).then(|| Self {
            instances: answers.len(),
            defer_hard_irqs: lowest(NETDEV_A_NAPI_DEFER_HARD_IRQS),
            flush_timeout: lowest(NETDEV_A_NAPI_GRO_FLUSH_TIMEOUT),
        })
    }
}

/// What there is to say to somebody who wants to poll the queues of an interface: that nothing can be polled there, or what has
/// to be set for interrupts to keep away (Documentation/networking/napi.rst, "IRQ mitigation"), with the commands.
pub fn busy_poll_hint(name: &str, index: u32) -> Option<String> {
    hint(name, BusyPoll::of(index)?)
}

fn hint(name: &str, poll: BusyPoll) -> Option<String> {
    let missing = |value: Option<u64>| value == Some(0);
    if !missing(poll.defer_hard_irqs) && !missing(poll.flush_timeout) {
        return None;
    }
    Some(format!(
        "busy polling of {name}: interrupts go on beside it while napi_defer_hard_irqs or gro_flush_timeout is 0; to keep them away: \
         echo 2 > /sys/class/net/{name}/napi_defer_hard_irqs; echo 200000 > /sys/class/net/{name}/gro_flush_timeout"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_needs_redirection() {
        let features = |bits| XdpFeatures {
            bits,
            zero_copy_segments: None,
        };
        assert!(features(0b11).native() && !features(0b01).native() && !features(0).native());
        assert!(features(0b1011).zero_copy() && !features(0b10_0011).zero_copy());
        assert!(features(0b10_0011).fragments() && !features(0b1011).fragments());
    }

    #[test]
    fn what_has_to_be_set_is_said_only_while_it_is_not() {
        let poll = |defer_hard_irqs, flush_timeout| BusyPoll {
            instances: 1,
            defer_hard_irqs,
            flush_timeout,
        };
        for poll in [
            poll(Some(0), Some(0)),
            poll(Some(2), Some(0)),
            poll(Some(0), None),
        ] {
            let said = hint("eth7", poll).unwrap();
            for word in ["/eth7/napi_defer_hard_irqs", "/eth7/gro_flush_timeout"] {
                assert!(said.contains(word), "{said}");
            }
        }
        assert_eq!(hint("eth7", poll(Some(2), Some(200_000))), None);
        assert_eq!(
            hint("eth7", poll(None, None)),
            None,
            "the kernel does not tell"
        );
    }

    #[test]
    fn an_interface_that_is_not_there_is_no_kernel_that_is_too_old() {
        // Either family `netdev` is missing, or it knows no such interface: both say why.
        let why = XdpFeatures::of(u32::MAX >> 1).unwrap_err();
        assert!(
            why.contains("6.3") || why.contains("does not tell"),
            "{why}"
        );
        assert_eq!(BusyPoll::of(u32::MAX >> 1), None);
    }
}
