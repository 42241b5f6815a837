//! Who writes where in a file that is written in place: ranges in the order in which they were asked for.
//!
//! Whole blocks go directly between frames and device, a few bytes through the page cache. Both at once in one page lose
//! bytes ([`EditFile`](blk_datapath::files::EditFile)), so each of them holds its range while it is under way, and who
//! overlaps it waits. All handles of an inode share the locks, whatever session they belong to.
//!
//! A worker asks for the range when it takes the request, and the guard goes with the job: what comes later, and is answered by the
//! worker itself, does not overtake what still lies in a queue.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};

use blk_datapath::engine::WriteObserver;
use blk_proto::message::HOLE_UNIT;

/// How a range is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Bytes are read through the page cache.
    Read,
    /// Bytes are written through the page cache.
    Write,
    /// Pages are written around it, or the range as a whole is given back or taken away.
    Exclusive,
}

/// The locks of all files that are open for writing, by device and inode.
#[derive(Debug, Default)]
pub(super) struct LockTable(HashMap<(u64, u64), Weak<RangeLocks>>);

impl LockTable {
    /// Those of one file.
    pub(super) fn of(&mut self, identity: (u64, u64)) -> Arc<RangeLocks> {
        if let Some(locks) = self.0.get(&identity).and_then(Weak::upgrade) {
            return locks;
        }
        // Few files are open at once, and opening is rare beside reading and writing.
        self.0.retain(|_, locks| locks.strong_count() > 0);
        let locks = Arc::new(RangeLocks::default());
        self.0.insert(identity, Arc::downgrade(&locks));
        locks
    }
}

/// The locks of one file.
#[derive(Debug, Default)]
pub(super) struct RangeLocks(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    last_ticket: u64,
    /// In the order of their tickets: who holds a range, and who waits for one.
    claims: VecDeque<Claim>,
}

impl Queue {
    /// Where a claim is.
    fn find(&self, ticket: u64) -> Result<usize, usize> {
        self.claims
            .binary_search_by_key(&ticket, |claim| claim.ticket)
    }
}

#[derive(Debug)]
struct Claim {
    ticket: u64,
    bytes: Range<u64>,
    access: Access,
    waker: Option<Waker>,
}

impl Claim {
    fn conflicts(&self, other: &Claim) -> bool {
        match (self.access, other.access) {
            (Access::Read, Access::Read) => false,
            (Access::Exclusive, _) | (_, Access::Exclusive) => {
                overlap(&self.pages(), &other.pages())
            }
            // The kernel keeps each call whole, but not their order: one that would have to wait goes to a thread of its own.
            _ => overlap(&self.bytes, &other.bytes),
        }
    }

    /// The pages that it touches.
    fn pages(&self) -> Range<u64> {
        let Range { start, end } = self.bytes;
        let end = end.checked_next_multiple_of(HOLE_UNIT).unwrap_or(u64::MAX);
        start - start % HOLE_UNIT..end
    }
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

impl RangeLocks {
    /// Asks for a range: for its bytes, or, where page cache and device may meet, for the pages that it touches.
    pub(super) fn claim(self: &Arc<Self>, offset: u64, len: u64, access: Access) -> RangeGuard {
        let end = offset.saturating_add(len.max(1));
        let mut queue = self.queue();
        queue.last_ticket += 1;
        let ticket = queue.last_ticket;
        queue.claims.push_back(Claim {
            ticket,
            bytes: offset..end,
            access,
            waker: None,
        });
        RangeGuard {
            locks: Arc::clone(self),
            ticket,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No method panics in the middle of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A range that is held, or waited for. Given back when it is dropped; a worker that receives into the range leaves that to
/// the last of its writes, which hold the guard as the observer of their coverage.
#[derive(Debug)]
pub struct RangeGuard {
    locks: Arc<RangeLocks>,
    ticket: u64,
}

impl RangeGuard {
    /// Whether nobody who came earlier is in the way; if not, `waker` is woken when it is worth to ask again.
    pub(crate) fn is_held(&self, waker: Option<&Waker>) -> bool {
        let mut queue = self.locks.queue();
        let Ok(at) = queue.find(self.ticket) else {
            return true;
        };
        let mine = &queue.claims[at];
        let held = !queue.claims.range(..at).any(|other| mine.conflicts(other));
        queue.claims[at].waker = waker.filter(|_| !held).cloned();
        held
    }

    /// Waits for the range.
    pub(super) async fn held(&self) {
        poll_fn(|context| match self.is_held(Some(context.waker())) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }
}

impl Drop for RangeGuard {
    fn drop(&mut self) {
        let woken: Vec<Waker> = {
            let mut queue = self.locks.queue();
            let at = queue.find(self.ticket);
            let Some(mine) = at.ok().and_then(|at| queue.claims.remove(at)) else {
                return;
            };
            let later = queue.claims.iter_mut();
            let freed = later.filter(|claim| claim.conflicts(&mine));
            freed.filter_map(|claim| claim.waker.take()).collect()
        };
        woken.into_iter().for_each(Waker::wake);
    }
}

impl WriteObserver for RangeGuard {
    /// There is nothing to note: what counts is how long the guard lives.
    fn written(&self, _offset: u64, _len: u64, _crc: u32) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locks() -> Arc<RangeLocks> {
        LockTable::default().of((1, 2))
    }

    #[test]
    fn overlapping_ranges_take_turns_in_the_order_of_asking() {
        let locks = locks();
        let bulk = locks.claim(4096, 8192, Access::Exclusive);
        let before = locks.claim(4000, 97, Access::Write);
        let beside = locks.claim(12288, 10, Access::Write);
        let second = locks.claim(0, 4096 * 100, Access::Exclusive);
        let late = locks.claim(4096 * 50, 1, Access::Write);
        let held = |guard: &RangeGuard| guard.is_held(None);
        assert!(held(&bulk) && held(&beside));
        assert!(!held(&before) && !held(&second));
        assert!(!held(&late), "it came after one that waits");
        drop(bulk);
        assert!(held(&before) && !held(&second));
        drop((before, beside));
        assert!(held(&second) && !held(&late));
        drop(second);
        assert!(held(&late));
    }

    #[test]
    fn readers_share_and_neighbours_in_a_page_do_not_wait() {
        let locks = locks();
        let held = |guard: &RangeGuard| guard.is_held(None);
        let one = locks.claim(0, 100, Access::Read);
        let two = locks.claim(50, 100, Access::Read);
        assert!(held(&one) && held(&two));
        let after = locks.claim(99, 10, Access::Write);
        let beside = locks.claim(150, 10, Access::Write);
        let reads_it = locks.claim(155, 1, Access::Read);
        assert!(!held(&after) && held(&beside) && !held(&reads_it));
        drop(one);
        assert!(!held(&after));
        drop((two, beside));
        assert!(held(&after) && held(&reads_it));
    }

    #[test]
    fn ranges_have_bounds() {
        let locks = locks();
        let one = locks.claim(0, 100, Access::Write);
        // A range of no bytes, and one to the end of all numbers.
        let none = locks.claim(0, 0, Access::Exclusive);
        let all = locks.claim(4096, u64::MAX, Access::Exclusive);
        assert!(one.is_held(None) && !none.is_held(None) && all.is_held(None));
    }

    #[test]
    fn who_waits_is_woken() {
        tokio_uring::start(async {
            let locks = locks();
            let first = locks.claim(0, 1, Access::Exclusive);
            let second = locks.claim(0, 1, Access::Exclusive);
            let waiting = tokio_uring::spawn(async move { second.held().await });
            tokio_uring::no_op().await.unwrap();
            assert!(!waiting.is_finished());
            drop(first);
            waiting.await.unwrap();
        });
    }

    #[test]
    fn handles_of_one_file_share_its_locks() {
        let mut table = LockTable::default();
        let (one, two) = (table.of((1, 2)), table.of((1, 2)));
        assert!(Arc::ptr_eq(&one, &two));
        assert!(!Arc::ptr_eq(&one, &table.of((1, 3))));
        drop((one, two));
        table.of((1, 4));
        assert_eq!(table.0.len(), 1);
    }
}
