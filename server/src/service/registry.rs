//! Transfers that several sessions carry, each on whatever worker its packets arrive at.
//!
//! The session that opened a transfer owns it; others join it by a random token, as members, and bring or send blocks of
//! it. When the owner's session ends, or a member is asked what only the owner can do, the member becomes the owner. This
//! table only says who belongs together; the workers tell each other by mail what happens.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blk_datapath::disk::BlockFile;
use blk_datapath::engine::{Coverage, SharedWork};

use super::ports::At;

/// Sessions that may join one transfer: more than there are queues worth it.
pub const MAX_MEMBERS: usize = 64;

/// A transfer of a session of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) worker: u32,
    pub(super) at: At,
}

/// What the members of a transfer have in common.
#[derive(Debug, Clone)]
pub(super) enum Common {
    /// A put.
    Target {
        file: Arc<BlockFile>,
        coverage: Arc<Coverage>,
    },
    /// An open file, and what is being read of it now.
    Source {
        file: Arc<BlockFile>,
        work: Option<Arc<SharedWork>>,
    },
}

#[derive(Debug)]
struct Shared {
    owner: Place,
    members: Vec<Place>,
    common: Common,
}

/// All shared transfers of the daemon.
#[derive(Debug)]
pub struct Registry {
    random: File,
    shared: Mutex<HashMap<u64, Shared>>,
}

impl Registry {
    /// An empty one.
    ///
    /// # Errors
    ///
    /// When the kernel's random numbers cannot be had.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            random: File::open("/dev/urandom")?,
            shared: Mutex::default(),
        })
    }

    /// Shares a transfer; its token. `None` when the kernel has no random numbers.
    pub(super) fn share(&self, owner: Place, common: Common) -> Option<u64> {
        let mut bytes = [0; 8];
        (&self.random).read_exact(&mut bytes).ok()?;
        let token = u64::from_le_bytes(bytes);
        let shared = Shared {
            owner,
            members: Vec::new(),
            common,
        };
        // That two of 2^64 are the same will not happen; if it does, the later one is refused.
        match self.table().entry(token) {
            std::collections::hash_map::Entry::Occupied(_) => None,
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(shared);
                Some(token)
            }
        }
    }

    /// Adds a member. `None`: there is no such transfer, or it has too many members.
    pub(super) fn join(&self, token: u64, member: Place) -> Option<Common> {
        let mut table = self.table();
        let shared = table.get_mut(&token)?;
        if shared.members.len() >= MAX_MEMBERS {
            return None;
        }
        shared.members.push(member);
        Some(shared.common.clone())
    }

    /// Takes a member out.
    pub(super) fn leave(&self, token: u64, member: Place) {
        if let Some(shared) = self.table().get_mut(&token) {
            shared.members.retain(|other| *other != member);
        }
    }

    /// Makes a member the owner; the former owner stays on as a member.
    pub(super) fn set_owner(&self, token: u64, owner: Place) {
        if let Some(shared) = self.table().get_mut(&token) {
            shared.members.retain(|other| *other != owner);
            let former = std::mem::replace(&mut shared.owner, owner);
            if former != owner {
                shared.members.push(former);
            }
        }
    }

    /// The owner's session has ended: the first of the members is the owner now. `None` when there is none.
    pub(super) fn succeed(&self, token: u64) -> Option<Place> {
        let mut table = self.table();
        let shared = table.get_mut(&token)?;
        if shared.members.is_empty() {
            return None;
        }
        shared.owner = shared.members.remove(0);
        Some(shared.owner)
    }

    /// What is being read of an open file.
    pub(super) fn work(&self, token: u64) -> Option<Arc<SharedWork>> {
        match &self.table().get(&token)?.common {
            Common::Source { work, .. } => work.clone(),
            Common::Target { .. } => None,
        }
    }

    /// Who owns the transfer.
    pub(super) fn owner(&self, token: u64) -> Option<Place> {
        self.table().get(&token).map(|shared| shared.owner)
    }

    /// Sets what is to be read of an open file now; the members, to be told.
    pub(super) fn set_work(&self, token: u64, now: Option<Arc<SharedWork>>) -> Vec<Place> {
        let mut table = self.table();
        let Some(shared) = table.get_mut(&token) else {
            return Vec::new();
        };
        if let Common::Source { work, .. } = &mut shared.common {
            *work = now;
        }
        shared.members.clone()
    }

    /// The transfer is over; the members, to be told.
    pub(super) fn end(&self, token: u64) -> Vec<Place> {
        let ended = self.table().remove(&token);
        ended.map(|shared| shared.members).unwrap_or_default()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<u64, Shared>> {
        // No method panics in the middle of a change.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
