//! Ordinary UDP sockets with segmentation in the kernel (`UDP_SEGMENT`, `UDP_GRO`, udp(7)): no privileges, any interface.
//!
//! One system call carries up to 64 KiB of equal packets, and software devices pass them on in one piece. The engine does
//! not notice: each packet is in a frame of its own, behind headers, as an AF_XDP socket has it. Their Ethernet addresses
//! are zero, since nobody sees them.
//!
//! ```text
//!            chunk + 384             + 426              + 512
//!  frame 0   | headers, made here    | protocol header  | payload |     <- iovec 0 of recvmsg: one segment
//!  frame 1   | headers, made here    | protocol header  | payload |     <- iovec 1
//! ```
//!
//! Segments land in frames without a copy in user space when they are as long as the last ones (`split.rs`); others are
//! copied there, and counted. A listening port has a [`Gate`], which drops what its sender may not send before it takes a
//! frame.

mod counters;
mod error;
mod gate;
mod group;
mod link;
mod port;
mod receive;
mod split;
mod sys;
#[cfg(test)]
pub(crate) mod tests;
mod transmit;

pub use counters::UdpCounters;
pub use error::UdpError;
pub use gate::{Gate, Refusal};
pub use group::{Grouping, SEGMENTS_VARIABLE};
pub(crate) use group::{group, segments_max};
pub use link::UdpLink;
pub use port::UdpPort;
pub(crate) use port::{accept_zero_checksums, raise_receive_buffer};
