//! What a client's host is like, and what it is to do.

use crate::session::Config;
use crate::sim::pump::Nic;
use crate::time::Time;

/// Something that a client is to do.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Put one of its files.
    Put {
        /// Which.
        file: u32,
        /// Its bytes.
        size: u64,
        /// Cancelled when so many blocks have been queued.
        cancel_at: Option<u64>,
    },
    /// Get one of its files, after the tasks before are finished.
    Get {
        /// Which.
        file: u32,
        /// Cancelled when so many blocks have come.
        cancel_at: Option<u64>,
    },
}

/// What a client's host is like, and what it does.
#[derive(Clone, Debug)]
pub struct ClientPlan {
    /// Of its sessions; the window is what it grants.
    pub config: Config,
    /// What it does, in this order, so many at a time.
    pub tasks: Vec<Task>,
    /// Tasks at a time.
    pub parallel: usize,
    /// Payload of the blocks that it sends.
    pub block_len: u64,
    /// Frames that may hold blocks to send.
    pub send_frames: usize,
    /// Up to so many nanoseconds go by until a received block's frame is free again.
    pub digestion: u64,
    /// Its NIC.
    pub nic: Nic,
    /// Messages about nothing that it sends, about this often in nanoseconds.
    pub noise: (u64, u64),
    /// It gives up when so many sessions in a row could not be established.
    pub patience: u32,
    /// When it starts.
    pub start: Time,
}
