//! Where the results go.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::drawings;
use super::figures::{Board, Figure};
use super::machine::{self, Machine};
use super::options::Amounts;
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
        output.save(&[])?;
        Ok(output)
    }

    /// Prints the tables.
    ///
    /// # Errors
    /// When they are not whole, since something has failed.
    pub fn print(&self, board: &Board) -> Result<()> {
        print!("{}", self.text(&board.figures));
        let failed = board.failed.join(", ");
        ensure!(
            failed.is_empty(),
            "not measured to its end, for the reason above: {failed}"
        );
        Ok(())
    }

    fn text(&self, figures: &[Figure]) -> String {
        let tables = table::markdown(figures, self.amounts);
        format!("{tables}\n{}\n", self.machine.line())
    }

    /// Writes all there is to the directory.
    pub fn save(&self, figures: &[Figure]) -> Result<()> {
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
        write("results.md", &self.text(figures))?;
        write("results.json", &json(figures, self.machine))?;
        for (name, drawing) in drawings::all(figures) {
            write(name, &drawing)?;
        }
        Ok(())
    }
}

/// All samples, with the machine that they are of.
fn json(figures: &[Figure], machine: &Machine) -> String {
    let mut mtus: Vec<u32> = figures.iter().map(|figure| figure.mtu).collect();
    mtus.sort_unstable();
    mtus.dedup();
    let value = serde_json::json!({
        "machine": machine,
        "load_after": machine::load(),
        "mtus": mtus,
        "figures": figures,
    });
    format!("{value:#}\n")
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::figure;
    use super::super::tools::Kind;
    use super::*;

    #[test]
    fn samples_have_their_units() {
        let figures = [figure("blkcp", Kind::Ours, &[2.0])];
        let machine = Machine::here(Path::new("/"));
        let value: serde_json::Value = serde_json::from_str(&json(&figures, &machine)).unwrap();
        let figure = &value["figures"][0];
        assert_eq!(figure["samples"][0]["gigabytes_per_second"], 2.0);
        assert_eq!(
            (&figure["work"], &figure["kind"]),
            (&"put".into(), &"ours".into())
        );
        assert_eq!(value["mtus"], serde_json::json!([1500]));
        assert!(value["machine"]["kernel"].is_string());
    }
}
