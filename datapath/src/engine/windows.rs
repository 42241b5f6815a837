//! How many blocks each session may have outstanding here: the frames for reception, divided among the sessions.
//!
//! What has been granted is not taken back, so a frame is promised to one session only: the sum of what the sessions
//! have outstanding and what they may still be granted, and of what disk writes hold of sessions that have ended, never exceeds
//! the frames. A packet of a peer that keeps to its
//! grant always finds a frame, however long the disk stalls.
//!
//! ```text
//!   frames for reception │ session A: outstanding ▒▒▒▒▒▒ │ B: outstanding ▒▒ window ░░░ │ … │ not promised │
//! ```

use blk_proto::geometry::{LONG_PAYLOAD_OFFSET, fragments};

use super::Engine;
use super::peer::Peer;

/// Part of the frames that sessions share which receive nothing now: one in so many.
const IDLE_PART: u64 = 4;
/// An idle session has no more: enough to begin a transfer with, until its share arrives.
const IDLE_WINDOW: u64 = 256;

/// Of its share a session is granted so many blocks in any case. Where packets get lost, the blocks of a write wait for
/// those that are sent again: some milliseconds, which at full speed are more blocks than the path holds.
pub(super) const FLOOR: u64 = 3072;

/// What a session has of the frames, and what it shall have.
struct Claim {
    /// Frames of the blocks granted and not released.
    outstanding: u64,
    /// Frames of the blocks that it may have outstanding, as last told.
    window: u64,
    /// What it shall have.
    target: u64,
}

impl Claim {
    /// Frames that are promised to it.
    fn promised(&self) -> u64 {
        self.outstanding.max(self.window)
    }
}

impl Engine {
    /// What a new session is granted in the handshake: taken from what is not promised until the next division.
    pub(super) fn take_first_window(&self) -> u64 {
        let sessions = self.peers.len() as u64 + 1;
        let free = self.unpromised.get();
        let window = idle_share(self.config.receive_frames, sessions).min(free);
        // Whether its blocks will be long is not known yet.
        let each = self.longest_frames();
        let blocks = window / each;
        self.unpromised.set(free - blocks * each);
        blocks
    }

    /// Frames that the longest block takes which this end takes in.
    fn longest_frames(&self) -> u64 {
        let longest = self.config.long_payload;
        longest.map_or(1, |payload| {
            fragments(LONG_PAYLOAD_OFFSET, usize::from(payload)) as u64
        })
    }

    /// Divides the frames anew: shares shrink at once, and grow as far as the others' have shrunk.
    pub(super) fn share_windows(&mut self) {
        let frames = self.config.receive_frames;
        let longest = self.longest_frames();
        let positions = self.peers.positions();
        let (mut sessions, mut receiving, mut promised) = (0, 0, self.orphaned);
        for at in 0..positions {
            if let Some((_, peer)) = self.peers.at(at) {
                sessions += 1;
                receiving += u64::from(peer.inbound.len() > 0);
                promised += outstanding(peer, longest).max(peer.window);
            }
        }
        let (idle, active) = (
            idle_share(frames, sessions),
            active_share(frames, receiving),
        );
        let mut free = frames.saturating_sub(promised);
        for step in 0..positions {
            // Another one first each time, so that what becomes free goes round.
            let at = (self.turn + step) % positions;
            let Some((_, peer)) = self.peers.at(at) else {
                continue;
            };
            let claim = Claim {
                outstanding: outstanding(peer, longest),
                window: peer.window,
                target: if peer.inbound.len() > 0 { active } else { idle },
            };
            let window = resize(&claim, &mut free);
            if peer.window != window {
                peer.window = window;
                peer.session.set_window(window / frames_each(peer, longest));
            }
        }
        self.unpromised.set(free);
    }
}

/// Frames that a block of this session may take, of at most `longest`. Credit is for blocks of whatever length.
fn frames_each(peer: &Peer, longest: u64) -> u64 {
    // A client does not know yet until its server answers.
    match peer.session.peer().is_none() || peer.session.has_long_blocks() {
        true => longest,
        false => 1,
    }
}

/// Frames of the blocks that a session was granted and that are not released.
fn outstanding(peer: &Peer, longest: u64) -> u64 {
    peer.session.outstanding_credit() * frames_each(peer, longest)
}

/// The window that a session gets now; what it takes of the `free` frames is gone from them.
fn resize(claim: &Claim, free: &mut u64) -> u64 {
    if claim.target <= claim.window {
        return claim.target;
    }
    let growth = claim.target.saturating_sub(claim.promised()).min(*free);
    *free -= growth;
    // What is outstanding beyond the window is promised anyway.
    claim.target.min(claim.promised() + growth)
}

/// What each of the sessions that receive may have.
fn active_share(frames: u64, receiving: u64) -> u64 {
    (frames - frames / IDLE_PART) / receiving.max(1)
}

/// What each session may have while it receives nothing.
fn idle_share(frames: u64, sessions: u64) -> u64 {
    (frames / IDLE_PART / sessions.max(1)).min(IDLE_WINDOW)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_are_equal_and_fit() {
        for frames in [64, 1000, 10_240] {
            for sessions in [0, 1, 2, 31, 192] {
                for receiving in 0..=sessions {
                    let sum = receiving * active_share(frames, receiving)
                        + (sessions - receiving) * idle_share(frames, sessions);
                    assert!(sum <= frames, "{frames} {sessions} {receiving}");
                }
            }
        }
        assert_eq!(active_share(10_240, 1), 7680);
        assert_eq!(idle_share(10_240, 2), IDLE_WINDOW);
    }

    #[test]
    fn a_share_grows_as_far_as_there_are_frames() {
        let claim = |outstanding, window| Claim {
            outstanding,
            window,
            target: 100,
        };
        let mut free = 30;
        assert_eq!(resize(&claim(0, 20), &mut free), 50);
        assert_eq!(free, 0);
        assert_eq!(resize(&claim(60, 20), &mut free), 60, "promised anyway");
        assert_eq!(resize(&claim(200, 150), &mut free), 100, "shrinks at once");
    }

    proptest! {
        /// Sessions come and go, receive and release; nobody is ever promised what another one has.
        #[test]
        fn frames_are_promised_once(steps in proptest::collection::vec((0usize..8, 0u64..300, any::<bool>()), 1..300)) {
            const FRAMES: u64 = 1000;
            let mut sessions = vec![(0u64, 0u64, false); 8];
            for (at, amount, active) in steps {
                // The peer uses its window, or this side releases.
                let (outstanding, window, _) = &mut sessions[at];
                if active {
                    *outstanding = (*outstanding).max(*window);
                } else {
                    *outstanding = outstanding.saturating_sub(amount);
                }
                sessions[at].2 = active;
                let receiving = sessions.iter().filter(|s| s.2).count() as u64;
                let promised: u64 = sessions.iter().map(|s| s.0.max(s.1)).sum();
                prop_assert!(promised <= FRAMES, "{promised}");
                let mut free = FRAMES - promised;
                for (outstanding, window, active) in &mut sessions {
                    let target = if *active { active_share(FRAMES, receiving) } else { idle_share(FRAMES, 8) };
                    let claim = Claim { outstanding: *outstanding, window: *window, target };
                    *window = resize(&claim, &mut free);
                }
            }
        }
    }
}
