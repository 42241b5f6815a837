//! What a file that is written in place may hold after a loss of power.
//!
//! A write is promised when a sync that was begun after it was over has succeeded. A later one, which no sync covers, may be there,
//! or not, or any of its bytes, whatever became of the others. So each byte is that of the last promised write, or of any
//! later one.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::wire::random::Random;

/// A write of bytes that its seed gives.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RangedWrite {
    /// First byte.
    pub offset: u64,
    /// How many.
    pub len: usize,
    /// Decides them.
    pub seed: u64,
}

impl RangedWrite {
    /// What is written.
    pub fn bytes(&self) -> Vec<u8> {
        let mut random = Random::new(self.seed);
        let mut bytes = Vec::with_capacity(self.len + 8);
        while bytes.len() < self.len {
            bytes.extend_from_slice(&random.bits().to_le_bytes());
        }
        bytes.truncate(self.len);
        bytes
    }

    fn end(&self) -> usize {
        self.offset as usize + self.len
    }
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
enum Step {
    /// Begun at this position of the log.
    Write(RangedWrite, usize),
    /// Succeeded at this position.
    Synced(usize),
}

/// What was done to a file, one step after the other.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Ranged(Vec<Step>);

impl Ranged {
    pub(super) fn write(&mut self, write: RangedWrite, position: usize) {
        self.0.push(Step::Write(write, position));
    }

    pub(super) fn synced(&mut self, position: usize) {
        self.0.push(Step::Synced(position));
    }

    /// The positions at which a sync succeeded.
    pub(super) fn syncs(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().filter_map(|step| match step {
            Step::Synced(position) => Some(*position),
            Step::Write(..) => None,
        })
    }

    /// Looks at the file after a loss of power at `position`; how many bytes of it were promised, or `None` when it is not
    /// there, rightly.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn check(&self, path: &Path, position: usize) -> Result<Option<u64>, String> {
        let promised = self
            .0
            .iter()
            .rposition(|step| matches!(step, Step::Synced(at) if *at <= position));
        let found = match std::fs::read(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound && promised.is_none() => {
                return Ok(None);
            }
            Err(error) => return Err(format!("it was synced, and cannot be read: {error}")),
        };
        let (before, after) = self.0.split_at(promised.unwrap_or(0));
        let mut base = Vec::new();
        for write in writes(before, usize::MAX) {
            base.resize(base.len().max(write.end()), 0);
            base[write.offset as usize..write.end()].copy_from_slice(&write.bytes());
        }
        compare(&base, writes(after, position), &found)?;
        Ok(Some(base.len() as u64))
    }
}

/// The writes that were begun up to a position.
fn writes(steps: &[Step], position: usize) -> impl Iterator<Item = RangedWrite> + Clone + '_ {
    steps.iter().filter_map(move |step| match step {
        Step::Write(write, begun) if *begun <= position => Some(*write),
        _ => None,
    })
}

/// Each byte found is that of `base` or of one of the `later` writes.
fn compare(
    base: &[u8],
    later: impl Iterator<Item = RangedWrite> + Clone,
    found: &[u8],
) -> Result<(), String> {
    let most = later.clone().map(|write| write.end()).max().unwrap_or(0);
    let most = most.max(base.len());
    if !(base.len()..=most).contains(&found.len()) {
        return Err(format!(
            "{} bytes were synced, {most} written, and there are {}",
            base.len(),
            found.len()
        ));
    }
    let mut right: Vec<bool> = found
        .iter()
        .enumerate()
        .map(|(at, byte)| base.get(at).copied().unwrap_or(0) == *byte)
        .collect();
    for write in later {
        let bytes = write.bytes();
        let here = found.iter().zip(&mut right).skip(write.offset as usize);
        for ((found, right), byte) in here.zip(&bytes) {
            *right |= found == byte;
        }
    }
    match right.iter().position(|right| !right) {
        Some(at) => Err(format!(
            "byte {at} of {} is neither what was synced nor what was written later ({} such bytes)",
            found.len(),
            right.iter().filter(|right| !**right).count()
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(offset: u64, len: usize, seed: u64) -> RangedWrite {
        RangedWrite { offset, len, seed }
    }

    /// Two writes, a sync, and a third write over a part of both.
    fn ranged() -> Ranged {
        let mut ranged = Ranged::default();
        ranged.write(write(0, 1000, 1), 0);
        ranged.write(write(1500, 1000, 2), 2);
        ranged.synced(4);
        ranged.write(write(500, 3000, 3), 5);
        ranged
    }

    fn look(ranged: &Ranged, bytes: &[u8], position: usize) -> Result<Option<u64>, String> {
        let directory = crate::lab::Directory::new();
        let path = directory.join("file");
        std::fs::write(&path, bytes).unwrap();
        ranged.check(&path, position)
    }

    #[test]
    fn what_was_synced_stays_and_what_was_not_may() {
        let ranged = ranged();
        let mut bytes = vec![0; 2500];
        bytes[..1000].copy_from_slice(&write(0, 1000, 1).bytes());
        // Of the second write only a part: wrong after the sync, and right before.
        bytes[1500..2000].copy_from_slice(&write(1500, 1000, 2).bytes()[..500]);
        assert_eq!(look(&ranged, &bytes, 3), Ok(Some(0)));
        look(&ranged, &bytes, 4).unwrap_err();
        bytes[1500..].copy_from_slice(&write(1500, 1000, 2).bytes());
        assert_eq!(look(&ranged, &bytes, 4), Ok(Some(2500)));
        // Of the third a part in the middle, and the length.
        let third = write(500, 3000, 3).bytes();
        bytes.resize(3500, 0);
        bytes[700..1700].copy_from_slice(&third[200..1200]);
        look(&ranged, &bytes, 4).unwrap_err();
        assert_eq!(look(&ranged, &bytes, 5), Ok(Some(2500)));
        bytes.push(0);
        look(&ranged, &bytes, 5).unwrap_err();
        look(&ranged, &bytes[..2499], 5).unwrap_err();
    }

    #[test]
    fn a_file_may_be_missing_until_its_first_sync() {
        let path = Path::new("/nonexistent/file");
        assert_eq!(ranged().check(path, 3), Ok(None));
        ranged().check(path, 4).unwrap_err();
    }
}
