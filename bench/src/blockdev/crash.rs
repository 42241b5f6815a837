//! Images that a loss of power can leave behind.

use std::ops::Range;
use std::sync::Arc;

use super::blocks::{Blocks, Image};
use super::log::{Event, Log};
use crate::wire::random::Random;

/// What no disk tears.
pub(super) const SECTOR: u64 = 512;

/// The first bytes of a disk are not torn either. There lies the superblock of ext4, two sectors with one checksum, which ext4
/// writes in place: a torn one is for e2fsck to mend, whatever was stored on the file system.
const FIRST: u64 = 4096;

/// What becomes of the writes that no flush has covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// All are lost.
    None,
    /// All are there.
    All,
    /// Those before a random one are there, and a random part of the sectors of that one.
    Prefix,
    /// Those after a random one are there, and a random part of the sectors of that one: the disk reordered them.
    Suffix,
    /// Each is there or not, by chance.
    Some,
    /// Each of their sectors is there or not, by chance.
    Sectors,
}

impl Choice {
    const EVERY: [Self; 6] = [
        Self::None,
        Self::All,
        Self::Prefix,
        Self::Suffix,
        Self::Some,
        Self::Sectors,
    ];
}

/// A loss of power: when, and what it left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// After so many events of the log.
    pub position: usize,
    /// What became of the writes that no flush had covered.
    pub choice: Choice,
    /// Decides what the choice leaves to chance.
    pub seed: u64,
}

impl Crash {
    /// A loss of power at a position; everything else by the seed.
    pub fn at(position: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let choice = Choice::EVERY[random.below(Choice::EVERY.len() as u64) as usize];
        Self {
            position,
            choice,
            seed: random.bits(),
        }
    }
}

impl std::fmt::Display for Crash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            position,
            choice,
            seed,
        } = self;
        write!(f, "position {position}, {choice:?}, seed {seed:#x}")
    }
}

/// Goes through a log and gives images of the disk after losses of power. Quickest when positions ascend.
#[derive(Debug)]
pub struct Replay<'l> {
    log: &'l Log,
    durable: Image,
    /// Events that `durable` holds: up to and without a flush.
    settled: usize,
    /// Bytes, aligned, that are there whole or not at all.
    unit: u64,
}

impl<'l> Replay<'l> {
    /// Begins at position 0, on a disk that tears a write at any multiple of 512 bytes.
    pub fn new(log: &'l Log) -> Self {
        Self::tearing_at(log, SECTOR)
    }

    /// The same on a disk that tears a write at multiples of `unit` bytes only.
    pub fn tearing_at(log: &'l Log, unit: u64) -> Self {
        Self {
            log,
            durable: Image::over(Arc::clone(&log.base)),
            settled: 0,
            unit,
        }
    }

    /// The image after a loss of power. For speed, no image given earlier should be alive.
    pub fn image(&mut self, crash: Crash) -> Image {
        let end = crash.position.min(self.log.events.len());
        let unsettled = self.unsettled(end);
        let durable = self.durable(unsettled.start);
        let mut image = Image::over(durable);
        choose(&self.log.events[unsettled], crash, self.unit, &mut image);
        image
    }

    /// The events before a position that no flush covers.
    pub fn unsettled(&self, position: usize) -> Range<usize> {
        let before = &self.log.events[..position];
        let flush = before
            .iter()
            .rposition(|event| matches!(event, Event::Flush));
        flush.map_or(0, |flush| flush + 1)..position
    }

    fn durable(&mut self, upto: usize) -> Arc<Blocks> {
        if upto < self.settled {
            *self = Self::tearing_at(self.log, self.unit);
        }
        for event in &self.log.events[self.settled..upto] {
            event.apply(&mut self.durable);
        }
        self.settled = upto;
        self.durable.settle()
    }
}

/// Does some of the events to an image.
fn choose(events: &[Event], crash: Crash, unit: u64, image: &mut Image) {
    let mut random = Random::new(crash.seed);
    let cut = random.below(events.len() as u64) as usize;
    // Between a few of them and nearly all.
    let odds = (1 + random.below(9)) as f64 / 10.0;
    for (index, event) in events.iter().enumerate() {
        let whole = match crash.choice {
            Choice::None => Some(false),
            Choice::All => Some(true),
            Choice::Prefix if index != cut => Some(index < cut),
            Choice::Suffix if index != cut => Some(index > cut),
            Choice::Some => Some(random.chance(odds)),
            Choice::Prefix | Choice::Suffix | Choice::Sectors => None,
        };
        match whole {
            Some(true) => event.apply(image),
            Some(false) => {}
            None => torn(event, &mut random, odds, unit, image),
        }
    }
}

/// Does some of the units of an event to an image.
fn torn(event: &Event, random: &mut Random, odds: f64, unit: u64, image: &mut Image) {
    match event {
        Event::Write { offset, bytes } => {
            let (mut at, mut rest) = (*offset, &bytes[..]);
            while !rest.is_empty() {
                let end = if at < FIRST {
                    FIRST
                } else {
                    (at + 1).next_multiple_of(unit)
                };
                let (sector, after) = rest.split_at(((end - at) as usize).min(rest.len()));
                if random.chance(odds) {
                    image.write(at, sector);
                }
                at += sector.len() as u64;
                rest = after;
            }
        }
        Event::Zero { offset, length } => {
            // A discard may be large; what a disk forgets of it, it forgets in larger pieces.
            let piece = (length / 64).next_multiple_of(unit).max(unit);
            let mut at = 0;
            while at < *length {
                if random.chance(odds) {
                    image.zero(offset + at, piece.min(length - at));
                }
                at += piece;
            }
        }
        Event::Flush => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Log {
        let mut log = Log::new(Arc::default(), 1 << 20);
        for (index, fill) in [1u8, 2, 0, 3, 4, 0, 5].into_iter().enumerate() {
            log.push(match fill {
                0 => Event::Flush,
                _ => Event::Write {
                    offset: (index as u64 + 1) * 4096,
                    bytes: vec![fill; 4096].into(),
                },
            });
        }
        log
    }

    /// How many sectors of write `index` an image holds.
    fn sectors(image: &Image, index: u64, fill: u8) -> usize {
        let mut bytes = [0; 4096];
        image.read((index + 1) * 4096, &mut bytes);
        bytes
            .chunks(SECTOR as usize)
            .filter(|sector| sector.iter().all(|byte| *byte == fill))
            .count()
    }

    #[test]
    fn what_was_flushed_is_there_and_what_comes_later_is_not() {
        let log = log();
        let mut replay = Replay::new(&log);
        for position in (0..=log.events.len()).chain([2, 6, 0]) {
            for seed in 0..50 {
                let crash = Crash::at(position, seed);
                let image = replay.image(crash);
                for (index, event) in log.events.iter().enumerate() {
                    let Event::Write { bytes, .. } = event else {
                        continue;
                    };
                    let found = sectors(&image, index as u64, bytes[0]);
                    let covered = log.events[index..position.max(index)]
                        .iter()
                        .any(|event| matches!(event, Event::Flush));
                    match index < position {
                        _ if covered => assert_eq!(found, 8, "{crash}: write {index}"),
                        false => assert_eq!(found, 0, "{crash}: write {index}"),
                        true => {}
                    }
                }
            }
        }
    }

    #[test]
    fn every_outcome_of_unflushed_writes_occurs() {
        let log = log();
        let mut replay = Replay::new(&log);
        // Writes 3 and 4 are not flushed at position 5.
        let outcomes: std::collections::HashSet<(bool, bool, bool)> = (0..500)
            .map(|seed| {
                let image = replay.image(Crash::at(5, seed));
                let (first, second) = (sectors(&image, 3, 3), sectors(&image, 4, 4));
                let torn = [first, second].iter().any(|count| (1..8).contains(count));
                (first == 8, second == 8, torn)
            })
            .collect();
        for outcome in [
            (false, false, false),
            (true, false, false),
            (false, true, false),
            (true, true, false),
            (false, false, true),
        ] {
            assert!(outcomes.contains(&outcome), "{outcome:?} never happened");
        }
    }

    #[test]
    fn a_disk_with_a_larger_unit_tears_none() {
        let mut log = log();
        // Not aligned: three quarters of one unit, and a quarter of the next.
        log.push(Event::Write {
            offset: (1 << 16) + 1024,
            bytes: vec![6; 4096].into(),
        });
        let mut replay = Replay::tearing_at(&log, 4096);
        let mut parted = false;
        for seed in 0..500 {
            let image = replay.image(Crash::at(log.events.len(), seed));
            for (index, fill) in [(0, 1), (1, 2), (3, 3), (4, 4), (6, 5)] {
                let found = sectors(&image, index, fill);
                assert!(found == 0 || found == 8, "write {index}: {found}");
            }
            let (head, tail) = (sectors(&image, 15, 6), sectors(&image, 16, 6));
            assert!([0, 6].contains(&head) && [0, 2].contains(&tail));
            parted |= head == 6 && tail == 0;
        }
        assert!(parted, "a write may be torn between two units");
    }

    #[test]
    fn the_same_crash_gives_the_same_image() {
        let log = log();
        let crash = Crash::at(5, 77);
        let read = |image: Image| {
            let mut bytes = vec![0; 8 * 4096];
            image.read(0, &mut bytes);
            bytes
        };
        let first = read(Replay::new(&log).image(crash));
        let mut replay = Replay::new(&log);
        replay.image(Crash::at(7, 1));
        assert_eq!(first, read(replay.image(crash)));
    }
}
