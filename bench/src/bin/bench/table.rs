//! Figures as tables.

use std::fmt::Write;

use super::figures::{Figure, best};
use super::options::Amounts;
use super::sample::{MUCH_OTHER_LOAD, Measure};
use super::tools::Kind;
use super::work::Work;

/// A column of a table.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    heading: &'static str,
    cell: Cell,
    measure: Measure,
    decimals: usize,
}

/// What of a measure stands in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    Min,
    Median,
    Max,
    /// The median over that of the best of this kind.
    Ratio(Kind),
    /// The data paths that were taken.
    Datapath,
}

/// The kinds of columns.
pub mod column {
    use super::{Cell, Column, Kind, Measure};

    const fn of(heading: &'static str, cell: Cell, measure: Measure, decimals: usize) -> Column {
        Column {
            heading,
            cell,
            measure,
            decimals,
        }
    }

    /// The least.
    pub const fn min(heading: &'static str, measure: Measure, decimals: usize) -> Column {
        of(heading, Cell::Min, measure, decimals)
    }

    /// The one in the middle.
    pub const fn median(heading: &'static str, measure: Measure, decimals: usize) -> Column {
        of(heading, Cell::Median, measure, decimals)
    }

    /// The most.
    pub const fn max(heading: &'static str, measure: Measure, decimals: usize) -> Column {
        of(heading, Cell::Max, measure, decimals)
    }

    /// The data path that was taken, as the tool tells it.
    pub const fn datapath() -> Column {
        of("data path", Cell::Datapath, Measure::Seconds, 0)
    }

    /// The median over that of the best other tool.
    pub const fn to_peer(heading: &'static str, measure: Measure) -> Column {
        of(heading, Cell::Ratio(Kind::Peer), measure, 2)
    }

    /// The median over that of the best ceiling.
    pub const fn to_ceiling(heading: &'static str, measure: Measure) -> Column {
        of(heading, Cell::Ratio(Kind::Ceiling), measure, 2)
    }
}

impl Column {
    /// What stands there, if anything does.
    fn text(&self, figure: &Figure, all: &[Figure]) -> String {
        let spread = figure.spread(self.measure);
        let value = match self.cell {
            Cell::Datapath => {
                let paths: Vec<&str> = figure.datapaths().into_iter().collect();
                return paths.join(", ");
            }
            Cell::Min => spread.map(|spread| spread.min),
            Cell::Median => spread.map(|spread| spread.median),
            Cell::Max => spread.map(|spread| spread.max),
            // A ceiling is compared with nothing.
            Cell::Ratio(_) if figure.kind == Kind::Ceiling => None,
            Cell::Ratio(kind) => best(all, figure, kind)
                .and_then(|best| best.median(self.measure))
                .zip(spread)
                .map(|(best, spread)| spread.median / best),
        };
        value.map_or_else(String::new, |value| format!("{value:.*}", self.decimals))
    }
}

/// In Markdown: a heading, what is to know, and a table for each kind of work.
pub fn markdown(figures: &[Figure], amounts: &Amounts) -> String {
    let mut text = String::new();
    for work in Work::ALL {
        let own: Vec<&Figure> = figures.iter().filter(|f| f.work == work).collect();
        if own.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        // Writing to a string does not fail.
        let _ = write!(text, "### {}\n\n{}\n\n", work.word(), work.note(amounts));
        text.push_str(&table(work, &own, figures));
        text.push_str(&disturbed(&own));
    }
    text
}

/// No more than so many are named; the JSON has all of them.
const NAMED: usize = 6;

/// A word about runs that were not alone; nothing when all were.
fn disturbed(own: &[&Figure]) -> String {
    let figures: Vec<_> = own.iter().filter(|f| f.disturbed() > 0).collect();
    if figures.is_empty() {
        return String::new();
    }
    let all: usize = own.iter().map(|figure| figure.samples.len()).sum();
    let runs: usize = figures.iter().map(|figure| figure.disturbed()).sum();
    let which = if figures.len() > NAMED {
        "which ones is in the JSON".to_owned()
    } else {
        let named: Vec<String> = figures.iter().map(|figure| name(figure)).collect();
        named.join("; ")
    };
    format!(
        "\nBeside other load (more than {MUCH_OTHER_LOAD} % of a CPU for other programs or other machines, or a disk that did not \
         come to rest before): {runs} of {all} runs: {which}.\n"
    )
}

fn name(figure: &Figure) -> String {
    let case = if figure.case.is_empty() {
        String::new()
    } else {
        format!(", {}", figure.case)
    };
    let runs = figure.disturbed();
    format!("{}{case} at MTU {} ({runs})", figure.tool, figure.mtu)
}

fn table(work: Work, own: &[&Figure], all: &[Figure]) -> String {
    let columns = work.columns();
    let cases = own.iter().any(|figure| !figure.case.is_empty());
    let case = |text: &str| {
        if cases {
            format!(" {text} |")
        } else {
            String::new()
        }
    };
    let headings: String = columns
        .iter()
        .map(|c| format!(" {} |", c.heading))
        .collect();
    let mut text = format!("|   MTU |{} tool |{headings}\n", case("case"));
    let line: String = columns.iter().map(|_| " ---: |").collect();
    let _ = writeln!(text, "| ----: |{} --- |{line}", case("---"));
    for figure in own {
        let cells: String = columns
            .iter()
            .map(|column| format!(" {} |", column.text(figure, all)))
            .collect();
        let (mtu, tool) = (figure.mtu, &figure.tool);
        let _ = writeln!(text, "| {mtu:>5} |{} {tool} |{cells}", case(&figure.case));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::figure;
    use super::super::options::Sizes;
    use super::*;

    #[test]
    fn a_line_for_each_figure() {
        let mut figures = [
            figure("blkcp", Kind::Ours, &[2.0]),
            figure("peer", Kind::Peer, &[1.0]),
            figure("wire", Kind::Ceiling, &[4.0]),
            figure("blkcp", Kind::Ours, &[7.0]),
        ];
        figures[0].samples[0].insert(Measure::CopiesPerByte, 0.5);
        figures[0].samples[0].datapath = Some("udp".to_owned());
        figures[1].samples[0].insert(Measure::OtherCpuPercent, 99.0);
        figures[3].work = Work::Small;
        figures[3].case = "put".to_owned();
        figures[3].samples[0].insert(Measure::FilesPerSecond, 1234.5);
        let text = markdown(&figures, &Sizes::default().amounts());
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with('|')).collect();
        let expected = [
            "| GB/s min | median | max | CPU s/GB | system calls/GB | copies/byte | rate / fastest peer | CPU / its | data path |",
            "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
            "|  1500 | blkcp | 2.00 | 2.00 | 2.00 | 0.20 |  | 0.500 | 2.00 | 2.00 | udp |",
            "|  1500 | peer | 1.00 | 1.00 | 1.00 | 0.10 |  |  | 1.00 | 1.00 |  |",
            "|  1500 | wire | 4.00 | 4.00 | 4.00 | 0.40 |  |  |  |  |  |",
        ];
        assert!(lines[0].ends_with(expected[0]) && lines[1].ends_with(expected[1]));
        assert_eq!(lines[2..5], expected[2..]);
        assert!(lines[5].starts_with("|   MTU | case | tool | files/s min |"));
        assert_eq!(
            lines[7],
            "|  1500 | put | blkcp | 1234 | 1234 | 1234 |  |  |  |  |"
        );
        assert!(text.contains("come to rest before): 1 of 3 runs: peer at MTU 1500 (1).\n"));
        assert_eq!(text.matches("Beside other load").count(), 1);
        assert!(text.contains("### put\n") && text.contains("\n### small\n"));
        assert!(!text.contains("### get"));
    }
}
