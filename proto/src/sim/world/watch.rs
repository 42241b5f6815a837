//! Whether everybody moves who could, and whether sessions end for a reason.

use core::time::Duration;

use super::World;
use crate::session::{CloseCode, CloseReason};
use crate::sim::client::{Ending, is_stuck};
use crate::sim::invariants::{Broken, Watchdog};
use crate::sim::network::Address;
use crate::sim::scenario::{Party, START, Scenario};
use crate::time::Time;

/// Beyond the timeouts of sessions: so long may nothing move.
const PATIENCE: Duration = Duration::from_secs(20);
/// Beyond that, on a path that is too narrow for blocks: until a session notices.
const NARROW: Duration = Duration::from_secs(30);
/// Timers and round trips, beyond a timeout.
const SLACK: Duration = Duration::from_secs(2);
/// A path that damages more than so many packets per million excuses a lack of progress.
const TOO_BAD: u64 = 300_000;
/// A path that damages less than this does not make sessions time out.
const GOOD: u64 = 60_000;

/// A host's view of trouble.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) dog: Watchdog,
    /// When something last stood in its way.
    trouble: Time,
    /// Whether something did when this was last looked at.
    was_troubled: bool,
}

impl Watch {
    /// Watches one of the parties.
    pub(super) fn new(scenario: &Scenario, party: &Party) -> Self {
        let (server, client) = (&scenario.server.config, &party.plan.config);
        let mut patience = PATIENCE + server.idle_timeout.max(client.idle_timeout);
        if scenario.narrow.is_some() {
            patience += NARROW;
        }
        Self {
            dog: Watchdog::new(START, patience),
            trouble: Time::default(),
            was_troubled: false,
        }
    }
}

impl World {
    /// Looks whether everybody moves who could, and whether sessions ended for a reason.
    pub(super) fn watch(&mut self) -> Result<(), Broken> {
        let now = self.now;
        let server_down = self.server.is_none()
            || self.disk.is_stalled(now)
            || self.parking.is_still(Address::SERVER);
        for (number, (client, _)) in (0..).zip(&mut self.clients) {
            let Some((up, down)) = self.network.links(number) else {
                continue;
            };
            let watch = &mut self.watches[number as usize];
            let damage = up.plan().damage().max(down.plan().damage());
            let troubled = server_down
                || up.plan().is_cut(now)
                || down.plan().is_cut(now)
                || !client.is_up(now)
                || self.parking.is_still(Address::of_client(number));
            // It may have lasted until just now.
            if troubled || watch.was_troubled {
                watch.trouble = now;
            }
            watch.was_troubled = troubled;
            let excused = troubled || damage > TOO_BAD || client.over().is_some();
            watch.dog.look(now, number, client.moves(), excused)?;
            if let Some(ending) = client.take_ending() {
                let calm = now.saturating_since(watch.trouble);
                let timeout = client
                    .plan()
                    .config
                    .idle_timeout
                    .max(self.scenario.server.config.idle_timeout);
                let narrow = self
                    .scenario
                    .narrow
                    .is_some_and(|narrow| narrow.from <= now);
                let address = Address::of_client(number);
                let given_up =
                    self.truth.was_given_up(address) && ending.reason == CloseReason::PeerRestarted;
                let expected = is_expected(ending)
                    || self.truth.was_evicted(address)
                    || (narrow && (given_up || is_stuck(ending.reason)));
                if damage < GOOD && calm > timeout + SLACK && !expected {
                    return Err(Broken::ClosedWithoutCause {
                        client: number,
                        reason: ending.reason,
                    });
                }
            }
        }
        Ok(())
    }
}

/// Endings that need no trouble on the path.
const fn is_expected(ending: Ending) -> bool {
    match ending.reason {
        // All is done, or the user has hung up.
        CloseReason::Local(_) => true,
        // The server has no room, or is shutting down.
        CloseReason::Refused(_) | CloseReason::ByPeer(CloseCode::SHUTDOWN) => true,
        _ => false,
    }
}
