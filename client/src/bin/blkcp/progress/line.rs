//! How far a copy is, as text and as JSON.

use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration};
use serde::Serialize;

/// How far a copy is.
#[derive(Debug, Clone, Copy)]
pub struct State {
    /// Since its begin.
    pub elapsed: Duration,
    /// Bytes that are there.
    pub done: u64,
    /// Bytes that are to be there.
    pub of: u64,
    /// Bytes per second, in the last seconds.
    pub rate: Option<f64>,
    /// How long the rest takes at this rate.
    pub left: Option<Duration>,
    /// Files that are stored.
    pub files: u64,
    /// Files that are to be stored.
    pub of_files: u64,
}

/// The numbers beside the bar, the most important first.
pub fn text(state: &State) -> String {
    let State { done, of, .. } = *state;
    let percent = (u128::from(done) * 100)
        .checked_div(of.into())
        .unwrap_or(100);
    let rate = match state.rate {
        Some(rate) => format!("{}/s", HumanBytes(rate as u64)),
        None => "-".to_owned(),
    };
    let left = match state.left {
        // Without it the last second would be told as none left.
        Some(left) => format!("{:#}", HumanDuration(whole_seconds(left))),
        None => "-".to_owned(),
    };
    let mut text = format!(
        "{percent:>3} %  {}/{}  {rate}  ETA {left}",
        HumanBytes(done),
        HumanBytes(of),
    );
    if state.of_files > 1 {
        text += &format!("  {}/{} files", state.files, state.of_files);
    }
    text
}

fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(
        time.as_secs()
            .saturating_add((time.subsec_nanos() > 0).into()),
    )
}

/// A line of `--progress json`, without its end.
pub fn json(state: &State) -> String {
    /// As documented in docs/operations.md.
    #[derive(Serialize)]
    struct Line {
        elapsed_seconds: f64,
        bytes: u64,
        total_bytes: u64,
        bytes_per_second: Option<u64>,
        eta_seconds: Option<f64>,
        files: u64,
        total_files: u64,
    }
    let line = Line {
        elapsed_seconds: milliseconds(state.elapsed),
        bytes: state.done,
        total_bytes: state.of,
        bytes_per_second: state.rate.map(|rate| rate as u64),
        eta_seconds: state.left.map(milliseconds),
        files: state.files,
        total_files: state.of_files,
    };
    // Numbers only: nothing in it can fail.
    serde_json::to_string(&line).unwrap_or_default()
}

/// Seconds, to the millisecond.
fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: State = State {
        elapsed: Duration::from_millis(1500),
        done: 512,
        of: 2048,
        rate: Some(1024.0),
        left: Some(Duration::from_millis(2_500)),
        files: 1,
        of_files: 2,
    };

    #[test]
    fn the_line_says_what_matters_first() {
        let line = text(&STATE);
        assert_eq!(line, " 25 %  512 B/2.00 KiB  1.00 KiB/s  ETA 3s  1/2 files");
        let unknown = State {
            rate: None,
            left: None,
            of_files: 1,
            ..STATE
        };
        assert_eq!(text(&unknown), " 25 %  512 B/2.00 KiB  -  ETA -");
        let nothing = State {
            of: 0,
            done: 0,
            ..STATE
        };
        assert!(text(&nothing).starts_with("100 %  0 B/0 B"));
        let all = State {
            done: u64::MAX,
            of: u64::MAX,
            rate: Some(f64::INFINITY),
            left: Some(Duration::MAX),
            ..STATE
        };
        assert!(text(&all).starts_with("100 %"));
    }

    #[test]
    fn json_has_numbers_and_null() {
        assert_eq!(
            json(&STATE),
            r#"{"elapsed_seconds":1.5,"bytes":512,"total_bytes":2048,"bytes_per_second":1024,"eta_seconds":2.5,"files":1,"total_files":2}"#
        );
        let unknown = State {
            rate: None,
            left: None,
            ..STATE
        };
        assert!(json(&unknown).contains(r#""bytes_per_second":null,"eta_seconds":null"#));
    }
}
