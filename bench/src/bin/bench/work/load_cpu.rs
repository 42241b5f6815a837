//! CPU time of a load while it lasts, without the start and end of the program that makes it.

use std::time::{Duration, Instant};

use crate::running::Running;

/// From which to which share of the load, counted back from the end of the program.
const FROM: f64 = 0.8;
const TO: f64 = 0.2;
/// Samples of a load.
const SAMPLES: f64 = 20.0;
const POLL: Duration = Duration::from_millis(20);

/// CPU seconds a second in the middle of a load of so many seconds, by a program that is watched until it ends; `None` when it
/// ends too soon. `busy` tells the seconds that the CPUs were not idle.
pub fn watch(client: &mut Running, seconds: f64, busy: impl Fn() -> f64) -> Option<f64> {
    let started = Instant::now();
    let mut series = Vec::new();
    let mut next = 0.0;
    while client.is_running() {
        let now = started.elapsed().as_secs_f64();
        if now >= next {
            series.push((now, busy()));
            next = now + seconds / SAMPLES;
        }
        std::thread::sleep(POLL);
    }
    rate(&series, started.elapsed().as_secs_f64(), seconds)
}

/// From (time, CPU seconds so far) and the end.
fn rate(series: &[(f64, f64)], end: f64, seconds: f64) -> Option<f64> {
    let first = series
        .iter()
        .find(|(time, _)| *time >= end - FROM * seconds)?;
    let mut last = series.iter().rev();
    let last = last.find(|(time, _)| *time <= end - TO * seconds)?;
    (last.0 > first.0).then(|| (last.1 - first.1) / (last.0 - first.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_start_nor_end_counts() {
        // A start of a second with 3 CPUs, a load of 10 s with half a CPU, an end of 0.5 s with 2.
        let busy = |time: f64| match time {
            start if start < 1.0 => 3.0 * start,
            load if load < 11.0 => 3.0 + 0.5 * (load - 1.0),
            end => 8.0 + 2.0 * (end - 11.0),
        };
        let series: Vec<_> = (0..23)
            .map(|half| f64::from(half) / 2.0)
            .map(|time| (time, busy(time)))
            .collect();
        let rate = rate(&series, 11.5, 10.0).unwrap();
        assert!((rate - 0.5).abs() < 1e-9, "{rate}");
    }

    #[test]
    fn too_short_a_load_has_no_middle() {
        assert_eq!(rate(&[], 1.0, 1.0), None);
        assert_eq!(rate(&[(0.0, 1.0)], 0.5, 1.0), None);
        assert_eq!(rate(&[(0.0, 1.0), (0.05, 1.0)], 0.1, 10.0), None);
    }

    #[test]
    fn a_program_is_watched_until_it_ends() {
        let mut client = Running::start(std::process::Command::new("sleep").arg("0.5"));
        let started = Instant::now();
        let busy = || 2.0 * started.elapsed().as_secs_f64();
        let rate = watch(&mut client, 0.5, busy).unwrap();
        assert!(!client.is_running() && rate > 0.0);
    }
}
