//! Load, attach and observe the XDP program that steers blockd's packets.
//!
//! The program (`ebpf/`, built into the committed object `blk_xdp.o`) gives UDP packets to the protocol's
//! ports to AF_XDP sockets and leaves all other traffic to the kernel. This crate is its user side.
//!
//! ```text
//!            process A  process B        an AF_XDP socket, registered in its slot
//!               ^          ^
//!  SOCKETS  [ q0 ... ][ q1 ... ] ...     slot = queue * 16 + port % 16
//!  SLOTS    [ 40001  ][ 7440   ] ...     the port of each slot
//!               ^          ^
//!  NIC queue 0 -+- blk_xdp +---> XDP_PASS -> kernel             COUNTERS: packets by verdict, per CPU
//!                |   |   +-----> CPUMAP: the kernel, elsewhere
//!                |   +--> XDP_DROP: not allowed, too short, too many handshakes
//!             BPF link, a descriptor of each process            Tables: limits and lists of a service, by its port
//! ```
//!
//! # Invariants
//!
//! - The program lives as long as the last [`Program`] that shares it, never longer: it is attached by a BPF link, which the kernel
//!   removes with its last descriptor, also on `kill -9`. There is no netlink attachment, and no fall-back
//!   to one, nor from native to generic mode.
//! - An interface that has another XDP program is never touched.
//! - The program drops packets to claimed ports only: those that no version of the protocol could have sent
//!   (shorter than a header), and what [`Tables`] say. A packet without a socket in its slot goes to the kernel.
//! - [`Tables`] change while packets come, without a reload.
//! - Processes that share it cannot get in each other's way. What there is of a queue is written by whoever has an AF_XDP socket bound
//!   to it, what there is of a service's port by whoever has the UDP port: the kernel gives each to one at a time. What a
//!   process that died has left counts for nothing, because it counts only while there is a socket in a slot, and the kernel takes
//!   closed sockets out.
//!
//! # Privileges
//!
//! CAP_BPF and CAP_NET_ADMIN, Linux 5.18 or newer. No bpffs, no RLIMIT_MEMLOCK. CAP_SYS_ADMIN to join the program of another
//! process, and to name another program in an error.
//!
//! # Example
//!
//! ```no_run
//! use std::os::fd::OwnedFd;
//!
//! use blk_xdp::{AttachMode, Program};
//!
//! fn steer(socket: OwnedFd) -> Result<Program, Box<dyn std::error::Error>> {
//!     let mut program = Program::attach("blk0", AttachMode::Native)?;
//!     program.register(0, 9001, socket)?; // packets of queue 0 to port 9001
//!     println!("{:?}", program.counters()?);
//!     Ok(program)
//! }
//! ```

mod abi;
mod counters;
mod error;
mod inspect;
mod join;
mod limit;
mod link;
mod load;
mod maps;
pub mod netlink;
mod network;
mod privileges;
mod program;
mod running;
mod sys;
mod tables;

pub use abi::SLOTS_PER_QUEUE;
pub use counters::Counters;
pub use error::{AttachError, CountersError, SlotError, TableError, WhyUnshared};
pub use inspect::{ProgramInfo, ProgramInfoError, program_info};
pub use limit::{HandshakeLimit, HandshakeLimitError};
pub use link::{Attachment, InterfaceId, LinkState, link_state};
pub use network::{Network, NetworkError};
pub use program::{AttachMode, Program};
pub use running::{Hold, Holder, RunningProgram};
pub use tables::Tables;

#[cfg(test)]
#[path = "../tests/netns/mod.rs"]
mod netns;
#[cfg(test)]
mod verdict_tests;
