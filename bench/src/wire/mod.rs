//! A link between two network interfaces that loses, delays, reorders, duplicates and corrupts frames, and that has a
//! rate with a queue in front of it.
//!
//! [`impairment`] decides (pure, seeded, virtual time), with [`mod@line`] for the rate and [`burst`] for losses in bursts;
//! [`socket`] moves frames, [`vlan`] does what a switch does to their tags, [`relay`] joins the two. [`settings`] reads what they shall do, [`trace`] tells who got how much.

pub mod burst;
pub mod ecn;
pub mod frame;
pub mod impairment;
pub mod line;
pub mod random;
pub mod relay;
pub mod settings;
pub mod socket;
pub mod trace;
pub mod units;
pub mod vlan;
