#![cfg_attr(not(feature = "std"), no_std)]
//! Wire format and session protocol of blockd: how file blocks and control messages travel in UDP packets.
//!
//! Everything here is sans-IO: it takes bytes and a [`time::Time`], and gives packets, events and the next deadline.
//! There are no sockets, no clocks and no threads, so the same code runs in a worker's polling loop, behind ordinary
//! UDP sockets and in a simulation in virtual time.
//!
//! ```text
//!            no_std (shared with the XDP program)          │            feature "std"
//!                                                          │
//!   net ───── wire ───────── geometry ───── time           │   message ── what the control stream carries
//!   Ethernet,  56-byte header, where the    nanoseconds    │      │
//!   IP, UDP    CRC, open/seal  payload lies                │   session ── handshake, acks, loss recovery,
//!                                                          │              congestion window, credit, blocks
//!
//!   one Data packet in a UMEM chunk (IPv4):
//!
//!   chunk      +256         +384                  +512                                        +4096
//!     │ kernel   │ headroom   │ eth ip udp │ header │ 0 │ payload, a multiple of the granule      │
//!     └──────────┴────────────┴────14+20+8─┴───56───┴───┴─────────────────────────────────────────┘
//!                             └──────── PAYLOAD_OFFSET ─┘
//! ```
//!
//! The module `sim`, behind the feature of that name, runs sessions in virtual time on bad networks and checks what must
//! hold; `scripts/sim` runs it over many seeds.
//!
//! Invariants that the rest of the project leans on:
//!
//! * A payload that [`wire::open`] let through has the length and the CRC32 that its header says.
//! * [`session::Session`] reports each block exactly once, and control messages in the order they were sent.
//! * A block handed to [`session::Session::queue_block`] comes back exactly once, in
//!   [`session::Event::Released`]: acknowledged, cancelled, or when the session closes.
//! * Memory is bounded by the limits in [`session::Config`], whatever the peer sends.
//! * No input from outside panics, and each packet that is dropped is counted in [`drops::Drops`].

pub mod drops;
#[cfg(feature = "std")]
pub mod flows;
pub mod geometry;
#[cfg(feature = "std")]
pub mod message;
pub mod net;
#[cfg(feature = "std")]
pub mod session;
#[cfg(feature = "sim")]
pub mod sim;
pub mod time;
pub mod wire;
