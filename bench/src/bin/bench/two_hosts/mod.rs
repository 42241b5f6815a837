//! Between two machines: one serves, the other one measures.
//!
//! ```text
//!   bench client                                        bench server
//!   tools' clients ──── put, get, random work ────────> blockd, nbdkit, nginx, ...
//!   [remote] ───── prepare, sync, compare, CPU time ──> [control]: a line, an answer
//! ```

mod client;
mod control;
mod remote;
mod server;

pub use client::{ClientArguments, measure};
pub use server::{ServerArguments, serve};
