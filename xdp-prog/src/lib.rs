//! Load, attach and observe the XDP program that steers blockd's packets.
//!
//! The program (`ebpf/`, built into the committed object `blk_xdp.o`) gives UDP packets to the protocol's
//! ports to AF_XDP sockets and leaves all other traffic to the kernel. This crate is its user side.
//!
//! ```text
//!            worker 0   worker 1         a worker's AF_XDP socket, registered in its slot
//!               ^          ^
//!  SOCKETS  [ q0 w0 ][ q0 w1 ] ... [ q0 w15 ][ q1 w0 ] ...      slot = queue * 16 + (port - first) % workers
//!               ^          ^
//!  NIC queue 0 -+- blk_xdp +---> XDP_PASS -> kernel             COUNTERS: packets by verdict, per CPU
//!                |   |   +-----> CPUMAP: the kernel, elsewhere
//!                |   +--> XDP_DROP: not allowed, too short, too many handshakes
//!             BPF link, a descriptor of this process            Tables: ports, workers, limits, lists
//! ```
//!
//! # Invariants
//!
//! - The program lives as long as [`Program`], never longer: it is attached by a BPF link, which the kernel
//!   removes with its last descriptor, also on `kill -9`. There is no netlink attachment, and no fall-back
//!   to one, nor from native to generic mode.
//! - An interface that has another XDP program is never touched.
//! - The program drops packets to the protocol's ports only: those that no version of the protocol could have sent
//!   (shorter than a header), and what [`Tables`] say. A packet without a socket in its slot goes to the kernel.
//! - [`Tables`] change while packets come, without a reload.
//!
//! # Privileges
//!
//! CAP_BPF and CAP_NET_ADMIN, Linux 5.18 or newer. No bpffs, no RLIMIT_MEMLOCK. With CAP_SYS_ADMIN, the
//! error about another program can say its name.
//!
//! # Example
//!
//! ```no_run
//! use std::os::fd::OwnedFd;
//!
//! use blk_xdp::{AttachMode, PortRange, Program};
//!
//! fn steer(socket: OwnedFd) -> Result<Program, Box<dyn std::error::Error>> {
//!     let ports = PortRange::new(9000, 2)?;
//!     let mut program = Program::attach("blk0", ports, AttachMode::Native)?;
//!     program.register(0, 1, socket)?; // packets of queue 0 to port 9001
//!     println!("{:?}", program.counters()?);
//!     Ok(program)
//! }
//! ```

mod abi;
mod counters;
mod error;
mod inspect;
mod limit;
mod link;
mod load;
pub mod netlink;
mod network;
mod ports;
mod privileges;
mod program;
mod running;
mod sys;
mod tables;

pub use abi::WORKERS_PER_QUEUE;
pub use counters::Counters;
pub use error::{AttachError, CountersError, PortRangeError, SlotError, TableError};
pub use inspect::{ProgramInfo, ProgramInfoError, program_info};
pub use limit::{HandshakeLimit, HandshakeLimitError};
pub use link::{Attachment, InterfaceId, LinkState, link_state};
pub use network::{Network, NetworkError};
pub use ports::PortRange;
pub use program::{AttachMode, Program};
pub use running::{Hold, Holder, RunningProgram};
pub use tables::Tables;

#[cfg(test)]
#[path = "../tests/netns/mod.rs"]
mod netns;
#[cfg(test)]
mod verdict_tests;
