//! The frame pool of a simulated host: every frame is in exactly one place.

use super::invariants::Broken;
use crate::time::Time;

/// Where a frame is.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nowhere: packets are received into it.
    Free,
    /// A received block that waits for the disk, or is being written.
    Disk,
    /// A block that a session has, to send.
    Session,
    /// In the queue of the NIC after its session gave it back.
    Nic,
}

const PLACES: [Place; 4] = [Place::Free, Place::Disk, Place::Session, Place::Nic];

/// A frame. There is one of each, so it can be neither lost nor doubled without [`Frames::check`] noticing.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame(u32);

#[derive(Debug)]
struct Slot {
    place: Place,
    /// When its last transmission leaves the NIC.
    leaves: Time,
    bytes: Vec<u8>,
}

/// All frames of a host.
#[derive(Debug)]
pub struct Frames {
    slots: Vec<Slot>,
    free: Vec<u32>,
    counts: [usize; PLACES.len()],
    /// Frames in the NIC that are free when they leave it.
    leaving: Vec<u32>,
}

impl Frames {
    /// So many free frames.
    #[must_use]
    pub fn new(total: usize) -> Self {
        let slot = |_| Slot {
            place: Place::Free,
            leaves: Time::default(),
            bytes: Vec::new(),
        };
        Self {
            slots: (0..total).map(slot).collect(),
            free: (0..total as u32).rev().collect(),
            counts: [total, 0, 0, 0],
            leaving: Vec::new(),
        }
    }

    /// How many there are in all.
    #[must_use]
    pub fn total(&self) -> usize {
        self.slots.len()
    }

    /// How many are in this place.
    #[must_use]
    pub const fn count(&self, place: Place) -> usize {
        self.counts[place as usize]
    }

    /// Takes a free frame, empty, to this place.
    ///
    /// # Errors
    /// There is none.
    pub fn take(&mut self, to: Place) -> Result<Frame, Broken> {
        let total = self.total();
        let index = self
            .free
            .pop()
            .ok_or(Broken::NoFrame { held: total, total })?;
        let slot = &mut self.slots[index as usize];
        slot.bytes.clear();
        slot.leaves = Time::default();
        self.shift(index, Place::Free, to)?;
        Ok(Frame(index))
    }

    /// Gives a frame back that is in this place.
    ///
    /// # Errors
    /// It is not there.
    pub fn give(&mut self, now: Time, frame: &Frame, from: Place) -> Result<(), Broken> {
        let index = frame.0;
        if self.slots[index as usize].leaves > now {
            self.shift(index, from, Place::Nic)?;
            self.leaving.push(index);
        } else {
            self.shift(index, from, Place::Free)?;
            self.free.push(index);
        }
        Ok(())
    }

    fn shift(&mut self, index: u32, from: Place, to: Place) -> Result<(), Broken> {
        let slot = &mut self.slots[index as usize];
        if slot.place != from {
            return Err(Broken::FrameMisplaced {
                frame: index,
                expected: from,
                found: slot.place,
            });
        }
        slot.place = to;
        self.counts[from as usize] -= 1;
        self.counts[to as usize] += 1;
        Ok(())
    }

    /// The bytes in a frame.
    #[must_use]
    pub fn bytes(&self, frame: &Frame) -> &[u8] {
        &self.slots[frame.0 as usize].bytes
    }

    /// The bytes in a frame, to be written.
    pub fn bytes_mut(&mut self, frame: &Frame) -> &mut Vec<u8> {
        &mut self.slots[frame.0 as usize].bytes
    }

    /// Whether its last transmission has left the NIC.
    #[must_use]
    pub fn has_left(&self, now: Time, frame: &Frame) -> bool {
        self.slots[frame.0 as usize].leaves <= now
    }

    /// It is being transmitted, until then.
    pub fn transmit(&mut self, frame: u32, leaves: Time) {
        self.slots[frame as usize].leaves = leaves;
    }

    /// Frees what has left the NIC.
    ///
    /// # Errors
    /// A frame is not where it should be.
    pub fn tick(&mut self, now: Time) -> Result<(), Broken> {
        let mut at = 0;
        while let Some(&index) = self.leaving.get(at) {
            if self.slots[index as usize].leaves > now {
                at += 1;
                continue;
            }
            self.leaving.swap_remove(at);
            self.free.push(index);
            self.shift(index, Place::Nic, Place::Free)?;
        }
        Ok(())
    }

    /// When the next frame leaves the NIC.
    #[must_use]
    pub fn next_leaving(&self) -> Option<Time> {
        self.leaving
            .iter()
            .map(|index| self.slots[*index as usize].leaves)
            .min()
    }

    /// Compares the pool's counts with those of the owners of frames.
    ///
    /// # Errors
    /// Frames were lost or doubled.
    pub fn check(&self, disk: usize, session: usize) -> Result<(), Broken> {
        let nic = self.leaving.len();
        let owned = [self.free.len(), disk, session, nic];
        for (place, expected) in PLACES.into_iter().zip(owned) {
            let found = self.count(place);
            if found != expected {
                return Err(Broken::FrameCount {
                    place,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }
}

impl Frame {
    /// Its number in the pool.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    const T0: Time = Time::from_nanos(1_000);

    #[test]
    fn frames_are_conserved() {
        let mut frames = Frames::new(2);
        let (one, two) = (
            frames.take(Place::Disk).unwrap(),
            frames.take(Place::Session).unwrap(),
        );
        assert_eq!(frames.check(1, 1), Ok(()));
        assert!(matches!(
            frames.take(Place::Disk),
            Err(Broken::NoFrame { .. })
        ));
        assert!(matches!(
            frames.give(T0, &one, Place::Session),
            Err(Broken::FrameMisplaced { .. })
        ));
        frames.give(T0, &one, Place::Disk).unwrap();
        assert!(frames.give(T0, &one, Place::Disk).is_err(), "twice");
        assert!(frames.check(1, 1).is_err(), "the disk's frame is gone");
        assert_eq!(frames.check(0, 1), Ok(()));
        frames.give(T0, &two, Place::Session).unwrap();
        assert_eq!(frames.check(0, 0), Ok(()));
    }

    #[test]
    fn a_frame_in_the_nic_is_not_free() {
        let mut frames = Frames::new(1);
        let frame = frames.take(Place::Session).unwrap();
        let later = T0 + Duration::from_micros(5);
        frames.transmit(frame.index(), later);
        assert!(!frames.has_left(T0, &frame));
        frames.give(T0, &frame, Place::Session).unwrap();
        assert_eq!(
            (frames.count(Place::Nic), frames.next_leaving()),
            (1, Some(later))
        );
        frames.tick(T0).unwrap();
        assert!(frames.take(Place::Disk).is_err());
        frames.tick(later).unwrap();
        assert!(frames.take(Place::Disk).is_ok());
    }
}
