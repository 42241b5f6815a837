//! The simulator: clients, a server and its disk in virtual time, on a network that does everything that networks do.
//!
//! It is the main test of the protocol, and behind the feature `sim`, so that no program carries it. A seed makes a
//! [`Scenario`]: paths with loss, bursts, duplicates, replays, reordering, corruption, queues and outages; hosts with
//! few frames and odd limits that are killed and started again; a disk that stalls and forgets what was not synced;
//! files to put and to get. The [`World`] runs it from event to event, and checks at each step what must hold
//! whatever happens ([`Broken`]). The same seed is the same run, on every machine.
//!
//! ```text
//!   client ── Pump ── Session ──┐                          ┌── Session ── Pump ── server ── Disk
//!   Outgoing  Frames            ├── Link up, Link down ────┤                      Frames
//!   client …                  ──┘        Network           └── Session ── …
//!
//!   Watchdog: something moves     Truth: what was acknowledged is durable     Amplification: 3 x at most
//! ```
//!
//! | module | idea |
//! |---|---|
//! | `random` | numbers from a seed |
//! | `content`, `extents` | bytes of files that need no memory, and which of them there are |
//! | `link`, `network` | what happens to packets on their way |
//! | `frames`, `disk` | what a receiver has, and is short of |
//! | `chat`, `pump`, `outgoing` | what both hosts do with a session |
//! | `client`, `server` | the hosts |
//! | `truth`, `invariants` | what no host knows, and what must hold |
//! | `scenario`, `world`, `tally`, `trace`, `report` | runs, and what is said of them |
//!
//! `scripts/sim` runs many seeds, or one that failed.

mod chat;
mod client;
mod content;
mod disk;
mod extents;
mod frames;
mod invariants;
mod link;
mod network;
mod outgoing;
mod pump;
mod random;
mod report;
mod scenario;
mod server;
mod tally;
mod trace;
mod truth;
mod world;

pub use content::Contents;
pub use frames::Place;
pub use invariants::Broken;
pub use network::Address;
pub use report::{Failure, Summary, run, run_many, run_with};
pub use scenario::{Action, Flood, Narrow, Party, Scenario};
pub use tally::{Count, Tally};
pub use trace::Trace;
pub use truth::Sabotage;
pub use world::{Outcome, World};
