//! Which CPU a worker runs on.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::number_list::NumberList;

/// The CPUs this process may run on, in order.
pub fn allowed_cpus() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(None) else {
        return vec![0];
    };
    (0..CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .collect()
}

/// The CPUs that are switched on; those this process may run on, where the kernel does not tell.
pub fn online_cpus() -> Vec<usize> {
    let told = std::fs::read_to_string("/sys/devices/system/cpu/online").ok();
    match told.and_then(|list| list.parse::<NumberList>().ok()) {
        Some(list) => list.numbers().iter().map(|&cpu| cpu as usize).collect(),
        None => allowed_cpus(),
    }
}

/// Keeps the calling thread on one CPU.
pub fn pin_to(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_run_on_a_cpu_finds_it_online() {
        let online = online_cpus();
        assert!(allowed_cpus().iter().all(|cpu| online.contains(cpu)));
    }

    #[test]
    fn a_thread_stays_where_it_was_pinned() {
        let first = allowed_cpus()[0];
        std::thread::spawn(move || {
            pin_to(first).unwrap();
            assert_eq!(allowed_cpus(), [first]);
        })
        .join()
        .unwrap();
    }
}
