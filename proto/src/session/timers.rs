//! Deadlines. Which there are, what happens when they pass:
//!
//! | deadline | then |
//! |---|---|
//! | handshake | give up, or send the next Hello |
//! | acknowledgement delay | [`Session::poll_transmit`] gives an Ack |
//! | loss | overtaken packets are lost |
//! | probe | silence: send something that the peer acknowledges |
//! | starvation | no credit, nothing in flight: ask, for the Ack that brought credit may be lost |
//! | pacing | the next packet may go |
//! | retry | lost blocks may have left the NIC queue |
//! | path | [`Session::poll_transmit`] gives a probe: perhaps longer blocks fit by now |
//! | keep-alive | nothing was heard for a while: ask for a sign of life |
//! | unanswered | something is outstanding, and nothing was heard for long: the peer is gone |
//! | unacknowledged | the peer speaks, but acknowledges nothing |
//! | undelivered | the peer acknowledges pings at most: what it is sent does not arrive |
//! | idle | a sign of life was asked for, and none came, though nothing could be sent perhaps |

use core::time::Duration;

use crate::time::Time;

use super::opening::{Greeter, Waiter};
use super::{CloseReason, Session, State};

/// How soon to look again for lost blocks that sat in the NIC queue.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(1);
/// Probe timeouts in a row after which the blocks may be too long for the path.
const SUSPICIOUS_TIMEOUTS: u32 = 2;
/// Longest time between two questions for credit.
const MAX_STARVED_INTERVAL: Duration = Duration::from_millis(250);
/// A peer that has acknowledged nothing for so long, although something was in flight all the time, is not one to wait
/// for, even if it speaks. Nor is one that has acknowledged no block, or nothing of the control stream, though some was sent.
pub(super) const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(30);

impl<B> Session<B> {
    /// When to call [`Self::handle_timeout`] (and then [`Self::poll_transmit`]) at the latest; changes with every
    /// call to the session.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        match self.state {
            State::Greeting(ref greeter) => Some(greeter.give_up.min(greeter.next_hello)),
            State::Accepted(ref waiter) => Some(waiter.give_up),
            State::Connected => [
                self.acks.deadline(),
                self.recovery.deadline(),
                self.starved_at,
                self.paced_at,
                self.retry_at,
                self.outbox.pmtu.deadline(),
                Some(self.keepalive_at),
                self.idle_at(),
                self.unanswered_at(),
                self.unacknowledged_at(),
                self.undelivered_at(),
            ]
            .into_iter()
            .flatten()
            .min(),
            State::Closed { .. } => None,
        }
    }

    /// Does what the time demands. Harmless when called early; call it after the packets that wait were handled.
    pub fn handle_timeout(&mut self, now: Time) {
        match self.state {
            State::Greeting(Greeter { give_up, .. }) | State::Accepted(Waiter { give_up, .. }) => {
                if give_up <= now {
                    self.close(CloseReason::HandshakeTimeout);
                }
            }
            State::Connected => self.handle_connected_timeout(now),
            State::Closed { .. } => {}
        }
    }

    fn handle_connected_timeout(&mut self, now: Time) {
        let given_up = [
            self.idle_at(),
            self.unanswered_at(),
            self.unacknowledged_at(),
        ];
        if given_up.into_iter().flatten().any(|at| at <= now) {
            self.close(CloseReason::TimedOut);
            return;
        }
        if self.undelivered_at().is_some_and(|at| at <= now) {
            self.close(CloseReason::Undelivered);
            return;
        }
        if self.recovery.on_timeout(now, &mut self.outbox) {
            self.ping_due = true;
            if self.recovery.timeouts_in_row() >= SUSPICIOUS_TIMEOUTS {
                self.outbox.pmtu.on_silence();
            }
        }
        self.heed_path();
        if self.keepalive_at <= now {
            self.ping_due = true;
            self.keepalive_at = now + self.config.keep_alive;
            self.asked_alive_at.get_or_insert(now);
        }
        if self.starved_at.is_some_and(|at| at <= now) {
            self.ping_due = true;
            self.starved_at = None;
            self.starved_count = self.starved_count.saturating_add(1);
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
        }
    }

    /// When a peer is gone that was asked for a sign of life. Not before it was asked, and had time to answer: who stood
    /// still for long has not asked.
    fn idle_at(&self) -> Option<Time> {
        let asked = self.asked_alive_at?;
        let answered = asked + self.config.keep_alive;
        Some(answered.max(self.last_received + self.config.idle_timeout))
    }

    /// When a peer that answers nothing is gone. Probes go out all the while, so it is not just late; and keep-alives see to
    /// it that the last packet from a peer that is there is never much older than [`super::Config::keep_alive`].
    fn unanswered_at(&self) -> Option<Time> {
        let unanswered = self.config.unanswered_timeout;
        // Whoever stood still for long has heard nothing either, and asks only now. Else the first question goes out after
        // `keep_alive` of silence, and the time that passed until then counts.
        let asked = self.recovery.busy_since()?;
        let patience = unanswered.saturating_sub(self.config.keep_alive);
        Some((self.last_received + unanswered).max(asked + patience))
    }

    /// When a peer is given up that sends, but acknowledges nothing of what is in flight.
    fn unacknowledged_at(&self) -> Option<Time> {
        let busy_since = self.recovery.busy_since()?;
        Some(busy_since.max(self.delivery.heard_at()) + UNACKNOWLEDGED_TIMEOUT)
    }

    /// When a peer is given up that is there, but gets nothing of what it must get.
    fn undelivered_at(&self) -> Option<Time> {
        Some(self.delivery.stuck_since()? + UNACKNOWLEDGED_TIMEOUT)
    }

    /// How long to wait before the next question for credit.
    pub(super) fn starved_interval(&self) -> Duration {
        let first = Duration::from_nanos(self.recovery.first_probe_interval());
        let longest = MAX_STARVED_INTERVAL.max(first);
        first
            .saturating_mul(1 << self.starved_count.min(16))
            .min(longest)
    }
}
