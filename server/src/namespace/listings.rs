//! Listings that go on: snapshots between one page and the next.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::exports::Snapshot;

/// Snapshots kept at most; each holds a descriptor.
const SNAPSHOTS_MAX: usize = 64;

/// Bytes of names kept at most, except that the newest snapshot always stays: a directory too
/// large for this would be read once per page otherwise.
const MEMORY_MAX: usize = 64 << 20;

/// Where a listing continues: the snapshot in the upper half, the index of the next entry in the
/// lower. Snapshot numbers start at 1, so that no cursor is 0.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Cursor {
    pub(super) snapshot: u32,
    pub(super) index: u32,
}

impl Cursor {
    pub(super) fn from_wire(cursor: u64) -> Cursor {
        Cursor {
            snapshot: (cursor >> 32) as u32,
            index: cursor as u32,
        }
    }

    pub(super) fn to_wire(self) -> u64 {
        u64::from(self.snapshot) << 32 | u64::from(self.index)
    }
}

struct Kept {
    number: u32,
    export: String,
    path: Vec<u8>,
    snapshot: Arc<Snapshot>,
}

/// The snapshots, oldest first.
#[derive(Default)]
pub(super) struct Listings {
    kept: VecDeque<Kept>,
    memory: usize,
    last: u32,
}

impl Listings {
    /// The snapshot of that number, if it is kept and is of that directory: the number comes from
    /// a peer, who could have made it up.
    pub(super) fn find(&self, number: u32, export: &str, path: &[u8]) -> Option<Arc<Snapshot>> {
        let kept = self.kept.iter().find(|kept| kept.number == number)?;
        (kept.export == export && kept.path == path).then(|| kept.snapshot.clone())
    }

    /// Keeps a snapshot and returns its number; older ones make room.
    pub(super) fn keep(&mut self, export: String, path: Vec<u8>, snapshot: Arc<Snapshot>) -> u32 {
        self.last = self.last.checked_add(1).unwrap_or(1);
        self.memory += snapshot.memory();
        self.kept.push_back(Kept {
            number: self.last,
            export,
            path,
            snapshot,
        });
        while self.kept.len() > SNAPSHOTS_MAX || (self.memory > MEMORY_MAX && self.kept.len() > 1) {
            if let Some(oldest) = self.kept.pop_front() {
                self.memory -= oldest.snapshot.memory();
            }
        }
        self.last
    }

    /// The listing is complete.
    pub(super) fn forget(&mut self, number: u32) {
        let at = self.kept.iter().position(|kept| kept.number == number);
        if let Some(kept) = at.and_then(|at| self.kept.remove(at)) {
            self.memory -= kept.snapshot.memory();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Arc<Snapshot> {
        let directory = std::fs::File::open("/proc/self/fdinfo").unwrap();
        Arc::new(Snapshot::read(directory.into(), b"d").unwrap())
    }

    #[test]
    fn cursors_round_trip_and_are_never_zero() {
        for cursor in [
            Cursor {
                snapshot: 1,
                index: 0,
            },
            Cursor {
                snapshot: u32::MAX,
                index: u32::MAX,
            },
        ] {
            assert_ne!(cursor.to_wire(), 0);
            assert_eq!(Cursor::from_wire(cursor.to_wire()), cursor);
        }
    }

    #[test]
    fn oldest_snapshots_make_room_and_numbers_are_checked() {
        let mut listings = Listings::default();
        let first = listings.keep("e".into(), b"d".to_vec(), snapshot());
        assert!(listings.find(first, "e", b"d").is_some());
        assert!(listings.find(first, "e", b"other").is_none());
        assert!(listings.find(first, "other", b"d").is_none());
        for _ in 0..SNAPSHOTS_MAX {
            listings.keep("e".into(), b"d".to_vec(), snapshot());
        }
        assert!(listings.find(first, "e", b"d").is_none());
        assert_eq!(listings.kept.len(), SNAPSHOTS_MAX);
        for number in 0..=listings.last {
            listings.forget(number);
        }
        assert_eq!((listings.kept.len(), listings.memory), (0, 0));
    }

    #[test]
    fn numbers_wrap_past_zero() {
        let mut listings = Listings {
            last: u32::MAX,
            ..Listings::default()
        };
        assert_eq!(listings.keep("e".into(), Vec::new(), snapshot()), 1);
    }
}
