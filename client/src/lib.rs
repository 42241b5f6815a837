//! The client of blockd: whole files to and from a storage host, by AF_XDP, durable at the receiving end; and files there read
//! and written in place.
//!
//! ```text
//!   your program (any executor, or none)          blk-client            worker threads (pinned or not)
//!   ┌───────────────────────────────────┐  jobs  ┌────────────┐ Command ┌────────────────────────────┐
//!   │ Client: put, get, streams ────────┼──────► │ Connection ├───────► │ ClientService on an Engine │ ◄──► XSK, io_uring
//!   │ Client: stat, list, …, RemoteFile ┼────────┴────────────┴───────► │                            │
//!   └───────────────────────────────────┘ ◄──────────────────────────── └────────────────────────────┘
//!                                           one-shot answers
//! ```
//!
//! # A tour
//!
//! [`Client`] is the handle: clone it, share it, use it from any executor. Its futures borrow nothing ([`Operation`]). Types of
//! other crates that signatures here have are re-exported.
//!
//! ```no_run
//! # async fn tour() -> Result<(), Box<dyn std::error::Error>> {
//! use blk_client::{Client, ConnectOptions, OpenOptions};
//!
//! let client = Client::connect("storage1", &ConnectOptions::default()).await?;
//!
//! // Whole files. Ok: whole, checked and durable.
//! client.put("disk.img", "data/images/disk.img").await?;
//! client.get("data/images/disk.img", "back.img").await?;
//! println!("{} bytes", client.stat("data/images/disk.img").await?.size);
//!
//! // In place, anywhere; many at a time. Durable after the sync.
//! let file = client.open("data/disk.raw", OpenOptions { create: Some(0o644) }).await?;
//! let (one, other) = (file.write_at(b"here", 0), file.write_at(b"there", 1 << 30));
//! futures_util::future::try_join(one, other).await?;
//! file.sync().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Streams are read ahead of, and written behind, while the program does something else:
//!
//! ```no_run
//! # async fn streams(client: &blk_client::Client) -> Result<(), Box<dyn std::error::Error>> {
//! use futures_util::io::{AsyncBufReadExt, AsyncWriteExt};
//! use futures_util::stream::TryStreamExt;
//!
//! let mut lines = client.reader("data/log").await?.lines();
//! let mut writer = client.writer("data/errors").await?;
//! while let Some(line) = lines.try_next().await? {
//!     if line.contains("error") {
//!         writer.write_all(line.as_bytes()).await?;
//!         writer.write_all(b"\n").await?;
//!     }
//! }
//! // Only now is all of it durable.
//! writer.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Without futures there is [`blocking`]. Beneath all of them is [`Connection`], which `blkcp` uses, for programs that run
//! `tokio_uring` themselves.
//!
//! What fails says why ([`ClientError`]), of which kind it is ([`ClientError::kind`]), and whether another try makes sense
//! ([`ClientError::is_retryable`]).
//!
//! A connection begins with one session. A large file is carried by several, its flows: each has a worker of its own on its
//! own queue of the interface, and a source port of its own, so that the server's queues share the work too. They are
//! opened when the first large file comes.
//!
//! Invariants:
//! - The data path runs on its own threads. The futures of a [`Client`] and of a [`RemoteFile`] only wait for answers, so they
//!   work on any executor. Those of [`Connection::put`], [`Connection::get`] and of small files want to run inside
//!   `tokio_uring::start`: they sync local files through its ring, and look at the clock; a client has that on its thread.
//! - The future of a put or a get that is dropped in the middle makes both ends forget its transfer; nothing stays under a
//!   final name, unless the last step, which gives the name, had begun. What the server got of a large file it keeps for a while: the
//!   same put goes on with it. Of a write in place that is dropped some bytes, or all, may be in the file ([`RemoteFile`]).
//! - `Ok` from `put` or `get` means: whole, checked by CRC32 from end to end, and durable. What is written in place, by a
//!   [`RemoteFile`], is durable after its [`sync`](RemoteFile::sync); what is written by a [`RemoteWriter`], after its
//!   [`close`](futures_util::io::AsyncWriteExt::close).
//! - No handle has a lifetime or a type of the caller's in it, and no [`Operation`] has, so a C ABI can have both. The futures of
//!   a [`RemoteFile`] borrow it, and the bytes that they read into or write.

pub mod address;
pub mod blocking;
pub mod client;
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
pub use blk_datapath::disk::ReadWays;
pub use blk_datapath::dump::Taps;
pub use blk_datapath::engine::{Progress, TransferError};
pub use blk_datapath::files::{FileError, FileErrorKind, SourceFile};
pub use blk_datapath::link::Datapath;
pub use blk_datapath::net::{InterfaceError, NeighbourError, RouteError};
pub use blk_datapath::udp::{UdpCounters, UdpError};
pub use blk_datapath::worker::{CompanionError, WorkerError};
pub use blk_proto::message::{Attributes, Entry, ErrorCode, Failure, FileKind, Reply, Request};
pub use blk_proto::net::{VlanTag, Vlans};
pub use blk_proto::session::Stats;
pub use blk_xdp::{AttachError, SlotError};
pub use client::{Client, Operation, RemoteReader, RemoteWriter};
pub use connection::{ConnectOptions, Connection, DatapathInfo, FLOWS_MAX, FlowInfo};
pub use error::{ClientError, ConnectionLost, ErrorKind};
pub use names::Description;
pub use put::PutOptions;
pub use remote_file::{OpenOptions, PieceReader, RemoteFile};
pub use resume::RESUME_MIN;
pub use small::{SMALL_MAX, SmallDone, SmallGet, SmallPut};
pub use transfer::Copied;
