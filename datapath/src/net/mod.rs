//! What the kernel knows about the network: interfaces, routes, neighbours.
//!
//! A packet that leaves by an AF_XDP socket never meets the kernel's routing, so its Ethernet and IP headers
//! need answers from here first. The questions are asked over rtnetlink, synchronously, once per session or
//! when something [changed](Changes); none is on the data path.
//!
//! ```text
//!  destination --route_to--> interface, source address, gateway --resolve_neighbour--> Ethernet address
//!                                                                        |
//!                                    blk_proto::net::Path  <-------------+
//! ```
//!
//! Every function acts in the network namespace of the calling thread. All but
//! [`resolve_neighbour`], [`solicit_neighbour`] and [`verify_neighbour`] work without privileges.

pub mod card;
mod error;
pub(crate) mod ethtool;
mod interface;
mod neighbour;
pub(crate) mod numa;
mod queue_tap;
mod route;
mod vlan;
mod watch;

pub use error::{InterfaceError, NeighbourError, RouteError};
pub use ethtool::Driver;
pub use interface::Interface;
pub(crate) use interface::usable as usable_address;
pub use neighbour::{neighbour, resolve_neighbour, solicit_neighbour, verify_neighbour};
pub use numa::{device_directory, is_card, near_cpus};
pub use queue_tap::QueueTap;
pub use route::{Route, route_to};
pub use vlan::{Trunk, VlanLink, trunk_of};
pub use watch::Changes;
