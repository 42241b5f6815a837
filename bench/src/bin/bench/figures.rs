//! What was measured.

use std::collections::BTreeMap;

use serde::Serialize;

use super::tools::Kind;
use super::work::Work;

/// A quantity, with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// From the start of the client to the end of the last fsync.
    Seconds,
    /// 10^9 bytes per second.
    GigabytesPerSecond,
    /// CPU time of the machine (both machines, where there are two) that was not idle.
    CpuSecondsPerGigabyte,
    /// System calls of client and server, from a run of their own that is not timed.
    SyscallsPerGigabyte,
    /// How often a byte was copied in user space, as both programs count it.
    CopiesPerByte,
    /// How often blockd moved a byte within memory besides, because a packet was other than expected.
    BlockdMovesPerByte,
    /// The rate over that of fio in the same round.
    OfDisk,
    /// Files per second.
    FilesPerSecond,
    /// As [`CpuSecondsPerGigabyte`](Self::CpuSecondsPerGigabyte), for 100,000 files.
    CpuSecondsPer100kFiles,
    /// Reads or writes per second.
    OperationsPerSecond,
    /// Half of the operations took no longer.
    P50Microseconds,
    /// 99 % of them.
    P99Microseconds,
    /// 99.9 % of them.
    P999Microseconds,
    /// As [`CpuSecondsPerGigabyte`](Self::CpuSecondsPerGigabyte), for an operation.
    CpuMicrosecondsPerOperation,
    /// The total rate over that of one client in the same round.
    OfOneClient,
    /// Most resident memory that the server had.
    PeakMemoryMebibytes,
    /// Frames that the server has by its configuration.
    FramesMebibytes,
    /// CPU time of the idle server, of one CPU.
    IdleCpuPercent,
    /// The same while a client is connected that does nothing.
    ConnectedIdleCpuPercent,
    /// First read after a pause, the median.
    FirstReadP50Microseconds,
    /// First read after a pause, the slowest.
    FirstReadMaxMicroseconds,
    /// From nothing to the first byte: connect, open, read; the median.
    ConnectP50Microseconds,
    /// The same, the slowest.
    ConnectMaxMicroseconds,
}

/// One run.
pub type Sample = BTreeMap<Measure, f64>;

/// Minimum, median and maximum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The one in the middle; the mean of the two of an even number.
    pub median: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// Of some values; `None` of none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
        let median = f64::midpoint(values[low], values[high]);
        Some(Self { min, median, max })
    }
}

/// A tool at one kind of work, at one MTU.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// The work.
    pub work: Work,
    /// Which of the cases of that work; empty where there is one.
    pub case: String,
    /// The tool's name.
    pub tool: String,
    /// What it is compared with.
    pub kind: Kind,
    /// MTU of the link.
    pub mtu: u32,
    /// One for each run; what was counted in a run that was not timed stands alone.
    pub samples: Vec<Sample>,
}

impl Figure {
    /// Over the runs that have this measure.
    pub fn spread(&self, measure: Measure) -> Option<Spread> {
        let values = self
            .samples
            .iter()
            .filter_map(|sample| sample.get(&measure));
        Spread::of(values.copied().collect())
    }

    /// The median, of the runs that have this measure.
    pub fn median(&self, measure: Measure) -> Option<f64> {
        self.spread(measure).map(|spread| spread.median)
    }

    /// Whether they are of the same work, and may be compared.
    fn is_beside(&self, other: &Self) -> bool {
        (self.work, &self.case, self.mtu) == (other.work, &other.case, other.mtu)
    }
}

/// The best of one kind at the same work, by the median of what counts most in it: the most of it.
pub fn best<'a>(figures: &'a [Figure], of: &Figure, kind: Kind) -> Option<&'a Figure> {
    let most = of.work.most_important();
    let median = |figure: &Figure| figure.median(most).unwrap_or(f64::NEG_INFINITY);
    figures
        .iter()
        .filter(|figure| figure.kind == kind && figure.is_beside(of))
        .max_by(|a, b| median(a).total_cmp(&median(b)))
}

/// Figures that are being gathered, in the order in which their first samples come.
#[derive(Debug, Default)]
pub struct Board {
    /// What has come so far.
    pub figures: Vec<Figure>,
    /// What could not be measured to its end.
    pub failed: Vec<String>,
}

/// Whose sample it is.
#[derive(Debug, Clone, Copy)]
pub struct Label<'a> {
    /// The work.
    pub work: Work,
    /// Which case of it.
    pub case: &'a str,
    /// The tool's name.
    pub tool: &'a str,
    /// What it is compared with.
    pub kind: Kind,
    /// MTU of the link.
    pub mtu: u32,
}

impl Board {
    /// Adds a sample.
    pub fn add(&mut self, label: Label<'_>, sample: Sample) {
        let found = self.figures.iter_mut().find(|figure| {
            (figure.work, figure.case.as_str(), figure.mtu) == (label.work, label.case, label.mtu)
                && figure.tool == label.tool
        });
        match found {
            Some(figure) => figure.samples.push(sample),
            None => self.figures.push(Figure {
                work: label.work,
                case: label.case.to_owned(),
                tool: label.tool.to_owned(),
                kind: label.kind,
                mtu: label.mtu,
                samples: vec![sample],
            }),
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A put with one sample for each rate.
    pub fn figure(tool: &str, kind: Kind, rates: &[f64]) -> Figure {
        let sample = |&rate: &f64| {
            Sample::from([
                (Measure::GigabytesPerSecond, rate),
                (Measure::CpuSecondsPerGigabyte, rate / 10.0),
            ])
        };
        Figure {
            work: Work::Put,
            case: String::new(),
            tool: tool.to_owned(),
            kind,
            mtu: 1500,
            samples: rates.iter().map(sample).collect(),
        }
    }

    #[test]
    fn spreads() {
        let of = |values: &[f64]| Spread::of(values.to_vec());
        let [min, median, max] = [1.0, 2.0, 3.0];
        assert_eq!(of(&[3.0, 1.0, 2.0]), Some(Spread { min, median, max }));
        assert_eq!(of(&[4.0, 1.0]).map(|spread| spread.median), Some(2.5));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn the_fastest_peer_is_of_the_same_work() {
        let ours = figure("blkcp", Kind::Ours, &[3.0, 1.0, 2.0]);
        assert_eq!(ours.median(Measure::GigabytesPerSecond), Some(2.0));
        assert_eq!(ours.median(Measure::OfDisk), None);
        let all = [
            ours.clone(),
            figure("slow", Kind::Peer, &[0.5]),
            figure("fast", Kind::Peer, &[0.1, 1.5, 1.6]),
            figure("wire", Kind::Ceiling, &[9.0]),
        ];
        let fastest = |of: &Figure| best(&all, of, Kind::Peer).map(|peer| peer.tool.as_str());
        assert_eq!(fastest(&ours), Some("fast"));
        for change in [
            |figure: &mut Figure| figure.mtu = 9000,
            |figure: &mut Figure| figure.work = Work::Get,
            |figure: &mut Figure| figure.case = "other".to_owned(),
        ] {
            let mut other = ours.clone();
            change(&mut other);
            assert_eq!(fastest(&other), None);
        }
    }

    #[test]
    fn samples_come_to_their_figures() {
        let mut board = Board::default();
        let label = |tool, mtu| Label {
            work: Work::Get,
            case: "",
            tool,
            kind: Kind::Peer,
            mtu,
        };
        for (tool, mtu) in [("a", 1500), ("b", 1500), ("a", 1500), ("a", 9000)] {
            board.add(label(tool, mtu), Sample::new());
        }
        let counts: Vec<_> = board.figures.iter().map(|f| f.samples.len()).collect();
        assert_eq!(counts, [2, 1, 1]);
    }
}
