//! Partial files and temporaries of exports: what there is, and the removal of what is old.
//!
//! By hand (`blockd gc`), and by the running daemon at start and every hour ([`Sweeper`]). Both may run at the same time, and
//! beside puts: whatever a put has in use is locked.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use blk_datapath::files::{PartialFile, SweepFailure, TemporaryFile};

use crate::exports::{Export, Exports};

/// The daemon looks so often, …
const SWEEP_EVERY: Duration = Duration::from_secs(3600);
/// … and the second time so soon: what the end of the daemon before it has left is not gone on with any more, and gives back
/// what it has reserved.
const SWEEP_AGAIN: Duration = Duration::from_secs(900);

/// What is to be done.
#[derive(Copy, Clone, Debug)]
pub struct GcOptions {
    /// Remove what is not in use and at least so old; `None`: remove nothing.
    pub older_than: Option<Duration>,
    /// Look for hidden temporaries in all directories, too.
    pub walk: bool,
}

/// What an export has, and what became of it.
#[derive(Debug, Default)]
pub struct GcReport {
    /// Files of puts that are not complete.
    pub partials: Vec<PartialFile>,
    /// Hidden temporaries, if they were looked for.
    pub temporaries: Vec<TemporaryFile>,
    /// What could not be done, in words.
    pub failures: Vec<String>,
}

/// Looks through one export.
pub fn collect(export: &Export, options: GcOptions) -> GcReport {
    let mut report = GcReport::default();
    let store = export.partials();
    match store.sweep(options.older_than) {
        Ok(swept) => {
            report.partials = swept.files;
            report.failures.extend(told(export, swept.failures));
        }
        Err(error) => {
            let directory = export.directory();
            let failure = format!(
                "cannot look through the partial files (.blockd) of {directory:?}: {error}"
            );
            report.failures.push(failure);
        }
    }
    if options.walk {
        let walked = store.temporaries(options.older_than);
        report.temporaries = walked.files;
        report.failures.extend(told(export, walked.failures));
    }
    report
}

/// What went wrong, in words.
fn told(export: &Export, failures: Vec<SweepFailure>) -> impl Iterator<Item = String> + '_ {
    failures.into_iter().map(|failure| {
        let path = export.directory().join(OsStr::from_bytes(&failure.path));
        format!("cannot look at, or remove, {path:?}: {}", failure.source)
    })
}

/// Removes old partial files at its start, after a quarter of an hour and every hour, on a thread of its own, until it is dropped.
#[derive(Debug)]
pub struct Sweeper {
    /// Never sent on: its end is the sign.
    _stop: Sender<()>,
}

impl Sweeper {
    /// Starts the thread. Its end is not waited for: it may be cut off at any point.
    ///
    /// # Errors
    ///
    /// When there is no thread.
    pub fn start(exports: Exports, keep: Duration) -> std::io::Result<Sweeper> {
        let (stop, stopped) = channel();
        let sweeps = move || {
            let mut pause = SWEEP_AGAIN;
            loop {
                sweep(&exports, keep);
                if stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                pause = SWEEP_EVERY;
            }
        };
        std::thread::Builder::new()
            .name("blockd-sweep".to_owned())
            .spawn(sweeps)?;
        Ok(Sweeper { _stop: stop })
    }
}

fn sweep(exports: &Exports, keep: Duration) {
    let options = GcOptions {
        older_than: Some(keep),
        walk: false,
    };
    for export in exports.iter() {
        let report = collect(export, options);
        for failure in report.failures {
            tracing::warn!("{failure}");
        }
        for file in report.partials.iter().filter(|file| file.removed) {
            let path = file.path.as_deref().map(String::from_utf8_lossy);
            let (export, done) = (export.name(), file.done);
            tracing::info!(export, ?path, done, "removed an old partial file");
        }
    }
}

/// An age as it is written on the command line: a number and a unit, `s`, `m`, `h` or `d`; `0` needs none.
///
/// # Errors
///
/// What is wrong, in words.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and a unit, as in 7d, 12h, 30m or 90s".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let unit = match text.as_bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3600,
        Some(b'd') => 24 * 3600,
        _ => return Err(wrong()),
    };
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(wrong());
    }
    let seconds = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "the age is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read() {
        for (text, seconds) in [
            ("0", 0),
            ("0s", 0),
            ("90s", 90),
            ("30m", 1800),
            ("12h", 43_200),
            ("7d", 604_800),
        ] {
            assert_eq!(parse_age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in [
            "",
            "7",
            "d",
            "-1d",
            "+1d",
            "1.5h",
            "7 d",
            "7w",
            "\u{e9}",
            "99999999999999999999d",
            "999999999999999999d",
        ] {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
    }
}
