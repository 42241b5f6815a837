//! Copies of trees as people who know rsync expect them.

mod options;
mod oracle;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::support::client::{Outcome, blkcp_plain};
use super::support::daemon::Daemon;
use super::support::hosts::{Hosts, Link};
use super::support::{Directory, files};

/// A destination or source at the other end.
const DATA: &str = "10.77.0.1:data/";

/// Two hosts, blockd on one, and a directory at the other.
struct Scene {
    // Dropped in this order.
    _daemon: Daemon,
    hosts: Hosts,
    directory: Directory,
    export: PathBuf,
    source: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let directory = Directory::new();
        let (export, source) = (
            directory.subdirectory("export"),
            directory.subdirectory("source"),
        );
        let hosts = Hosts::up(Link::of(9000));
        Self {
            _daemon: Daemon::start(&hosts, &export, &directory),
            hosts,
            directory,
            export,
            source,
        }
    }

    /// Runs blkcp with these words; those that begin with `@` are at the other end, those with `/` below the scene's directory.
    fn run(&self, words: &[&str]) -> Outcome {
        let word = |word: &&str| match (word.strip_prefix('@'), word.strip_prefix('/')) {
            (Some(there), _) => format!("{DATA}{there}"),
            (_, Some(here)) => self.directory.join(here).display().to_string(),
            _ => (*word).to_owned(),
        };
        let words: Vec<String> = words.iter().map(word).collect();
        let words = [vec!["--datapath".to_owned(), "udp".to_owned()], words].concat();
        blkcp_plain(&self.hosts, &self.directory, &words)
    }

    /// Makes files of some bytes below the source.
    fn fill(&self, names: &[&str]) {
        for (seed, name) in names.iter().enumerate() {
            let path = self.source.join(name);
            fs::create_dir_all(path.parent().expect("it is below the source"))
                .expect("cannot make a test directory");
            files::write(&path, 100 + seed as u64, seed as u64);
        }
    }
}

/// Sets a file's time of last modification to so many seconds ago.
fn age(path: &Path, seconds: u64) {
    let time = SystemTime::now() - Duration::from_secs(seconds);
    let file = fs::File::options().write(true).open(path);
    file.and_then(|file| file.set_modified(time))
        .expect("cannot set the time of a test file");
}

/// What a run printed on standard output before its summary.
fn lines(outcome: &Outcome) -> Vec<String> {
    let mut lines: Vec<String> = outcome.stdout.lines().map(str::to_owned).collect();
    lines.pop();
    lines.sort();
    lines
}
