//! The slow link inside the wire: frames leave it one after the other at a rate, and wait in front of it in a queue.

use std::collections::VecDeque;

/// How much may wait in front of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Bytes of Ethernet frames.
    Bytes(u64),
    /// Frames.
    Frames(usize),
}

/// What waits in front of the link, the frame that is leaving included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Frames.
    pub frames: usize,
    /// Bytes of Ethernet frames.
    pub bytes: u64,
}

impl Backlog {
    /// Whether a frame of `len` bytes finds no room behind this. An empty queue takes a frame of any size.
    pub fn is_full_for(&self, len: usize, limit: Depth) -> bool {
        match limit {
            Depth::Bytes(limit) => self.bytes > 0 && self.bytes + len as u64 > limit,
            Depth::Frames(limit) => self.frames >= limit.max(1),
        }
    }

    /// Whether it is longer than a threshold.
    pub fn exceeds(&self, threshold: Depth) -> bool {
        match threshold {
            Depth::Bytes(threshold) => self.bytes > threshold,
            Depth::Frames(threshold) => self.frames > threshold,
        }
    }
}

/// A link that sends one frame at a time. Times are nanoseconds.
#[derive(Debug, Default)]
pub struct Line {
    free_at: u64,
    /// When each waiting frame has left, and its length. In order.
    departures: VecDeque<(u64, usize)>,
    bytes: u64,
}

impl Line {
    /// What waits at `now`.
    pub fn backlog(&mut self, now: u64) -> Backlog {
        while let Some(&(departure, len)) = self.departures.front()
            && departure <= now
        {
            self.departures.pop_front();
            self.bytes -= len as u64;
        }
        Backlog {
            frames: self.departures.len(),
            bytes: self.bytes,
        }
    }

    /// Queues a frame of `len` bytes behind those that wait; gives the time at which its last bit has left. A rate of 0
    /// bits per second is no limit.
    pub fn send(&mut self, now: u64, len: usize, rate: u64) -> u64 {
        if rate == 0 {
            return now;
        }
        let time = (len as u128 * 8 * 1_000_000_000 / u128::from(rate)) as u64;
        self.free_at = self.free_at.max(now) + time;
        self.departures.push_back((self.free_at, len));
        self.bytes += len as u64;
        self.free_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_leave_one_after_the_other_and_are_forgotten_then() {
        let mut line = Line::default();
        // 1000 bits at 1 Mb/s: 1 ms each.
        assert_eq!(line.send(0, 125, 1_000_000), 1_000_000);
        assert_eq!(line.send(10, 125, 1_000_000), 2_000_000);
        let waiting = |frames, bytes| Backlog { frames, bytes };
        assert_eq!(line.backlog(20), waiting(2, 250));
        assert_eq!(line.backlog(1_000_000), waiting(1, 125));
        assert_eq!(line.backlog(9_000_000), waiting(0, 0));
        assert_eq!(
            line.send(9_000_000, 125, 1_000_000),
            10_000_000,
            "idle time is not saved up"
        );
    }

    #[test]
    fn a_queue_has_room_up_to_its_limit() {
        let backlog = Backlog {
            frames: 3,
            bytes: 300,
        };
        assert!(!backlog.is_full_for(100, Depth::Bytes(400)));
        assert!(backlog.is_full_for(101, Depth::Bytes(400)));
        assert!(!backlog.is_full_for(9_000, Depth::Frames(4)));
        assert!(backlog.is_full_for(1, Depth::Frames(3)));
        let empty = Backlog::default();
        assert!(!empty.is_full_for(9_000, Depth::Bytes(1)));
        assert!(backlog.exceeds(Depth::Bytes(299)) && !backlog.exceeds(Depth::Bytes(300)));
        assert!(backlog.exceeds(Depth::Frames(2)) && !backlog.exceeds(Depth::Frames(3)));
    }
}
