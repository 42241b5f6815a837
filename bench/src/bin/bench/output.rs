//! Where the results go.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::drawings;
use super::figures::Board;
use super::machine::{self, Machine};
use super::options::Amounts;
use super::sample::MUCH_OTHER_LOAD;
use super::table;

/// What the figures are of, and where they go.
#[derive(Debug)]
pub struct Output<'a> {
    /// How much was measured.
    amounts: &'a Amounts,
    /// On which machine.
    machine: &'a Machine,
    /// The directory for everything, if there is one.
    directory: Option<&'a Path>,
}

impl<'a> Output<'a> {
    /// Nothing is measured yet; a directory that cannot be written to is found out at once.
    pub fn begin(
        amounts: &'a Amounts,
        machine: &'a Machine,
        directory: Option<&'a Path>,
    ) -> Result<Self> {
        let output = Self {
            amounts,
            machine,
            directory,
        };
        output.save(&Board::default())?;
        Ok(output)
    }

    /// Prints the tables.
    ///
    /// # Errors
    /// When they are not whole, since something has failed.
    pub fn print(&self, board: &Board) -> Result<()> {
        print!("{}", self.text(board));
        let failed: Vec<String> = board.failures.iter().map(ToString::to_string).collect();
        ensure!(
            failed.is_empty(),
            "not measured to its end, and missing in the tables:\n  {}",
            failed.join("\n  ")
        );
        Ok(())
    }

    fn text(&self, board: &Board) -> String {
        let mut text = table::markdown(&board.figures, self.amounts);
        for failure in &board.failures {
            text.push_str(&format!("\nFailed: {failure}\n"));
        }
        let (machine, build) = (self.machine.line(), build());
        format!("{text}\n{machine}; build {build}\n")
    }

    /// Writes all there is to the directory.
    pub fn save(&self, board: &Board) -> Result<()> {
        let Some(directory) = self.directory else {
            return Ok(());
        };
        let write = |name: &str, content: &str| {
            let path = directory.join(name);
            std::fs::write(&path, content)
                .with_context(|| format!("cannot write {}", path.display()))
        };
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        write("results.md", &self.text(board))?;
        write("results.json", &json(board, self.amounts, self.machine))?;
        for (name, drawing) in drawings::all(&board.figures) {
            write(name, &drawing)?;
        }
        Ok(())
    }
}

/// Version, and the commit where the build was told of it (`BLK_BENCH_COMMIT`; scripts/bench does so).
fn build() -> String {
    let commit = option_env!("BLK_BENCH_COMMIT").filter(|commit| !commit.is_empty());
    let commit = commit.unwrap_or("commit not told");
    format!("{} ({commit})", env!("CARGO_PKG_VERSION"))
}

/// All samples, with the machine and the build that they are of, and what has failed.
fn json(board: &Board, amounts: &Amounts, machine: &Machine) -> String {
    let mut mtus: Vec<u32> = board.figures.iter().map(|figure| figure.mtu).collect();
    mtus.sort_unstable();
    mtus.dedup();
    let value = serde_json::json!({
        "build": build(),
        "machine": machine,
        "load_after": machine::load(),
        "amounts": amounts,
        "mtus": mtus,
        "much_other_load_percent": MUCH_OTHER_LOAD,
        "figures": board.figures,
        "failed": board.failures,
    });
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::super::figures::Label;
    use super::super::figures::tests::figure;
    use super::super::options::Sizes;
    use super::super::tools::Kind;
    use super::super::work::Work;
    use super::*;

    #[test]
    fn samples_have_their_units() {
        let mut board = Board {
            figures: vec![figure("blkcp", Kind::Ours, &[2.0])],
            failures: Vec::new(),
        };
        board.figures[0].samples[0].datapath = Some("udp".to_owned());
        let label = Label {
            work: Work::Put,
            case: "",
            tool: "peer",
            kind: Kind::Peer,
            mtu: 9000,
        };
        board.fail(label, "no room".to_owned());
        let machine = Machine::here(Path::new("/"));
        let amounts = Sizes::default().amounts();
        let text = json(&board, &amounts, &machine);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let figure = &value["figures"][0];
        assert_eq!(figure["samples"][0]["datapath"], "udp");
        assert_eq!(figure["disturbed_runs"], 0);
        let failed = &value["failed"][0];
        assert_eq!(
            (&failed["tool"], &failed["reason"]),
            (&"peer".into(), &"no room".into())
        );
        let wanted = ["file_bytes", "small_files", "random_seconds"];
        let wanted = wanted.map(|name| value["amounts"][name].as_u64());
        assert_eq!(wanted, [2 << 30, 100_000, 10].map(Some));
        assert!(
            value["build"]
                .as_str()
                .is_some_and(|build| build.contains('('))
        );
        let output = Output {
            amounts: &amounts,
            machine: &machine,
            directory: None,
        };
        assert!(
            output
                .text(&board)
                .contains("Failed: put at MTU 9000, peer: no room")
        );
        assert!(
            output.print(&board).is_err(),
            "the status tells of what has failed"
        );
        assert_eq!(figure["samples"][0]["gigabytes_per_second"], 2.0);
        assert_eq!(
            (&figure["work"], &figure["kind"]),
            (&"put".into(), &"ours".into())
        );
        assert_eq!(value["mtus"], serde_json::json!([1500]));
        assert!(value["machine"]["kernel"].is_string());
    }
}
