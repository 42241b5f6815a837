//! What was measured.

use std::collections::BTreeSet;
use std::fmt;

use serde::ser::{Serialize, SerializeStruct, Serializer};

use super::sample::{Measure, Sample};
use super::tools::Kind;
use super::work::Work;

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
#[derive(Debug, Clone)]
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

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Figure", 7)?;
        fields.serialize_field("work", &self.work)?;
        fields.serialize_field("case", &self.case)?;
        fields.serialize_field("tool", &self.tool)?;
        fields.serialize_field("kind", &self.kind)?;
        fields.serialize_field("mtu", &self.mtu)?;
        fields.serialize_field("disturbed_runs", &self.disturbed())?;
        fields.serialize_field("samples", &self.samples)?;
        fields.end()
    }
}

impl Figure {
    /// Over the runs that have this measure.
    pub fn spread(&self, measure: Measure) -> Option<Spread> {
        let values = self.samples.iter().filter_map(|sample| sample.get(measure));
        Spread::of(values.collect())
    }

    /// The median, of the runs that have this measure.
    pub fn median(&self, measure: Measure) -> Option<f64> {
        self.spread(measure).map(|spread| spread.median)
    }

    /// The data paths that its runs took.
    pub fn datapaths(&self) -> BTreeSet<&str> {
        let samples = self.samples.iter();
        samples.filter_map(|s| s.datapath.as_deref()).collect()
    }

    /// How many of its runs were beside other load.
    pub fn disturbed(&self) -> usize {
        self.samples.iter().filter(|s| s.is_disturbed()).count()
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

/// Figures that are being gathered, in the order in which they are expected, or their first samples come.
#[derive(Debug, Default)]
pub struct Board {
    /// What has come so far.
    pub figures: Vec<Figure>,
    /// What could not be measured to its end.
    pub failures: Vec<Failure>,
}

/// What could not be measured to its end.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Failure {
    /// The work.
    pub work: Work,
    /// Which case of it; empty where there is one.
    pub case: String,
    /// The tool's name; empty where it was none of a tool's.
    pub tool: String,
    /// MTU of the link.
    pub mtu: u32,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} at MTU {}", self.work.word(), self.mtu)?;
        for word in [&self.case, &self.tool] {
            if !word.is_empty() {
                write!(out, ", {word}")?;
            }
        }
        let first = self.reason.lines().next().unwrap_or_default();
        write!(out, ": {first}")
    }
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
        self.expect(label).samples.push(sample);
    }

    /// The figure of these samples, whose place is here from now on.
    pub fn expect(&mut self, label: Label<'_>) -> &mut Figure {
        let found = self.figures.iter().position(|figure| {
            (figure.work, figure.case.as_str(), figure.mtu) == (label.work, label.case, label.mtu)
                && figure.tool == label.tool
        });
        let place = found.unwrap_or(self.figures.len());
        if found.is_none() {
            self.figures.push(Figure {
                work: label.work,
                case: label.case.to_owned(),
                tool: label.tool.to_owned(),
                kind: label.kind,
                mtu: label.mtu,
                samples: Vec::new(),
            });
        }
        &mut self.figures[place]
    }

    /// Keeps what has failed, and why.
    pub fn fail(&mut self, label: Label<'_>, reason: String) {
        self.failures.push(Failure {
            work: label.work,
            case: label.case.to_owned(),
            tool: label.tool.to_owned(),
            mtu: label.mtu,
            reason,
        });
    }

    /// Whether this tool has failed at this work and MTU, in any case of it.
    pub fn has_failed(&self, label: Label<'_>) -> bool {
        self.failures.iter().any(|failure| {
            (failure.work, failure.mtu, failure.tool.as_str())
                == (label.work, label.mtu, label.tool)
        })
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
            board.add(label(tool, mtu), Sample::default());
        }
        let counts: Vec<_> = board.figures.iter().map(|f| f.samples.len()).collect();
        assert_eq!(counts, [2, 1, 1]);
        board.expect(label("c", 1500));
        board.add(label("c", 1500), Sample::default());
        assert_eq!(board.figures[3].samples.len(), 1);
        board.fail(label("b", 1500), "status 1\nmore".to_owned());
        assert!(board.has_failed(label("b", 1500)));
        assert!(!board.has_failed(label("b", 9000)) && !board.has_failed(label("a", 1500)));
        let words = board.failures[0].to_string();
        assert_eq!(words, "get at MTU 1500, b: status 1");
    }
}
