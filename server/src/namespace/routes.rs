//! Which thread carries out a job: each device has one of its own, so that a disk that stands still holds up only its own
//! names.
//!
//! Exports on one device share a thread, and so do those of which one lies beneath the other: what is made by way of the one
//! is known to who comes by way of the other ([`MadeDirectories`](crate::exports::MadeDirectories)). A file system that
//! is mounted somewhere below an export belongs to the export's thread.

use std::collections::{BTreeMap, HashMap};
use std::fs::{canonicalize, metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use rustix::fs::{major, minor};

use super::{Job, Outcome, RangedJob, RangedOutcome};
use crate::exports::Exports;

/// The number of a thread.
pub(super) type Route = usize;

/// Where names and open files belong.
#[derive(Debug, Default)]
pub(super) struct Routes {
    exports: BTreeMap<String, Route>,
    /// Of open files, by their devices.
    devices: RwLock<HashMap<u64, Route>>,
}

/// Where an export is; what cannot be found out is left out.
#[derive(Debug, Default, PartialEq, Eq)]
struct Whereabouts {
    path: Option<PathBuf>,
    device: Option<u64>,
}

impl Whereabouts {
    /// Whether they need one thread.
    fn meets(&self, other: &Whereabouts) -> bool {
        let beneath = |one: &Option<PathBuf>, other: &Option<PathBuf>| {
            let pair = one.as_ref().zip(other.as_ref());
            pair.is_some_and(|(one, other)| one.starts_with(other))
        };
        let same_device = self.device.is_some() && self.device == other.device;
        same_device || beneath(&self.path, &other.path) || beneath(&other.path, &self.path)
    }
}

impl Routes {
    /// Those of some exports, and how many threads they take: at least one.
    pub(super) fn of(exports: &Exports) -> (Routes, usize) {
        let found: Vec<Whereabouts> = exports
            .iter()
            .map(|export| Whereabouts {
                path: canonicalize(export.directory()).ok(),
                device: metadata(export.directory()).ok().map(|found| found.dev()),
            })
            .collect();
        let (routes, count) = assign(&found);
        // As BlockFile names them.
        let name = |device: u64| u64::from(major(device)) << 32 | u64::from(minor(device));
        let devices = found.iter().map(|one| one.device.map(name));
        let devices = devices.zip(&routes);
        let devices = devices.filter_map(|(device, &route)| Some((device?, route)));
        let devices = RwLock::new(devices.collect());
        let names = exports.iter().map(|export| export.name().to_owned());
        let routes = Routes {
            exports: names.zip(routes).collect(),
            devices,
        };
        (routes, count)
    }

    /// The thread for a job.
    pub(super) fn find(&self, job: &Job) -> Route {
        let of_export = |export: &String| self.exports.get(export).copied();
        let found = match job {
            Job::CreateTarget { export, .. }
            | Job::OpenSource { export, .. }
            | Job::Stat { export, .. }
            | Job::List { export, .. }
            | Job::MakeDirectory { export, .. }
            | Job::Remove { export, .. }
            | Job::RemoveDirectory { export, .. }
            | Job::Rename { export, .. }
            | Job::MakeLink { export, .. }
            | Job::ReadLink { export, .. }
            | Job::SetAttributes { export, .. }
            | Job::Store { export, .. }
            | Job::Fetch { export, .. }
            | Job::Ranged(RangedJob::Open { export, .. }) => of_export(export),
            Job::Commit { target } | Job::Abandon { target } | Job::Keep { target } => {
                self.of_device(target.file().device())
            }
            Job::Ranged(RangedJob::Lock { file, .. } | RangedJob::Ask { file, .. }) => {
                self.of_device(file.blocks().device())
            }
            Job::Ranged(RangedJob::Holes { file, .. }) => self.of_device(file.device()),
            Job::Wait { .. } => None,
        };
        // Any thread can say that there is no such export, or wait.
        found.unwrap_or_default()
    }

    /// Notes which thread has opened the file, for the jobs about it.
    pub(super) fn learn(&self, route: Route, outcome: &Outcome) {
        let device = match outcome {
            Outcome::TargetReady(target) => target.file().device(),
            Outcome::SourceReady(source) => source.file().device(),
            Outcome::Ranged(RangedOutcome::Opened { file, .. }) => file.blocks().device(),
            _ => return,
        };
        if self.of_device(device).is_none() {
            let mut devices = self.devices.write().unwrap_or_else(PoisonError::into_inner);
            devices.entry(device).or_insert(route);
        }
    }

    fn of_device(&self, device: u64) -> Option<Route> {
        let devices = self.devices.read().unwrap_or_else(PoisonError::into_inner);
        devices.get(&device).copied()
    }
}

/// A number for each, the same for those that meet; and how many numbers there are, at least one.
fn assign(found: &[Whereabouts]) -> (Vec<Route>, usize) {
    let mut groups: Vec<usize> = (0..found.len()).collect();
    for (index, one) in found.iter().enumerate() {
        for (before, other) in found.iter().enumerate().take(index) {
            if one.meets(other) {
                let (from, into) = (groups[index], groups[before]);
                for group in groups.iter_mut().filter(|group| **group == from) {
                    *group = into;
                }
            }
        }
    }
    let mut numbers: Vec<usize> = groups.clone();
    numbers.sort_unstable();
    numbers.dedup();
    let number = |group: &usize| numbers.binary_search(group).unwrap_or_default();
    (groups.iter().map(number).collect(), numbers.len().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str, device: u64) -> Whereabouts {
        Whereabouts {
            path: Some(path.into()),
            device: Some(device),
        }
    }

    #[test]
    fn each_device_has_a_thread_and_what_lies_beneath_goes_with_it() {
        assert_eq!(assign(&[]), (vec![], 1));
        let apart = [at("/a", 1), at("/b", 2), at("/ab", 3)];
        assert_eq!(assign(&apart), (vec![0, 1, 2], 3));
        let same = [at("/a", 1), at("/b", 2), at("/c", 1)];
        assert_eq!(assign(&same), (vec![0, 1, 0], 2));
        let beneath = [at("/a/b", 1), at("/c", 2), at("/a", 3)];
        assert_eq!(assign(&beneath), (vec![0, 1, 0], 2));
        // The last one holds the others together.
        let joined = [at("/a/b", 1), at("/c", 2), at("/a", 2)];
        assert_eq!(assign(&joined).1, 1);
    }

    #[test]
    fn what_is_not_known_stands_alone() {
        let unknown = || Whereabouts::default();
        assert_eq!(
            assign(&[unknown(), unknown(), at("/", 1)]),
            (vec![0, 1, 2], 3)
        );
    }
}
