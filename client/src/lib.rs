//! The client of blockd: whole files to and from a storage host, by AF_XDP, durable at the receiving end.
//!
//! ```text
//!   blkcp / your program (any executor)          worker thread (pinned or not)
//!   ┌──────────────────────────────┐   Command   ┌───────────────────────────────┐
//!   │ Connection::{put, get, list} │ ──────────► │ ClientService on an Engine    │ ◄──► XSK, io_uring
//!   └──────────────────────────────┘ ◄────────── └───────────────────────────────┘
//!                                    one-shot answers
//! ```
//!
//! A connection begins with one session. A large file is carried by several, its flows: each has a worker of its own on its
//! own queue of the interface, and a source port of its own, so that the server's queues share the work too. They are
//! opened when the first large file comes.
//!
//! Invariants:
//! - The data path runs on its own thread; futures here only wait for answers, so they work on any executor (local
//!   files are synced through tokio-uring, so [`Connection::get`] wants to run inside `tokio_uring::start`).
//! - A future that is dropped in the middle makes both ends forget its transfer; nothing stays under a final name. What
//!   the server got of a large file it keeps for a while: the same put goes on with it.
//! - `Ok` from `put` or `get` means: whole, checked by CRC32 from end to end, and durable. What is written in place, by a
//!   [`RemoteFile`], is durable after its [`sync`](RemoteFile::sync).

pub mod address;
pub mod connection;
pub mod error;
mod even;
mod flow;
mod holes;
mod links;
pub mod names;
mod own_queue;
pub mod paths;
mod pending;
pub mod put;
pub mod remote_file;
mod resolver;
mod resume;
mod retry;
mod scout;
mod service;
mod setup;
pub mod small;
mod sparse;
mod spread;
pub mod transfer;
mod udp_ports;
mod verify;
mod watcher;
mod way;

pub use address::{AddressError, Location, RemotePath};
pub use blk_datapath::engine::Progress;
pub use blk_datapath::files::SourceFile;
pub use blk_datapath::link::Datapath;
pub use connection::{ConnectOptions, Connection, DatapathInfo, FLOWS_MAX, FlowInfo};
pub use error::{ClientError, ConnectionLost, ErrorKind};
pub use names::Description;
pub use put::PutOptions;
pub use remote_file::{OpenOptions, RemoteFile, RemoteReader};
pub use resume::RESUME_MIN;
pub use small::{SMALL_MAX, SmallDone, SmallGet, SmallPut};
pub use transfer::Copied;
