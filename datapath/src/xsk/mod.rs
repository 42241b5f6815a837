//! One AF_XDP socket: the four rings of one NIC queue, in terms of [`Frame`](crate::umem::Frame) tokens.
//!
//! ```text
//!            fill                     receive
//! free ---> [fill ring] ==> NIC ==> [RX ring] ---> Frame<Rx>
//!
//!              transmit(_held)   kick                     complete
//! Frame<Free> --> [TX ring] ========> NIC ==> [completion ring] ---> free
//! Frame<Held> -->                                               ---> Frame<Held>
//! ```
//!
//! A packet is one frame, or several where the UMEM is made for that (`XDP_USE_SG`; [`XskSocket::transmit_parts`]). No XDP program is loaded
//! here; somebody puts [`XskSocket::fd`] into an XSKMAP. A zero-copy socket takes over its queue's reception
//! also when it only sends, so it always needs fill frames.
//!
//! The queue is given free when the socket **and** its UMEM (and the disk queue on it) are dropped: the
//! kernel's socket belongs to the UMEM. Until then the kernel may still use the frames in its rings.

mod config;
mod error;
mod fragments;
mod options;
mod socket;

pub use config::{BindMode, DEFAULT_RING, XskConfig};
pub use error::XskError;
pub use options::XskStatistics;
pub use socket::{Parts, RECEIVE_BATCH, XskSocket};
