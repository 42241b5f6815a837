//! What the simulation knows and no host does: what every host sees of the world, and what it must not forget.

use std::collections::{BTreeMap, BTreeSet};

use super::content::Contents;
use super::disk::Disk;
use super::invariants::Broken;
use super::network::{Address, Network};
use crate::time::Time;

/// What a host can reach.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The time.
    pub now: Time,
    /// The network.
    pub network: &'a mut Network,
    /// The server's disk.
    pub disk: &'a mut Disk,
    /// What no host knows.
    pub truth: &'a mut Truth,
}

/// A mistake that a host makes when it is told to, to see that it is noticed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The server acknowledges a put before it has synced it.
    AcknowledgeEarly,
    /// The server gives a file its name without syncing it.
    NeverSync,
    /// The server grants new credit when a block arrives, not when its frame is free.
    ReleaseEarly,
    /// The server writes a block where it does not belong.
    WriteElsewhere,
    /// The server loses a frame.
    LoseFrame,
    /// A client does not read its messages.
    StopListening,
    /// A client queues a block twice.
    SendTwice,
    /// The server forgets a session, once.
    Forget,
    /// The server answers a Hello with too much.
    Amplify,
}

/// What no host knows.
#[derive(Debug, Default)]
pub struct Truth {
    /// Contents of which blocks came back unacknowledged in mid-transfer, so that bytes may come twice.
    cut_anew: BTreeSet<Contents>,
    /// Clients whose half-open sessions had to make room for others, and who were not told so yet.
    evicted: BTreeSet<Address>,
    /// Clients whose sessions the server gave up since what it sent did not arrive, and who were not told so yet.
    given_up: BTreeSet<Address>,
    /// What clients were told is durable, by client and file.
    acknowledged: BTreeMap<(u32, u32), Contents>,
    sabotage: Option<Sabotage>,
}

impl Truth {
    /// Hosts make this mistake.
    #[must_use]
    pub fn new(sabotage: Option<Sabotage>) -> Self {
        Self {
            sabotage,
            ..Self::default()
        }
    }

    /// Whether hosts make this mistake.
    #[must_use]
    pub fn is_sabotaged(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    /// Whether hosts make this mistake now; they make it once.
    pub fn take_sabotage(&mut self, sabotage: Sabotage) -> bool {
        let is_due = self.is_sabotaged(sabotage);
        if is_due {
            self.sabotage = None;
        }
        is_due
    }

    /// Blocks of these contents came back, to be cut anew.
    pub fn on_cut_anew(&mut self, contents: Contents) {
        self.cut_anew.insert(contents);
    }

    /// Bytes of a file came a second time, under another block number.
    ///
    /// # Errors
    /// Their sender had no reason to send them twice.
    pub fn check_overlap(
        &self,
        contents: Contents,
        offset: u64,
        overlap: u64,
    ) -> Result<(), Broken> {
        if overlap == 0 || self.cut_anew.contains(&contents) {
            return Ok(());
        }
        Err(Broken::SentTwice {
            contents,
            offset,
            overlap,
        })
    }

    /// A half-open session had to make room. Its client may believe that it is open.
    pub fn on_evicted(&mut self, address: Address) {
        self.evicted.insert(address);
    }

    /// Whether a session of this client had to make room; forgets it.
    pub fn was_evicted(&mut self, address: Address) -> bool {
        self.evicted.remove(&address)
    }

    /// The server gave this client's session up: nothing that it sent arrived. The Close that says so may be lost, or come after a
    /// Reset that was sent later.
    pub fn on_given_up(&mut self, address: Address) {
        self.given_up.insert(address);
    }

    /// Whether the server gave a session of this client up; forgets it.
    pub fn was_given_up(&mut self, address: Address) -> bool {
        self.given_up.remove(&address)
    }

    /// A client was told that its file is durable.
    pub fn on_acknowledged(&mut self, contents: Contents) {
        self.acknowledged
            .insert((contents.client, contents.file), contents);
    }

    /// Checks that everything that was acknowledged is there: that version, or another whole one that was put
    /// meanwhile.
    ///
    /// # Errors
    /// Something is missing.
    pub fn check_acknowledged(&self, disk: &Disk) -> Result<(), Broken> {
        for (&(client, file), &contents) in &self.acknowledged {
            let there = disk.named(client, file);
            if !there.is_some_and(|(found, _)| disk.is_durable(found)) {
                return Err(Broken::CommitLost(contents));
            }
        }
        Ok(())
    }
}
