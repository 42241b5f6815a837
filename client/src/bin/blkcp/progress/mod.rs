//! What a copy says while it goes on: a line on a terminal, or lines of JSON.

mod line;
mod rate;

use std::cell::{Cell, RefCell};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use blk_client::Progress;
use clap::ValueEnum;
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use line::{State, json, text};
use rate::Rate;

/// How often the line is drawn: enough to look alive, too few to cost anything.
const REFRESH: Duration = Duration::from_millis(100);
/// How often a line of JSON is printed.
const PRINT: Duration = Duration::from_secs(1);

/// What is told while a copy goes on, on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Telling {
    /// A line on a terminal, nothing elsewhere
    Auto,
    /// A line of JSON each second, and one at the end
    Json,
    /// Nothing
    None,
}

impl Telling {
    /// As told on the command line.
    pub fn unless(self, quiet: bool) -> Self {
        match self {
            // Who wants JSON reads it; who is to be left alone is a person.
            Self::Auto if quiet => Self::None,
            told => told,
        }
    }
}

/// How far a copy is, by counters that the data path advances.
#[derive(Debug)]
pub struct Bar {
    telling: Telling,
    /// Hidden unless there is a terminal to draw on.
    bar: ProgressBar,
    started: Instant,
    rate: RefCell<Rate>,
    /// Bytes of all files.
    of: u64,
    counter: Progress,
    /// Bytes that need not be sent.
    present: Progress,
    files: Cell<u64>,
    of_files: u64,
}

impl Bar {
    /// For `bytes` in `files`.
    pub fn new(bytes: u64, files: u64, telling: Telling) -> Self {
        let draws = telling == Telling::Auto && std::io::stderr().is_terminal();
        let target = if draws {
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
            telling,
            bar,
            started: Instant::now(),
            rate: RefCell::default(),
            of: bytes,
            counter: Progress::default(),
            present: Progress::default(),
            files: Cell::new(0),
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

    /// Keeps telling; never ends by itself.
    pub async fn draw(&self) {
        let pause = match self.telling {
            Telling::Json => PRINT,
            Telling::Auto if !self.bar.is_hidden() => REFRESH,
            Telling::Auto | Telling::None => return std::future::pending().await,
        };
        loop {
            self.show();
            tokio::time::sleep(pause).await;
        }
    }

    /// Tells for the last time, and takes the line away.
    pub fn finish(&self) {
        self.show();
        self.bar.finish_and_clear();
    }

    fn show(&self) {
        let state = self.state();
        match self.telling {
            Telling::Auto => {
                self.bar.set_position(state.done);
                self.bar.set_message(text(&state));
            }
            // Nobody reads: the copy is worth more than what it tells.
            Telling::Json => drop(writeln!(std::io::stderr(), "{}", json(&state))),
            Telling::None => {}
        }
    }

    fn state(&self) -> State {
        let sent = self.counter.bytes();
        let elapsed = self.started.elapsed();
        let mut rate = self.rate.borrow_mut();
        rate.look(elapsed, sent);
        // What was sent in vain, because the other end had something else, counts as well.
        let done = (sent + self.present.bytes()).min(self.of);
        State {
            elapsed,
            done,
            of: self.of,
            rate: rate.per_second(),
            left: rate.time_for(self.of - done),
            files: self.files.get(),
            of_files: self.of_files,
        }
    }
}

/// Whether the terminal leaves room for the most important numbers beside a bar.
fn bar_fits() -> bool {
    Term::stderr()
        .size_checked()
        .is_none_or(|(_, columns)| columns >= 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_means_people() {
        assert_eq!(Telling::Auto.unless(true), Telling::None);
        assert_eq!(Telling::Auto.unless(false), Telling::Auto);
        assert_eq!(Telling::Json.unless(true), Telling::Json);
    }

    #[test]
    fn what_is_there_already_counts_as_done_and_not_as_fast() {
        let bar = Bar::new(100, 2, Telling::None);
        bar.present().add(60);
        bar.small_done(10);
        let state = bar.state();
        assert_eq!((state.done, state.of), (70, 100));
        assert_eq!((state.files, state.of_files), (1, 2));
        // More than there is: sent twice.
        bar.counter().add(100);
        assert_eq!(bar.state().done, 100);
    }
}
