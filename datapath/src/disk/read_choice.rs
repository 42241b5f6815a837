//! Which way each run of a file is read: from the page cache or from the device. Pure: what the cache holds, and what
//! reads took, is told.
//!
//! ```text
//!   file  │ in the cache │ not there │ nearly all there │ not there …
//!   way   │    Cache     │  Direct   │     Buffered     │  Direct
//! ```
//!
//! * **Cache**: all of the run is there, and a copy costs less than the device. Read with `RWF_NOWAIT`: what has been
//!   evicted meanwhile is read directly.
//! * **Direct**: past the page cache, which stays as it is.
//! * **Buffered**: a few pages of the run are missing, and it costs less to read these than the whole run. They stay in
//!   the cache, as what lies around them did.
//!
//! # Why ask first
//!
//! `RWF_NOWAIT` alone would do to find out, but a miss is not free: before it returns `EAGAIN`, the kernel starts
//! read-ahead of what was missing (`filemap_get_pages` in mm/filemap.c), which pollutes the cache and reads twice.
//! cachestat(2) touches nothing. One call covers many runs as long as these are all there or all absent.
//!
//! # Both ways of one file
//!
//! are coherent for readers: before a direct read the kernel writes back what is dirty in its range and waits for that
//! (`kiocb_write_and_wait` in mm/filemap.c, which iomap's and the generic direct read both call), and what is clean in
//! the cache is what the device has.

use blk_proto::geometry::GRID;

use super::read_cost::ReadCosts;

/// Which way a run is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReadWay {
    /// Past the page cache.
    #[default]
    Direct,
    /// From the page cache, as far as it is there; the rest past it.
    Cache,
    /// Through the page cache, which gets what it lacks.
    Buffered,
}

/// What of a range is in the page cache, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Presence {
    /// Pages of the range.
    pub pages: u64,
    /// Of these, in the cache.
    pub cached: u64,
}

impl Presence {
    fn is_all(self) -> bool {
        self.cached >= self.pages
    }

    fn is_nothing(self) -> bool {
        self.cached == 0
    }
}

/// Most bytes that one question covers: at 1 GB/s the answer is at most 7 ms old when it is used last.
pub const WINDOW_MAX: u64 = 8 * GRID;
/// Where the kernel does not tell, `Cache` is tried again after so many runs at first, and twice as many each time …
const BLIND_MIN: u32 = 8;
/// … up to this: a miss reads a run into the cache.
const BLIND_MAX: u32 = 128;

/// What is known of the runs ahead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Known {
    start: u64,
    end: u64,
    hot: bool,
}

/// Without cachestat(2): tries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Blind {
    /// Runs until the next try; 0 while tries succeed.
    wait: u32,
    /// What a miss makes of it.
    penalty: u32,
}

/// Chooses for one reader of one file.
#[derive(Debug, Default)]
pub struct ReadChooser {
    known: Option<Known>,
    /// Bytes that the next question covers, beyond the run's own.
    window: u64,
    /// The end of the last question's range.
    asked_to: u64,
    blind: Option<Blind>,
}

impl ReadChooser {
    /// Which way to read `len` bytes from `offset` of a file of `size` bytes. `probe` tells what the cache has of a
    /// range (offset, length), or that nobody tells.
    pub fn choose(
        &mut self,
        costs: &mut ReadCosts,
        (offset, len): (u64, u64),
        size: u64,
        mut probe: impl FnMut(u64, u64) -> Option<Presence>,
    ) -> ReadWay {
        if let Some(blind) = &mut self.blind {
            if blind.wait > 0 {
                blind.wait -= 1;
                return ReadWay::Direct;
            }
            return costs.next_hot_way();
        }
        let end = offset + len;
        if let Some(known) = self.known
            && known.start <= offset
            && end <= known.end
        {
            return way_of(known.hot, costs);
        }
        // A reader that goes on where it was; another flow may have taken what lies between.
        let goes_on = (self.asked_to..=self.asked_to + WINDOW_MAX).contains(&offset);
        if !goes_on {
            self.window = 0;
        }
        let to = (offset + len.max(self.window)).min(size.max(end));
        let Some(mut presence) = probe(offset, to - offset) else {
            return self.go_blind(costs);
        };
        self.asked_to = to;
        if presence.is_all() || presence.is_nothing() {
            let hot = presence.is_all();
            self.known = Some(Known {
                start: offset,
                end: to,
                hot,
            });
            self.window = (self.window * 2).clamp(GRID, WINDOW_MAX);
            return way_of(hot, costs);
        }
        // The cache changes somewhere in there: run by run for a while.
        self.known = None;
        self.window = 0;
        if to > end {
            self.asked_to = end;
            match probe(offset, len) {
                Some(of_run) => presence = of_run,
                None => return self.go_blind(costs),
            }
        }
        if presence.is_all() {
            costs.next_hot_way()
        } else if presence.is_nothing() || !costs.is_filling_cheaper(presence) {
            ReadWay::Direct
        } else {
            ReadWay::Buffered
        }
    }

    /// A run chosen to come from the cache was not there any more: what is known is old.
    pub fn missed(&mut self) {
        self.known = None;
        self.window = 0;
        if let Some(blind) = &mut self.blind {
            // Several reads in flight may miss for one reason.
            if blind.wait == 0 {
                blind.wait = blind.penalty;
                blind.penalty = (blind.penalty * 2).min(BLIND_MAX);
            }
        }
    }

    /// Nobody tells: from now on by trying.
    fn go_blind(&mut self, costs: &mut ReadCosts) -> ReadWay {
        self.known = None;
        self.blind = Some(Blind {
            wait: 0,
            penalty: BLIND_MIN,
        });
        costs.next_hot_way()
    }
}

fn way_of(hot: bool, costs: &mut ReadCosts) -> ReadWay {
    if hot {
        costs.next_hot_way()
    } else {
        ReadWay::Direct
    }
}

#[cfg(test)]
#[path = "read_choice_tests.rs"]
mod tests;
