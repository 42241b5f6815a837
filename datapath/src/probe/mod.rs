//! What this host, its network interfaces and its disks can do for the data path, and what to change.
//!
//! ```text
//!  kernel ──► host      HostFacts      ──► host_findings ────────┐
//!         ──► interface InterfaceFacts ──► interface_findings ───┼──► Finding: in words, with what would change it
//!         ──► place     PlaceFacts     ──► place_findings ───────┘
//!                                              ▲
//!                              quirks, mtu: tables of what is known of drivers
//! ```
//!
//! The left side asks the kernel and judges nothing; the right side is pure. Nothing is changed: no program is loaded, no
//! queue is bound. Most of it needs no privileges; what does is told as not known, with the reason.

mod af_xdp;
mod choice;
mod ethtool;
mod finding;
mod genetlink;
mod host;
mod host_findings;
mod interface;
mod interface_findings;
mod kernel;
mod links;
mod mtu;
mod netdev;
mod place;
mod place_findings;
mod queue_findings;
mod quirks;
mod quirks_table;
mod stacked;
mod virtio;
mod xdp_findings;

pub use choice::no_zero_copy;
pub use ethtool::{Offloads, Queues, Rings, Steering};
pub use finding::{Finding, Level};
pub use host::{Capabilities, HostFacts, Ring};
pub use host_findings::host_findings;
pub use interface::{InterfaceFacts, XdpProgram};
pub use interface_findings::interface_findings;
pub use kernel::{KernelRange, KernelVersion, ParseKernelError};
pub use links::{Link, Links};
pub use mtu::{Limit, MtuLimits, mtu_limits};
pub use netdev::{BusyPoll, XdpFeatures, busy_poll_hint};
pub use place::{Direct, PlaceError, PlaceFacts};
pub use place_findings::place_findings;
pub use quirks::{Quirk, quirks};
pub use stacked::{Stacked, refuse_stacked};
pub use virtio::VirtioFeatures;
