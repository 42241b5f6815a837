//! The memory of replies that a client does not read.

use std::collections::VecDeque;

use blk_proto::message::MAX_MESSAGE;

use super::MAX_JOBS;

/// Bytes of replies that may wait for room in a session's control stream; beyond it the client is cut off. A client
/// that reads its replies has at most those to its outstanding requests waiting.
pub(super) const MAX_BACKLOG: usize = MAX_JOBS * (MAX_MESSAGE + OVERHEAD);
/// Bytes of replies that wait beyond which the worker itself reads nothing more for a session.
pub(super) const MUCH: usize = 1 << 20;
/// What a waiting reply takes besides its own bytes.
const OVERHEAD: usize = 64;

/// The lengths of the replies of one session that wait, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    lengths: VecDeque<usize>,
    bytes: usize,
}

impl Backlog {
    /// Counts a reply of `len` bytes that was handed to the engine, which now has `waiting` of them: they leave in
    /// order, so these are the last ones. `false`: too much waits.
    pub(super) fn add(&mut self, len: usize, waiting: usize) -> bool {
        self.lengths.push_back(len + OVERHEAD);
        self.bytes += len + OVERHEAD;
        self.bytes(waiting) <= MAX_BACKLOG
    }

    /// Bytes that wait when the engine has `waiting` replies.
    pub(super) fn bytes(&mut self, waiting: usize) -> usize {
        while self.lengths.len() > waiting {
            self.bytes -= self.lengths.pop_front().unwrap_or_default();
        }
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_waits_counts() {
        let mut backlog = Backlog::default();
        assert!((0..1000).all(|_| backlog.add(MAX_BACKLOG / 2, 0)));
        assert_eq!((backlog.bytes, backlog.lengths.len()), (0, 0));
        assert!(backlog.add(1000, 1));
        assert!(backlog.add(10, 2));
        assert_eq!(backlog.bytes, 1010 + 2 * OVERHEAD);
        // The first has gone.
        assert!(backlog.add(1, 2));
        assert_eq!(backlog.bytes, 11 + 2 * OVERHEAD);
        assert_eq!(backlog.bytes(1), 1 + OVERHEAD);
        assert_eq!(backlog.bytes(0), 0);
    }

    #[test]
    fn too_many_bytes_are_too_much_however_they_are_split() {
        let mut large = Backlog::default();
        assert!(large.add(MAX_BACKLOG - OVERHEAD, 1));
        assert!(!large.add(1, 2));
        let mut small = Backlog::default();
        let fits = (1..).take_while(|&n| small.add(0, n)).count();
        assert_eq!(fits, MAX_BACKLOG / OVERHEAD);
    }
}
