//! What the kernel tells of a process (proc_pid_stat(5), proc_pid_status(5)).

use std::path::Path;

fn read(process: u32, name: &str) -> String {
    let path = Path::new("/proc").join(process.to_string()).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// CPU time of all its threads so far, in seconds.
pub fn cpu_seconds(process: u32) -> f64 {
    let ticks = ticks(&read(process, "stat")).expect("the kernel tells the CPU time");
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// utime and stime: fields 14 and 15; the second one is a name in parentheses that may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// The most memory that was resident, in bytes.
pub fn peak_memory(process: u32) -> u64 {
    kilobytes(&read(process, "status"), "VmHWM:").expect("the kernel tells the memory") * 1024
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
    }

    #[test]
    fn memory_is_in_kilobytes() {
        let status = "Name:\tx\nVmPeak:\t  900 kB\nVmHWM:\t  123 kB\n";
        assert_eq!(kilobytes(status, "VmHWM:"), Some(123));
        assert_eq!(kilobytes(status, "VmRSS:"), None);
        assert!(peak_memory(std::process::id()) > 0 && cpu_seconds(std::process::id()) >= 0.0);
    }
}
