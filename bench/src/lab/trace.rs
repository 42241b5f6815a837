//! Reads a trace of the wire: who got how much through a link, and when (by [`monotonic_ms`]).

use std::collections::BTreeMap;
use std::path::Path;

pub use crate::wire::trace::monotonic_ms;

use super::hosts::Host;

/// Bytes of one sender that came out of the wire since it began, at times in milliseconds, in order.
#[derive(Debug, Clone, Default)]
pub struct Series(Vec<(u64, u64)>);

/// What the queue in front of the line did, at a time in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueSample {
    /// When.
    pub time: u64,
    /// Bytes that waited.
    pub bytes: u64,
    /// Frames dropped there since the start.
    pub dropped: u64,
    /// Frames marked there since the start.
    pub marked: u64,
}

/// One direction of a trace: from the clients to the server.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    senders: BTreeMap<String, Series>,
    /// The queue over time.
    pub queue: Vec<QueueSample>,
}

impl Trace {
    /// Reads what has been written so far, of the direction from the clients to the server.
    ///
    /// # Panics
    /// When the file cannot be read or holds something else.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut trace = Self::default();
        for line in whole.lines() {
            trace
                .take(line)
                .unwrap_or_else(|| panic!("{}: not a line of a trace: {line}", path.display()));
        }
        trace
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let time = words.next()?.parse().ok()?;
        let (from, source) = (words.next()?, words.next()?);
        let numbers: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
        if from != "wire1" {
            return Some(());
        }
        match (source, numbers.as_slice()) {
            ("queue", &[_, bytes, dropped, marked]) => self.queue.push(QueueSample {
                time,
                bytes,
                dropped,
                marked,
            }),
            (_, &[_, bytes]) => {
                let series = self.senders.entry(source.to_owned()).or_default();
                series.0.push((time, bytes));
            }
            _ => return None,
        }
        Some(())
    }

    /// What a host sent.
    pub fn of(&self, host: Host) -> Series {
        self.senders.get(&host.mac()).cloned().unwrap_or_default()
    }

    /// Frames that the queue dropped between two times.
    pub fn dropped(&self, from: u64, to: u64) -> u64 {
        let at = |time| {
            let before = self.queue.iter().take_while(|sample| sample.time <= time);
            before.last().map_or(0, |sample| sample.dropped)
        };
        at(to).saturating_sub(at(from))
    }

    /// The mean of the bytes that waited between two times.
    pub fn mean_queue(&self, from: u64, to: u64) -> f64 {
        let within: Vec<f64> = self
            .queue
            .iter()
            .filter(|sample| (from..=to).contains(&sample.time))
            .map(|sample| sample.bytes as f64)
            .collect();
        within.iter().sum::<f64>() / within.len().max(1) as f64
    }
}

impl Series {
    /// The first and the last time at which more than `bytes` in all had, or had not yet, come: the first and last few
    /// packets (address resolution, farewells) are no transfer.
    pub fn span(&self, margin: u64) -> Option<(u64, u64)> {
        let total = self.0.last()?.1;
        let start = self.0.iter().find(|(_, bytes)| *bytes > margin)?.0;
        let end = self.0.iter().find(|(_, bytes)| bytes + margin >= total)?.0;
        (start < end).then_some((start, end))
    }

    /// What came after the first so many bytes, counted from there.
    pub fn after(&self, bytes: u64) -> Self {
        let later = self.0.iter().filter(|(_, total)| *total > bytes);
        Self(later.map(|(time, total)| (*time, total - bytes)).collect())
    }

    /// Bytes in all.
    pub fn total(&self) -> u64 {
        self.0.last().map_or(0, |(_, bytes)| *bytes)
    }

    /// Bytes between two times.
    pub fn bytes(&self, from: u64, to: u64) -> u64 {
        self.at(to).saturating_sub(self.at(from))
    }

    fn at(&self, time: u64) -> u64 {
        let before = self.0.partition_point(|(when, _)| *when <= time);
        before.checked_sub(1).map_or(0, |last| self.0[last].1)
    }
}

/// The time in which all of them ran.
pub fn overlap(spans: &[(u64, u64)]) -> Option<(u64, u64)> {
    let start = spans.iter().map(|span| span.0).max()?;
    let end = spans.iter().map(|span| span.1).min()?;
    (start < end).then_some((start, end))
}

/// Jain's index of fairness: 1 when all shares are equal, 1/n when one has all (Jain, Chiu, Hawe: DEC-TR-301, 1984).
pub fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    if squares == 0.0 {
        return 1.0;
    }
    sum * sum / (shares.len() as f64 * squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_by_sender() {
        let mut trace = Trace::default();
        for line in [
            "50 wire1 02:00:0a:4d:00:02 1 100",
            "50 wire1 02:00:0a:4d:00:03 1 60",
            "50 wire1 queue 1 1500 0 0",
            "50 wire0 02:00:0a:4d:00:01 1 9999",
            "100 wire1 02:00:0a:4d:00:02 2 5000",
            "100 wire1 queue 3 4500 7 2",
            "200 wire1 02:00:0a:4d:00:02 9 9000",
        ] {
            trace.take(line).unwrap();
        }
        let first = trace.of(Host::Client);
        assert_eq!(first.span(100), Some((100, 200)));
        assert_eq!(
            [
                first.bytes(0, 49),
                first.bytes(50, 150),
                first.bytes(0, 999)
            ],
            [0, 4_900, 9_000]
        );
        assert_eq!(first.after(100).span(0), Some((100, 200)));
        assert_eq!(first.after(100).total(), 8_900);
        assert_eq!(trace.of(Host::client(2)).span(0), None);
        assert_eq!(trace.of(Host::client(3)).bytes(0, 999), 0);
        assert_eq!(trace.dropped(50, 100), 7);
        assert_eq!(trace.mean_queue(0, 100), 3_000.0);
        assert!(trace.take("x").is_none() && trace.take("50 wire1 queue 1").is_none());
    }

    #[test]
    fn overlaps() {
        assert_eq!(overlap(&[(0, 10), (5, 20)]), Some((5, 10)));
        assert_eq!(overlap(&[(0, 10), (10, 20)]), None);
        assert_eq!(overlap(&[]), None);
    }

    #[test]
    fn jains_index() {
        assert_eq!(jain(&[3.0, 3.0]), 1.0);
        assert_eq!(jain(&[1.0, 0.0, 0.0, 0.0]), 0.25);
        assert_eq!(jain(&[0.0, 0.0]), 1.0);
    }
}
