//! blockd: a storage daemon that receives and sends file blocks over AF_XDP, straight to and from the disk.
//!
//! ```text
//!                      ┌───────────── worker (one per queue, pinned) ──────────────┐
//!   NIC queue ── XSK ──┤ Engine (frames, sessions, gathered writes, planned reads) │
//!                      │ StorageService (one state machine per transfer)           │
//!                      └──────────────┬──────────────────────────▲─────────────────┘
//!                                Job  │                          │ Outcome (mailbox)
//!                      ┌──────────────▼──────────────────────────┴─────────────────┐
//!                      │ Namespace (tokio-uring): open, sync, rename, list         │
//!                      └───────────────────────────────────────────────────────────┘
//! ```
//!
//! Invariants:
//! - A worker never blocks; everything that may block is a job of the namespace thread.
//! - A file is acknowledged only when it is durable: see [`blk_datapath::files`].
//! - Every name is resolved beneath its export: see [`exports`].

pub mod admission;
pub mod allow_list;
pub mod balance;
mod cpus;
pub mod daemon;
mod entrance;
pub mod error;
pub mod exports;
pub mod gc;
pub mod namespace;
pub mod queues;
pub mod service;
pub mod steering;
mod workers;
