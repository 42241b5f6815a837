//! One figure: what was measured, what the goal is, what came out.

use std::fmt;

use serde::Serialize;

/// The head of the table that [`Row`]'s `Display` gives the lines of.
pub const HEADING: &str = "\
| measured | unit | goal | min | median | max | met | details of the median run |
| -------- | ---- | ---: | --: | -----: | --: | --- | ------- |";

/// A figure of several runs.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    name: String,
    unit: &'static str,
    /// The least that is good enough; `None`: the figure has no goal.
    goal: Option<f64>,
    minimum: f64,
    median: f64,
    maximum: f64,
    runs: usize,
    details: String,
}

/// What one run gave.
pub type Sample = (f64, String);

impl Row {
    /// A share of something, 0 to 1 or a little more.
    pub fn ratio(name: impl Into<String>, goal: f64, samples: Vec<Sample>) -> Self {
        Self::new(name, "ratio", Some(goal), samples)
    }

    /// Any figure, at least one sample.
    pub fn new(
        name: impl Into<String>,
        unit: &'static str,
        goal: Option<f64>,
        mut samples: Vec<Sample>,
    ) -> Self {
        samples.sort_by(|a, b| a.0.total_cmp(&b.0));
        let value = |at: usize| samples.get(at).map_or(f64::NAN, |sample| sample.0);
        let middle = samples.len() / 2;
        Self {
            name: name.into(),
            unit,
            goal,
            minimum: value(0),
            median: value(middle),
            maximum: value(samples.len().saturating_sub(1)),
            runs: samples.len(),
            details: samples
                .get(middle)
                .map(|sample| sample.1.clone())
                .unwrap_or_default(),
        }
    }

    /// Whether the median reaches the goal.
    pub fn is_met(&self) -> bool {
        self.goal.is_none_or(|goal| self.median >= goal)
    }

    /// One line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: f64| {
            if value.abs() >= 1_000.0 {
                format!("{value:.0}")
            } else {
                format!("{value:.2}")
            }
        };
        let (goal, met) = match self.goal {
            Some(goal) if self.is_met() => (number(goal), "yes"),
            Some(goal) => (number(goal), "NO"),
            None => (String::new(), ""),
        };
        write!(
            out,
            "| {} | {} | {goal} | {} | {} | {} | {met} | {} |",
            self.name,
            self.unit,
            number(self.minimum),
            number(self.median),
            number(self.maximum),
            self.details
        )
    }
}

/// Runs a measurement several times; each run gives one sample for each of `N` figures.
pub fn repeat<const N: usize>(
    name: &str,
    runs: u32,
    mut measure: impl FnMut() -> [Sample; N],
) -> [Vec<Sample>; N] {
    let mut all = [const { Vec::new() }; N];
    for run in 1..=runs {
        eprintln!("network-bench: {name}, run {run} of {runs}");
        for (samples, sample) in all.iter_mut().zip(measure()) {
            samples.push(sample);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_counts() {
        let samples = [0.9, 0.1, 0.5].map(|value| (value, format!("run of {value}")));
        let row = Row::ratio("x", 0.5, samples.to_vec());
        assert!(row.is_met());
        assert_eq!(
            row.to_string(),
            "| x | ratio | 0.50 | 0.10 | 0.50 | 0.90 | yes | run of 0.5 |"
        );
        assert!(!Row::ratio("x", 0.51, samples.to_vec()).is_met());
        assert!(Row::new("x", "frames/s", None, samples.to_vec()).is_met());
    }

    #[test]
    fn json_names_everything() {
        let row = Row::ratio("x", 0.5, vec![(1.0, "d".to_owned())]);
        assert_eq!(
            row.json(),
            r#"{"name":"x","unit":"ratio","goal":0.5,"minimum":1.0,"median":1.0,"maximum":1.0,"runs":1,"details":"d"}"#
        );
    }
}
