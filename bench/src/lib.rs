//! Measurements of blockd, and the impaired wire of the lab.
//!
//! Two network namespaces stand for two hosts; loss and delay need a hop between them, because what an AF_XDP socket sends
//! never passes the queueing discipline of its own interface. [`wire`] is that hop, in user space:
//!
//! ```text
//!   host A            namespace of the wire             host B
//!   blk0 <--veth--> wire0 -> [impairment] -> wire1 <--veth--> blk1
//!                   wire0 <- [impairment] <- wire1
//! ```
//!
//! [`blockdev`] is a disk that logs, loses power and breaks as told. [`lab`] drives such hosts, blockd and blkcp on them, for the namespace tests and for measurements.
//!
//! Invariants: a direction's decisions depend on its seed and on the frames only, never on the clock; every frame that
//! enters is delivered, or counted with the reason why not; memory is bounded by the queue's limit.

pub mod blockdev;
pub mod lab;
pub mod powerloss;
pub mod wire;
