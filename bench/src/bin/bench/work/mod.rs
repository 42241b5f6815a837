//! The kinds of work that are measured, each in a file of its own.

mod clients;
mod cold_get;
mod copy;
mod idle;
mod load_cpu;
pub mod random;
mod small;

use clap::ValueEnum;
use serde::Serialize;

use super::attempt::attempt;
use super::figures::{Board, Label};
use super::options::Amounts;
use super::sample::{Measure, Sample};
use super::scene::Scene;
use super::table::Column;
use super::tools::{Direction, Kind, Tool};

/// A kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// One large file to the server, from the page cache
    Put,
    /// One large file from the server, from the page cache
    Get,
    /// One large file from the server's disk
    ColdGet,
    /// Many small files
    Small,
    /// 4 KiB reads and writes at random places
    Random,
    /// Several clients at once
    Clients,
    /// A server that has nothing to do, and the first read after that
    Idle,
}

/// What a work is done with.
pub struct Bench<'a> {
    /// Which.
    pub work: Work,
    /// The hosts and their files.
    pub scene: &'a mut Scene,
    /// What takes part, of those that can do it.
    pub tools: &'a [&'a dyn Tool],
    /// How much of everything.
    pub amounts: &'a Amounts,
    /// Where the samples go.
    pub board: &'a mut Board,
}

impl Work {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Put,
        Self::Get,
        Self::ColdGet,
        Self::Small,
        Self::Random,
        Self::Clients,
        Self::Idle,
    ];

    /// Those that can be measured between two machines.
    pub const FAR: [Self; 3] = [Self::Put, Self::Get, Self::Random];

    /// As `--work` has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::ColdGet => "cold-get",
            Self::Small => "small",
            Self::Random => "random",
            Self::Clients => "clients",
            Self::Idle => "idle",
        }
    }

    /// At which of the MTUs it is measured: large files at all of them, other work at those that tell something.
    pub fn mtus(self, all: &[u32]) -> Vec<u32> {
        let wanted: &[u32] = match self {
            Self::Put | Self::Get => all,
            Self::ColdGet | Self::Random => &[1500, 9000],
            Self::Small | Self::Clients | Self::Idle => &[9000],
        };
        let mut mtus = all.to_vec();
        mtus.retain(|mtu| wanted.contains(mtu));
        if mtus.is_empty() {
            mtus.extend(all.first());
        }
        mtus
    }

    /// By which the best is chosen; more of it is better.
    pub fn most_important(self) -> Measure {
        match self {
            Self::Put | Self::Get | Self::ColdGet | Self::Clients => Measure::GigabytesPerSecond,
            Self::Small => Measure::FilesPerSecond,
            Self::Random => Measure::OperationsPerSecond,
            // Nothing is compared.
            Self::Idle => Measure::IdleCpuPercent,
        }
    }

    /// What of its figures a table has.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Put | Self::Get => copy::COLUMNS,
            Self::ColdGet => cold_get::COLUMNS,
            Self::Small => small::COLUMNS,
            Self::Random => random::COLUMNS,
            Self::Clients => clients::COLUMNS,
            Self::Idle => idle::COLUMNS,
        }
    }

    /// What a reader has to know of the table.
    pub fn note(self, amounts: &Amounts) -> String {
        match self {
            Self::Put | Self::Get => copy::note(amounts),
            Self::ColdGet => cold_get::note(amounts),
            Self::Small => small::note(amounts),
            Self::Random => random::note(amounts),
            Self::Clients => clients::note(amounts),
            Self::Idle => idle::note(amounts),
        }
    }

    /// Measures it.
    pub fn run(self, bench: &mut Bench<'_>) {
        match self {
            Self::Put => copy::run(Direction::Put, bench),
            Self::Get => copy::run(Direction::Get, bench),
            Self::ColdGet => cold_get::run(bench),
            Self::Small => small::run(bench),
            Self::Random => random::run(bench),
            Self::Clients => clients::run(bench),
            Self::Idle => idle::run(bench),
        }
    }
}

impl Bench<'_> {
    fn label<'b>(&self, case: &'b str, tool: &'b str, kind: Kind) -> Label<'b> {
        Label {
            work: self.work,
            case,
            tool,
            kind,
            mtu: self.scene.near.mtu,
        }
    }

    /// These tools will have figures in this order, whatever the order of a run.
    fn expect(&mut self, case: &str, tools: &[&dyn Tool]) {
        for tool in tools {
            let name = tool.name();
            let label = self.label(case, &name, tool.kind());
            self.board.expect(label);
        }
    }

    /// Keeps a sample.
    fn add(&mut self, case: &str, tool: &dyn Tool, sample: Sample) {
        let name = tool.name();
        let label = self.label(case, &name, tool.kind());
        self.board.add(label, sample);
    }

    /// Says what happens now.
    fn say(&self, case: &str, tool: &str, run: u32) {
        let (mtu, runs, word) = (self.scene.near.mtu, self.amounts.runs, self.work.word());
        let case = if case.is_empty() {
            String::new()
        } else {
            format!(", {case}")
        };
        eprintln!("bench: MTU {mtu}, {word}{case}, {tool}, run {run} of {runs}");
    }

    /// Does something with a tool. A failure is kept with its reason, and the tool takes no part in the rest of this work:
    /// one that hangs would do so each time.
    fn attempt<T>(
        &mut self,
        case: &str,
        tool: &dyn Tool,
        work: impl FnOnce(&Scene) -> T,
    ) -> Option<T> {
        let name = tool.name();
        let label = self.label(case, &name, tool.kind());
        if self.board.has_failed(label) {
            return None;
        }
        match attempt(|| work(self.scene)) {
            Ok(done) => Some(done),
            Err(reason) => {
                eprintln!("bench: FAILED: {name}, which is left out of this work from now on");
                self.board.fail(label, reason);
                None
            }
        }
    }

    /// Measures a run of a tool, and keeps the sample.
    fn measure(
        &mut self,
        case: &str,
        tool: &dyn Tool,
        run: u32,
        one: impl FnOnce(&Scene) -> Sample,
    ) {
        self.say(case, &tool.name(), run);
        if let Some(sample) = self.attempt(case, tool, one) {
            self.add(case, tool, sample);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_command_line_and_of_the_json() {
        for work in Work::ALL {
            let named = Work::from_str(work.word(), false);
            assert_eq!(named, Ok(work));
            let json = serde_json::to_string(&work).unwrap();
            assert_eq!(json, format!("\"{}\"", work.word()));
        }
    }

    #[test]
    fn every_work_has_an_mtu() {
        for work in Work::ALL {
            assert_eq!(work.mtus(&[3498]), [3498], "{work:?}");
            assert!(!work.columns().is_empty());
        }
        assert_eq!(Work::Put.mtus(&[1500, 3498]), [1500, 3498]);
        assert_eq!(Work::Random.mtus(&[1500, 3498, 9000]), [1500, 9000]);
        assert_eq!(Work::Small.mtus(&[1500, 9000]), [9000]);
    }
}
