//! Transfers that several sessions carry, each on whatever worker its packets arrive at.
//!
//! The session that opened a transfer owns it; others join it by a random token, as members, and bring or send blocks of
//! it. When the owner's session ends, or a member is asked what only the owner can do, the member becomes the owner. This
//! table only says who belongs together; the workers tell each other by mail what happens.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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

/// The name of a put that can be resumed: who puts the same source there goes on with what it brought, and who puts another
/// one there needs the place of its partial file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PutName {
    pub(super) export: String,
    pub(super) path: Vec<u8>,
}

#[derive(Debug)]
struct Shared {
    put: Option<PutName>,
    owner: Place,
    members: Vec<Place>,
    common: Common,
}

/// So long after a put has ended its partial may still be locked: it is being made durable.
const SETTLING: Duration = Duration::from_secs(10);

/// So many puts that have ended are remembered.
const ENDED_MAX: usize = 256;

/// All shared transfers of the daemon.
#[derive(Debug)]
pub struct Registry {
    random: File,
    shared: Mutex<HashMap<u64, Shared>>,
    /// Puts that have ended, the oldest first.
    ended: Mutex<VecDeque<(Instant, PutName)>>,
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
            ended: Mutex::default(),
        })
    }

    /// Shares a transfer; its token. `None` when the kernel has no random numbers.
    pub(super) fn share(&self, owner: Place, common: Common, put: Option<PutName>) -> Option<u64> {
        let mut bytes = [0; 8];
        (&self.random).read_exact(&mut bytes).ok()?;
        let token = u64::from_le_bytes(bytes);
        let shared = Shared {
            put,
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

    /// A put of this name that is under way: token, owner, and what has been written of it.
    pub(super) fn find_put(&self, name: &PutName) -> Option<(u64, Place, Arc<Coverage>)> {
        let table = self.table();
        let (token, shared) = table
            .iter()
            .find(|(_, shared)| shared.put.as_ref() == Some(name))?;
        match &shared.common {
            Common::Target { coverage, .. } => Some((*token, shared.owner, Arc::clone(coverage))),
            Common::Source { .. } => None,
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
        let Some(shared) = self.table().remove(&token) else {
            return Vec::new();
        };
        if let Some(name) = shared.put {
            let mut ended = self.ended();
            if ended.len() >= ENDED_MAX {
                ended.pop_front();
            }
            ended.push_back((Instant::now(), name));
        }
        shared.members
    }

    /// Whether a put of this name has ended so lately that its partial may be locked still.
    pub(super) fn has_just_ended(&self, name: &PutName) -> bool {
        let mut ended = self.ended();
        ended.retain(|(when, _)| when.elapsed() < SETTLING);
        ended.iter().any(|(_, other)| other == name)
    }

    fn ended(&self) -> MutexGuard<'_, VecDeque<(Instant, PutName)>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self) -> MutexGuard<'_, HashMap<u64, Shared>> {
        // No method panics in the middle of a change.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
