//! A link between two network interfaces that loses, delays, reorders, duplicates and corrupts frames.
//!
//! [`impairment`] decides (pure, seeded, virtual time), [`socket`] moves frames, [`relay`] joins the two.

pub mod frame;
pub mod impairment;
pub mod random;
pub mod relay;
pub mod socket;
pub mod units;
