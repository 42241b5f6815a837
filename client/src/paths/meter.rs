//! What a transfer costs.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::record::Cost;

/// A clock, and the CPU time of this process.
#[derive(Debug, Clone, Copy)]
pub struct Meter {
    started: Instant,
    cpu: Duration,
}

impl Meter {
    /// Starts now.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            cpu: cpu_time(),
        }
    }

    /// What so many bytes have cost since the start; `None`: these are no figures.
    pub fn cost(&self, bytes: u64) -> Option<Cost> {
        let cpu = cpu_time().saturating_sub(self.cpu);
        Cost::of(
            bytes,
            self.started.elapsed().as_secs_f64(),
            cpu.as_secs_f64(),
        )
    }
}

/// CPU time of this process so far, all its threads, in user space and in the kernel.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_on_the_cpu_counts() {
        let meter = Meter::start();
        let mut sum = 0_u64;
        while meter.started.elapsed() < Duration::from_millis(30) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let cost = meter.cost(1_000_000_000).unwrap();
        assert!(cost.cpu_per_gb > 0.0, "{cost:?}");
    }
}
