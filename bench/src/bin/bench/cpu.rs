//! What the CPUs of both ends did while something was measured, and how much of it was somebody else's.

use std::collections::BTreeMap;
use std::ops::Sub;
use std::time::Instant;

use super::process::{Times, all_times};
use super::sample::Measure;
use super::scene::Scene;

/// CPU time in seconds since the machines started.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cpu {
    /// Not idle.
    pub busy: f64,
    /// In user mode, of processes that are neither this one nor its descendants.
    pub other: f64,
    /// That the hypervisor gave to other machines.
    pub steal: f64,
    /// Idle, also while it waits for a disk.
    pub idle: f64,
}

impl Cpu {
    /// Of this machine.
    pub fn here() -> Self {
        let counters = Counters::here();
        let ours = of_tree(&all_times(), std::process::id());
        let second = ticks_of_a_second();
        Self {
            busy: counters.busy() / second,
            other: (counters.user - ours as f64) / second,
            steal: counters.steal / second,
            idle: counters.idle / second,
        }
    }

    /// Of both ends.
    pub fn of(scene: &Scene) -> Self {
        let here = Self::here();
        let [busy, other, steal] = scene.far_files.cpu();
        Self {
            busy: here.busy + busy,
            other: here.other + other,
            steal: here.steal + steal,
            idle: here.idle,
        }
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            busy: self.busy - earlier.busy,
            other: self.other - earlier.other,
            steal: self.steal - earlier.steal,
            idle: self.idle - earlier.idle,
        }
    }
}

/// From the start of a measurement on.
pub struct Watch<'a> {
    scene: &'a Scene,
    at_rest: bool,
    before: Cpu,
    started: Instant,
}

/// What a measurement took.
#[derive(Debug, Clone, Copy)]
pub struct Spent {
    /// Wall time.
    pub seconds: f64,
    /// CPU time.
    pub cpu: Cpu,
    at_rest: bool,
}

impl<'a> Watch<'a> {
    /// Begins when the disks of both ends are at rest.
    pub fn at_rest(scene: &'a Scene) -> Self {
        let at_rest = scene.settle();
        if !at_rest {
            eprintln!("bench: the disk does not come to rest: other programs use it");
        }
        Self::begin(scene, at_rest)
    }

    /// Begins at once: a disk that shall be at its lasting rate must not rest before.
    pub fn at_once(scene: &'a Scene) -> Self {
        Self::begin(scene, true)
    }

    fn begin(scene: &'a Scene, at_rest: bool) -> Self {
        Self {
            scene,
            at_rest,
            before: Cpu::of(scene),
            started: Instant::now(),
        }
    }

    /// It is over.
    pub fn stop(&self) -> Spent {
        Spent {
            seconds: self.started.elapsed().as_secs_f64(),
            cpu: Cpu::of(self.scene) - self.before,
            at_rest: self.at_rest,
        }
    }
}

impl Spent {
    /// What else there was to do.
    pub fn load(&self) -> BTreeMap<Measure, f64> {
        let percent = |seconds: f64| (seconds / self.seconds * 100.0).max(0.0);
        let mut load = BTreeMap::from([
            (Measure::OtherCpuPercent, percent(self.cpu.other)),
            (Measure::StealPercent, percent(self.cpu.steal)),
            (Measure::IdlePercent, percent(self.cpu.idle)),
        ]);
        if !self.at_rest {
            load.insert(Measure::DiskBusyBefore, 1.0);
        }
        load
    }
}

/// Seconds that the CPUs of both ends were not idle since the machines started.
pub fn busy(scene: &Scene) -> f64 {
    busy_here() + scene.far_files.busy_seconds()
}

/// The same of this machine.
pub fn busy_here() -> f64 {
    Counters::here().busy() / ticks_of_a_second()
}

fn ticks_of_a_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

/// `/proc/stat`, over all CPUs, in ticks (proc_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq)]
struct Counters {
    user: f64,
    system: f64,
    idle: f64,
    steal: f64,
}

impl Counters {
    fn here() -> Self {
        let text = std::fs::read_to_string("/proc/stat").expect("the kernel tells its CPU time");
        Self::read(&text)
    }

    fn read(stat: &str) -> Self {
        let ticks: Vec<f64> = stat
            .split_whitespace()
            .skip(1)
            .map_while(|word| word.parse().ok())
            .collect();
        // Guests, behind steal, are counted in user and nice too.
        let of = |place: usize| ticks.get(place).copied().unwrap_or_default();
        let [user, nice, system, idle, iowait, irq, softirq, steal] =
            [0, 1, 2, 3, 4, 5, 6, 7].map(of);
        Self {
            user: user + nice,
            system: system + irq + softirq,
            idle: idle + iowait,
            steal,
        }
    }

    fn busy(&self) -> f64 {
        self.user + self.system + self.steal
    }
}

/// Ticks in user mode of a process and its descendants, and of those of them that have ended and were waited for.
fn of_tree(all: &BTreeMap<u32, Times>, root: u32) -> u64 {
    let belongs = |mut process: u32| {
        // A parent may change while they are read: no way is longer than there are processes.
        for _ in 0..=all.len() {
            if process == root {
                return true;
            }
            match all.get(&process) {
                Some(times) => process = times.parent,
                None => return false,
            }
        }
        false
    };
    let ours = all.iter().filter(|(process, _)| belongs(**process));
    ours.map(|(_, times)| times.user + times.children_user)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_time_is_not_busy_and_guests_are_not_counted_twice() {
        let stat = "cpu  1 2 4 1000 2000 8 16 32 64 128\ncpu0 9 9 9 9\n";
        let counters = Counters::read(stat);
        assert!((counters.busy() - 63.0).abs() < 1e-9);
        assert_eq!(
            (counters.user, counters.idle, counters.steal),
            (3.0, 3000.0, 32.0)
        );
    }

    #[test]
    fn a_tree_has_its_descendants_alone() {
        let times = |parent, user, children_user| Times {
            parent,
            user,
            children_user,
        };
        let all = BTreeMap::from([
            (1, times(0, 1000, 1000)),
            (10, times(1, 1, 2)),
            (11, times(10, 4, 8)),
            (12, times(11, 16, 32)),
            (20, times(1, 64, 128)),
            // Neither ends nor comes to the root.
            (30, times(31, 256, 0)),
            (31, times(30, 256, 0)),
        ]);
        assert_eq!(of_tree(&all, 10), 63);
        assert_eq!(of_tree(&all, 12), 48);
        assert_eq!(of_tree(&all, 99), 0);
    }

    #[test]
    fn load_is_in_percent_of_a_cpu() {
        let cpu = Cpu {
            busy: 3.0,
            other: 1.0,
            steal: -0.1,
            idle: 2.0,
        };
        let spent = Spent {
            seconds: 2.0,
            cpu,
            at_rest: false,
        };
        let load = spent.load();
        assert_eq!(load[&Measure::OtherCpuPercent], 50.0);
        assert_eq!(load[&Measure::StealPercent], 0.0);
        assert_eq!(load[&Measure::IdlePercent], 100.0);
        assert_eq!(load[&Measure::DiskBusyBefore], 1.0);
        assert!(Cpu::here().busy > 0.0 && busy_here() > 0.0);
    }
}
