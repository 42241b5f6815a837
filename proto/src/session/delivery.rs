//! Whether what the peer must get arrives, and not just pings.
//!
//! A path may carry everything but what matters: it loses all that is longer than its MTU, or a device on it passes on single
//! datagrams and no others. Then pings and their Acks go to and fro for ever. So blocks and the control stream have a clock each: it
//! runs while something of them was sent and is not acknowledged, in flight or lost, and starts anew with all that is acknowledged.
//! Of the control stream only what has no gap before it counts: the peer can use nothing else.
//!
//! A void ([`super::blocks`]) counts as acknowledged like a block. So on a path that narrows while its blocks are cut, each
//! step of cutting that gets voids through starts the clock anew, and the end comes up to one timeout later for each.
//! There are few sizes of blocks, and so few steps.
//!
//! A slow receiver is none of that: it acknowledges what arrives, and what it grants no credit for is not sent.

use super::Outbox;
use crate::time::Time;

/// Since when a kind of content has waited for an acknowledgement.
#[derive(Debug, Default)]
struct Wait {
    since: Option<Time>,
    /// How much was acknowledged when it began.
    acked: u64,
}

impl Wait {
    fn look(&mut self, now: Time, is_waiting: bool, acked: u64) {
        if self.acked != acked || !is_waiting {
            self.acked = acked;
            self.since = None;
        }
        if is_waiting {
            self.since.get_or_insert(now);
        }
    }
}

/// What arrives at the peer, and since when nothing does.
#[derive(Debug)]
pub(super) struct Delivery {
    blocks: Wait,
    control: Wait,
    /// When an Ack last brought news, if only of a ping.
    heard_at: Time,
}

impl Delivery {
    pub(super) fn new(now: Time) -> Self {
        Self {
            blocks: Wait::default(),
            control: Wait::default(),
            heard_at: now,
        }
    }

    /// Takes note of what was sent or acknowledged just now.
    pub(super) fn look<B>(&mut self, now: Time, outbox: &mut Outbox<B>) {
        if core::mem::take(&mut outbox.acked) {
            self.heard_at = now;
        }
        let Outbox {
            blocks, control, ..
        } = outbox;
        self.blocks.look(now, blocks.unacked() > 0, blocks.acked());
        self.control
            .look(now, control.is_unacked(), control.acked());
    }

    /// When an Ack last brought news.
    pub(super) const fn heard_at(&self) -> Time {
        self.heard_at
    }

    /// Since when blocks, or the control stream, have waited and nothing of them was acknowledged; `None` if nothing waits.
    pub(super) fn stuck_since(&self) -> Option<Time> {
        let since = [self.blocks.since, self.control.since];
        since.into_iter().flatten().min()
    }
}
