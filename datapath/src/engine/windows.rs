//! How many blocks each session may have outstanding here: the frames for reception, divided among those that receive.
//!
//! What has been granted is not taken back, so until the older sessions have used up their grants the sum may exceed the
//! frames; should all of them stall just then, packets are dropped and sent again.

use super::Engine;
use crate::disk::RUN_MAX;

/// A session that receives alone has so many: enough for a data centre's bandwidth times its delay, and few enough that
/// their frames stay in the CPU's cache.
const LARGEST_WINDOW: u64 = 1024;
/// No share is smaller than a chunk: a sender in file order must be able to complete one.
const SMALLEST_WINDOW: u64 = RUN_MAX as u64;
/// A session that receives nothing has so many, to start with when it does; it takes nothing from the others.
const FIRST_WINDOW: u64 = 2 * RUN_MAX as u64;

impl Engine {
    /// What a new session is granted in the handshake.
    pub(super) fn first_window(&self) -> u64 {
        share(self.config.receive_frames, self.receiving + 1).min(FIRST_WINDOW)
    }

    /// Divides the frames anew when sessions have begun or ceased to receive.
    pub(super) fn share_windows(&mut self) {
        let positions = self.peers.positions();
        self.receiving = (0..positions)
            .filter(|&at| {
                self.peers
                    .at(at)
                    .is_some_and(|(_, peer)| peer.inbound.len() > 0)
            })
            .count();
        let share = share(self.config.receive_frames, self.receiving);
        for at in 0..positions {
            let Some((_, peer)) = self.peers.at(at) else {
                continue;
            };
            let window = if peer.inbound.len() > 0 {
                share
            } else {
                share.min(FIRST_WINDOW)
            };
            if peer.window != window {
                peer.window = window;
                peer.session.set_window(window);
            }
        }
    }
}

/// An equal share for each of `sessions`.
fn share(frames: u64, sessions: usize) -> u64 {
    (frames / sessions.max(1) as u64).clamp(SMALLEST_WINDOW, LARGEST_WINDOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_equal_and_bounded() {
        assert_eq!(share(6144, 0), LARGEST_WINDOW);
        assert_eq!(share(6144, 1), LARGEST_WINDOW);
        assert_eq!(share(6144, 12), 512);
        assert_eq!(share(6144, 1000), SMALLEST_WINDOW);
    }
}
