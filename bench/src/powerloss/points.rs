//! Losses of power at many points of a recording.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::promise::Checked;
use super::recording::Recorded;
use crate::blockdev::{Crash, Disk, Image, Mounted, Replay};
use crate::wire::random::Random;

/// The points take turns: one right after an acknowledgement, one where interrupted puts have left their journals, one anywhere.
const TURNS: usize = 3;

/// Losses of power by number, the same for the same seed and recording.
#[derive(Clone, Debug)]
pub struct Points {
    /// In the order of their numbers.
    pub crashes: Vec<Crash>,
}

impl Points {
    /// `count` of them.
    pub fn of(recorded: &Recorded, seed: u64, count: usize) -> Self {
        let acknowledged = recorded.promises.acknowledgements();
        let mut random = Random::new(seed);
        let crashes = (0..count)
            .map(|number| {
                let any = random.below(recorded.log.position() as u64 + 1) as usize;
                let some = random.below(acknowledged.len() as u64) as usize;
                let dwelt_on = recorded.promises.dwelt_on();
                let range = dwelt_on.get(random.below(dwelt_on.len() as u64) as usize);
                let position = match (number % TURNS, acknowledged.get(some), range) {
                    (0, Some(position), _) => *position,
                    (1, _, Some(range)) => {
                        range.start + random.below(range.len() as u64 + 1) as usize
                    }
                    _ => any,
                };
                Crash::at(position, random.bits())
            })
            .collect();
        Self { crashes }
    }
}

/// What went wrong at a point.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Number of the point.
    pub point: usize,
    /// The loss of power.
    pub crash: Crash,
    /// What was found.
    pub sentence: String,
}

/// What all points together gave.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Points looked at.
    pub points: usize,
    /// Files found, summed over all points.
    pub found: Checked,
    /// Points at which writes were under way that no flush covered.
    pub unsettled: usize,
    /// Promises broken.
    pub violations: Vec<Violation>,
    /// Points at which the file system did not mount: no server above it can mend that, and nothing was looked at.
    pub unmounted: Vec<Violation>,
    /// Time taken.
    pub time: Duration,
}

impl Recorded {
    /// Looks at some points, given by their numbers. `more` looks further at each recovered file system, mounted at the path that it gets.
    ///
    /// # Errors
    /// No disk can be made here. Broken promises are not errors but in the report.
    pub fn replay(
        &self,
        directory: &Path,
        points: &Points,
        numbers: &[usize],
        mut more: impl FnMut(&Path, Crash) -> std::result::Result<(), String>,
    ) -> Result<Report> {
        let start = Instant::now();
        let disk = Disk::new(&directory.join("disk"), self.options)?;
        let at = directory.join("mount");
        std::fs::create_dir_all(&at).with_context(|| format!("cannot make {}", at.display()))?;
        let mut order: Vec<usize> = numbers
            .iter()
            .copied()
            .filter(|number| *number < points.crashes.len())
            .collect();
        // A replay is quickest forwards.
        order.sort_by_key(|number| points.crashes[*number].position);
        let mut replay = Replay::tearing_at(&self.log, self.kind.unit());
        let mut report = Report::default();
        for point in order {
            let crash = points.crashes[point];
            disk.load(Image::default())?;
            disk.load(replay.image(crash))?;
            report.points += 1;
            report.unsettled += usize::from(!replay.unsettled(crash.position).is_empty());
            let violation = |sentence| Violation {
                point,
                crash,
                sentence,
            };
            let mount = match disk.mount(self.kind, &at) {
                Ok(mount) => mount,
                Err(error) => {
                    report.unmounted.push(violation(format!("{error:#}")));
                    continue;
                }
            };
            match self.look(mount, &at, crash, &mut more) {
                Ok(found) => report.found += found,
                Err(sentence) => report.violations.push(violation(sentence)),
            }
        }
        report.time = start.elapsed();
        Ok(report)
    }

    /// Checks what is mounted.
    fn look(
        &self,
        mount: Mounted,
        at: &Path,
        crash: Crash,
        more: &mut impl FnMut(&Path, Crash) -> std::result::Result<(), String>,
    ) -> std::result::Result<Checked, String> {
        let checked = self
            .promises
            .check(at, crash.position)
            .and_then(|checked| more(at, crash).map(|()| checked));
        mount
            .unmount()
            .map_err(|error| format!("cannot unmount: {error}"))?;
        checked
    }
}
