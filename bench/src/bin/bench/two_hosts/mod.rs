//! Between two machines: one serves, the other one measures.
//!
//! ```text
//!   bench client                                        bench server
//!   tools' clients ──── put, get, random work ────────> one of blockd, nbdkit, nginx, ...
//!   [remote] ── serve, prepare, compare, CPU time ────> [control]: a line ([wish]), an answer
//! ```

mod address;
mod client;
mod control;
mod remote;
mod server;
mod wish;

pub use client::{ClientArguments, measure};
pub use server::{ServerArguments, serve};
