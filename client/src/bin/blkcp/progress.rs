//! The progress bar: bytes, rate, and the time left; only on a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use blk_client::Progress;
use console::Term;
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Redraws per second: enough to look alive, too few to cost anything.
const REFRESH: Duration = Duration::from_millis(100);

/// A bar over all files of a copy, fed by a counter that the data path advances.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    counter: Progress,
    /// Bytes that need not be sent.
    present: Progress,
    /// How many of them are shown already.
    shown: std::cell::Cell<u64>,
    files: std::cell::Cell<u64>,
    of_files: u64,
}

impl Bar {
    /// A bar for `bytes` in `files`; invisible when standard error is no terminal, or `quiet`.
    pub fn new(bytes: u64, files: u64, quiet: bool) -> Self {
        let visible = !quiet && std::io::stderr().is_terminal();
        let target = if visible {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(bytes), target);
        // The terminal's width is left to the text, which is cut there: a line that wraps cannot be drawn over. No
        // colours.
        let template = if bar_fits() {
            "{bar:24} {wide_msg}"
        } else {
            "{wide_msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self {
            bar,
            counter: Progress::default(),
            present: Progress::default(),
            shown: std::cell::Cell::new(0),
            files: std::cell::Cell::new(0),
            of_files: files,
        }
    }

    /// The counter that the data path advances.
    pub fn counter(&self) -> Progress {
        self.counter.clone()
    }

    /// The counter of bytes that need not be sent: they move the bar, and say nothing about the rate.
    pub fn present(&self) -> Progress {
        self.present.clone()
    }

    /// One more file is stored.
    pub fn file_done(&self) {
        self.files.set(self.files.get() + 1);
    }

    /// One more small file is stored, of so many bytes.
    pub fn small_done(&self, bytes: u64) {
        self.counter.add(bytes);
        self.file_done();
    }

    /// Keeps drawing; never ends by itself.
    pub async fn draw(&self) {
        if self.bar.is_hidden() {
            return std::future::pending().await;
        }
        loop {
            self.show();
            tokio::time::sleep(REFRESH).await;
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.show();
        self.bar.finish_and_clear();
    }

    fn show(&self) {
        let present = self.present.bytes();
        let of = self.bar.length().unwrap_or(0);
        // What was sent in vain, because the other end had something else, counts as well.
        self.bar
            .set_position((self.counter.bytes() + present).min(of));
        if self.shown.replace(present) != present {
            self.bar.reset_eta();
        }
        let done = self.bar.position();
        let files = (self.of_files > 1).then_some((self.files.get(), self.of_files));
        let rate = self.bar.per_sec();
        self.bar
            .set_message(line(done, of, rate, self.bar.eta(), files));
    }
}

/// Whether the terminal leaves room for the most important numbers beside a bar.
fn bar_fits() -> bool {
    Term::stderr()
        .size_checked()
        .is_none_or(|(_, columns)| columns >= 60)
}

/// The numbers beside the bar, the most important first.
fn line(done: u64, of: u64, rate: f64, left: Duration, files: Option<(u64, u64)>) -> String {
    let percent = done.saturating_mul(100).checked_div(of).unwrap_or(100);
    let mut text = format!(
        "{percent:>3} %  {}/{}  {}/s  ETA {:#}",
        HumanBytes(done),
        HumanBytes(of),
        HumanBytes(rate as u64),
        HumanDuration(left),
    );
    if let Some((done, of)) = files {
        text += &format!("  {done}/{of} files");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_matters_first() {
        let left = Duration::from_secs(3);
        let text = line(512, 2048, 1024.0, left, Some((1, 2)));
        assert_eq!(text, " 25 %  512 B/2.00 KiB  1.00 KiB/s  ETA 3s  1/2 files");
        assert!(line(0, 0, 0.0, Duration::ZERO, None).starts_with("100 %  0 B/0 B"));
        assert!(line(u64::MAX, u64::MAX, f64::INFINITY, Duration::MAX, None).contains(" %  "));
    }
}
