//! How evenly the work is spread over the workers.

use std::fmt;

use blk_datapath::worker::WorkerReport;

/// The busiest worker against the mean of all, by bytes of blocks and by time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Balance {
    /// Workers that have told.
    workers: usize,
    payload: Share,
    busy: Share,
}

/// Of one measure, the worker that has most.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Share {
    queue: u32,
    most: u64,
    total: u64,
}

impl Share {
    fn of(measures: impl Iterator<Item = (u32, u64)>) -> Option<Self> {
        measures.fold(None, |share: Option<Self>, (queue, amount)| {
            let Some(mut share) = share else {
                return Some(Self {
                    queue,
                    most: amount,
                    total: amount,
                });
            };
            share.total += amount;
            if amount > share.most {
                (share.queue, share.most) = (queue, amount);
            }
            Some(share)
        })
    }

    /// 1: all have the same; the number of workers: one has all. 0: nobody has anything.
    fn ratio(&self, workers: usize) -> f64 {
        match self.total {
            0 => 0.0,
            total => self.most as f64 * workers as f64 / total as f64,
        }
    }
}

impl Balance {
    /// Of the workers of these queues; `None` without any report.
    #[must_use]
    pub fn of<'a>(reports: impl Iterator<Item = (u32, &'a WorkerReport)> + Clone) -> Option<Self> {
        let payload = reports.clone().map(|(queue, report)| {
            let counters = &report.counters;
            (queue, counters.payload_received + counters.payload_sent)
        });
        let busy = reports
            .clone()
            .map(|(queue, report)| (queue, report.activity.busy.as_micros() as u64));
        Some(Self {
            workers: reports.count(),
            payload: Share::of(payload)?,
            busy: Share::of(busy)?,
        })
    }
}

impl fmt::Display for Balance {
    /// `name=value` pairs on one line: ratios to the mean.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            workers,
            payload,
            busy,
        } = self;
        write!(
            out,
            "balance: workers={workers} payload_busiest_queue={} payload_to_mean={:.2} busy_busiest_queue={} busy_to_mean={:.2}",
            payload.queue,
            payload.ratio(*workers),
            busy.queue,
            busy.ratio(*workers),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn report(received: u64, sent: u64, busy: u64) -> WorkerReport {
        let mut report = WorkerReport::default();
        report.counters.payload_received = received;
        report.counters.payload_sent = sent;
        report.activity.busy = Duration::from_micros(busy);
        report
    }

    fn told(reports: &[(u32, WorkerReport)]) -> String {
        let reports = reports.iter().map(|(queue, report)| (*queue, report));
        Balance::of(reports).unwrap().to_string()
    }

    #[test]
    fn the_busiest_worker_is_told_against_the_mean() {
        let text = told(&[(0, report(10, 0, 100)), (3, report(10, 20, 100))]);
        assert_eq!(
            text,
            "balance: workers=2 payload_busiest_queue=3 payload_to_mean=1.50 busy_busiest_queue=0 busy_to_mean=1.00"
        );
    }

    #[test]
    fn one_that_has_all_has_as_many_times_the_mean_as_there_are_workers() {
        let text = told(&[
            (0, report(0, 0, 0)),
            (1, report(9, 0, 0)),
            (2, report(0, 0, 0)),
        ]);
        assert!(
            text.contains("payload_busiest_queue=1 payload_to_mean=3.00"),
            "{text}"
        );
        assert!(text.contains("busy_to_mean=0.00"), "{text}");
    }

    #[test]
    fn nothing_is_told_of_nobody() {
        assert_eq!(Balance::of(std::iter::empty()), None);
    }
}
