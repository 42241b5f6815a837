//! The progress bar: bytes, rate, and the time left; only on a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use blk_client::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Redraws per second: enough to look alive, too few to cost anything.
const REFRESH: Duration = Duration::from_millis(100);

/// A bar over all files of a copy, fed by a counter that the data path advances.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    counter: Progress,
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
        let template = "{bar:24} {percent:>3} %  {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec}  ETA {eta}  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self {
            bar,
            counter: Progress::default(),
            files: std::cell::Cell::new(0),
            of_files: files,
        }
    }

    /// The counter that the data path advances.
    pub fn counter(&self) -> Progress {
        self.counter.clone()
    }

    /// One more file is stored.
    pub fn file_done(&self) {
        self.files.set(self.files.get() + 1);
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
        if self.of_files > 1 {
            self.bar
                .set_message(format!("{}/{} files", self.files.get(), self.of_files));
        }
        self.bar.set_position(self.counter.bytes());
    }
}
