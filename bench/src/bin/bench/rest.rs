//! A disk that has nothing left to do of what others have written and removed.
//!
//! A file system that is mounted with `discard` tells the disk of freed blocks after the commit of the removal (ext4:
//! `fs/ext4/mballoc.c`), so a tool that comes after the removal of a large file would share the disk with that.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{major, minor};

/// How long it has to be at rest.
const REST: Duration = Duration::from_millis(200);
/// A disk that others use is not waited for any longer.
const LIMIT: Duration = Duration::from_secs(10);
/// Sectors of 512 bytes within [`REST`] that are nobody's work: a log, the journal.
const LITTLE: u64 = 2048;

/// What a block device has done (Documentation/block/stat.rst).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Done {
    /// Sectors read and written.
    sectors: u64,
    /// Requests under way.
    in_flight: u64,
    /// Discards.
    discards: u64,
}

impl Done {
    fn read(stat: &str) -> Option<Self> {
        let fields: Vec<u64> = stat
            .split_whitespace()
            .map_while(|field| field.parse().ok())
            .collect();
        Some(Self {
            sectors: fields.get(2)? + fields.get(6)?,
            in_flight: *fields.get(8)?,
            // Kernels before 4.18 do not tell.
            discards: fields.get(11).copied().unwrap_or_default(),
        })
    }

    fn is_at_rest_since(&self, earlier: &Self) -> bool {
        self.in_flight == 0
            && self.discards == earlier.discards
            && self.sectors.saturating_sub(earlier.sectors) <= LITTLE
    }
}

/// Writes all of the file system that this path is on, and waits until its disk is at rest: whether it is.
///
/// # Panics
/// When the path is not there.
pub fn settle(path: &Path) -> bool {
    let directory = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    rustix::fs::syncfs(&directory).expect("syncfs");
    let Some(device) = device(&directory) else {
        return true;
    };
    let done = || Done::read(&std::fs::read_to_string(&device).unwrap_or_default());
    let started = Instant::now();
    let mut before = done();
    while started.elapsed() < LIMIT {
        std::thread::sleep(REST);
        let now = done();
        match (before, now) {
            (Some(before), Some(now)) if now.is_at_rest_since(&before) => return true,
            // No block device: nothing to wait for.
            (_, None) => return true,
            _ => before = now,
        }
    }
    false
}

/// Where the kernel tells of its block device; `None` of a file system in memory.
fn device(directory: &File) -> Option<PathBuf> {
    let device = directory.metadata().ok()?.dev();
    let path = format!("/sys/dev/block/{}:{}/stat", major(device), minor(device));
    Some(PathBuf::from(path)).filter(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "10 0 300 5 20 0 700 9 0 11 12 85 0 68 11 1 2\n";

    #[test]
    fn discards_and_requests_are_no_rest() {
        let before = Done::read(STAT).unwrap();
        let expected = Done {
            sectors: 1000,
            in_flight: 0,
            discards: 85,
        };
        assert_eq!(before, expected);
        assert!(before.is_at_rest_since(&before));
        for (sectors, in_flight, discards, rests) in [
            (1000 + LITTLE, 0, 85, true),
            (1001 + LITTLE, 0, 85, false),
            (1000, 1, 85, false),
            (1000, 0, 86, false),
        ] {
            let now = Done {
                sectors,
                in_flight,
                discards,
            };
            assert_eq!(now.is_at_rest_since(&before), rests, "{now:?}");
        }
        assert_eq!(Done::read("1 2 3"), None);
    }

    #[test]
    fn memory_has_no_disk() {
        let memory = File::open("/proc").unwrap();
        assert_eq!(device(&memory), None);
        assert!(settle(Path::new("/dev/shm")));
    }
}
