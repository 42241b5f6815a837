//! What the kernel tells of a process (proc_pid_stat(5), proc_pid_status(5)).

use std::collections::BTreeMap;
use std::path::Path;

/// User-mode CPU time of a process, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Its parent.
    pub parent: u32,
    /// Its own.
    pub user: u64,
    /// Of those of its descendants that have ended and were waited for.
    pub children_user: u64,
}

impl Times {
    fn read(stat: &str) -> Option<Self> {
        let field = |number| field(stat, number)?.parse().ok();
        Some(Self {
            parent: u32::try_from(field(4)?).ok()?,
            user: field(14)?,
            children_user: field(16)?,
        })
    }
}

/// Of all processes; one that ends meanwhile may be missing.
pub fn all_times() -> BTreeMap<u32, Times> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return BTreeMap::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let processes = names.filter_map(|name| name.parse().ok());
    processes
        .filter_map(|process: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
            Some((process, Times::read(&stat)?))
        })
        .collect()
}

fn read(process: u32, name: &str) -> String {
    let path = Path::new("/proc").join(process.to_string()).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// CPU time of all its threads so far, in seconds.
pub fn cpu_seconds(process: u32) -> f64 {
    let ticks = ticks(&read(process, "stat")).expect("the kernel tells the CPU time");
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// utime and stime.
fn ticks(stat: &str) -> Option<u64> {
    let field = |number| field(stat, number)?.parse::<u64>().ok();
    Some(field(14)? + field(15)?)
}

/// A field by its number in proc_pid_stat(5), from 3 on; the second one is a name in parentheses that may hold anything.
fn field(stat: &str, number: usize) -> Option<&str> {
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split_whitespace().nth(number - 3)
}

/// The most memory that was resident, in bytes, without huge pages of hugetlbfs, which the kernel counts apart.
pub fn peak_memory(process: u32) -> u64 {
    kilobytes(&read(process, "status"), "VmHWM:").expect("the kernel tells the memory") * 1024
}

/// Huge pages of hugetlbfs that it has now, in bytes; 0 of a process that has ended.
pub fn huge_pages(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    kilobytes(&status, "HugetlbPages:").unwrap_or_default() * 1024
}

fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// How many of its threads have a name that begins so.
pub fn threads_named(process: u32, beginning: &str) -> usize {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("the process is there");
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with(beginning))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 100 1 1";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(ticks("7 (a) S 1"), None);
        let times = Times {
            parent: 1,
            user: 250,
            children_user: 3,
        };
        let stat = stat.replace("250 50 0 0", "250 50 3 4");
        assert_eq!(Times::read(&stat), Some(times));
        let own = all_times()[&std::process::id()];
        assert!(own.parent > 0);
    }

    #[test]
    fn memory_is_in_kilobytes() {
        let status = "Name:\tx\nVmPeak:\t  900 kB\nVmHWM:\t  123 kB\nHugetlbPages:\t 4096 kB\n";
        assert_eq!(kilobytes(status, "VmHWM:"), Some(123));
        assert_eq!(kilobytes(status, "HugetlbPages:"), Some(4096));
        assert_eq!(kilobytes(status, "VmRSS:"), None);
        assert_eq!(huge_pages(u32::MAX), 0);
        assert!(peak_memory(std::process::id()) > 0 && cpu_seconds(std::process::id()) >= 0.0);
    }
}
