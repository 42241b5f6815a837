//! Why a UDP link could not be made.

use std::io;

/// An error of a UDP link.
#[derive(Debug, thiserror::Error)]
pub enum UdpError {
    /// The port is taken.
    #[error(
        "UDP port {0} is already in use on this host: stop the program that has it, or choose another with --port"
    )]
    InUse(u16),
    /// A socket could not be made.
    #[error("cannot open a UDP socket: {source}")]
    Open {
        /// What the kernel said.
        source: io::Error,
    },
    /// An option that the link cannot do without.
    #[error("the kernel has no {option} for UDP sockets ({source}): Linux 5.0 or newer is needed")]
    Option {
        /// The option's name in udp(7), ip(7) or ipv6(7).
        option: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}
