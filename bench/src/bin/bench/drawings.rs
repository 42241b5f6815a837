//! Which figures are drawn, and how.

use super::chart::{Bar, Group, Scale, svg};
use super::figures::Figure;
use super::sample::Measure;
use super::work::Work;

/// A file name and its content, of each drawing that has something to show.
pub fn all(figures: &[Figure]) -> Vec<(&'static str, String)> {
    let drawings = [
        (
            "copies.svg",
            groups(figures, &[Work::Put, Work::Get], "GB/s", of_runs),
            Scale::Common,
            2,
        ),
        (
            "random-latency.svg",
            groups(figures, &[Work::Random], "us, p50 to p99", of_latencies),
            Scale::Own,
            1,
        ),
        (
            "small-files.svg",
            groups(figures, &[Work::Small], "files/s", of_runs),
            Scale::Common,
            0,
        ),
    ];
    drawings
        .into_iter()
        .filter(|(_, groups, ..)| !groups.is_empty())
        .map(|(name, groups, scale, decimals)| (name, svg(&groups, scale, decimals)))
        .collect()
}

/// One for each work, case and MTU, in the order of the figures.
fn groups(
    figures: &[Figure],
    works: &[Work],
    unit: &str,
    bar: fn(&Figure) -> Option<Bar>,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for figure in figures.iter().filter(|figure| works.contains(&figure.work)) {
        let Some(bar) = bar(figure) else { continue };
        let case = if figure.case.is_empty() {
            figure.work.word()
        } else {
            &figure.case
        };
        let title = format!("{case}, MTU {}, {unit}", figure.mtu);
        match groups.iter_mut().find(|group| group.title == title) {
            Some(group) => group.bars.push(bar),
            None => groups.push(Group {
                title,
                bars: vec![bar],
            }),
        }
    }
    groups
}

/// The median of the runs, with a whisker from the slowest to the fastest.
fn of_runs(figure: &Figure) -> Option<Bar> {
    let spread = figure.spread(figure.work.most_important())?;
    Some(Bar {
        label: figure.tool.clone(),
        kind: figure.kind,
        value: spread.median,
        whisker: [spread.min, spread.max],
    })
}

/// The median of the operations, with a whisker to the slowest percent.
fn of_latencies(figure: &Figure) -> Option<Bar> {
    let value = figure.median(Measure::P50Microseconds)?;
    Some(Bar {
        label: figure.tool.clone(),
        kind: figure.kind,
        value,
        whisker: [value, figure.median(Measure::P99Microseconds)?],
    })
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::figure;
    use super::super::tools::Kind;
    use super::*;

    #[test]
    fn only_what_was_measured_is_drawn() {
        let mut figures = vec![
            figure("blkcp", Kind::Ours, &[1.0, 3.0, 2.0]),
            figure("peer", Kind::Peer, &[1.0]),
            figure("blkcp", Kind::Ours, &[4.0]),
        ];
        figures[2].mtu = 9000;
        let drawn = all(&figures);
        assert_eq!(drawn.len(), 1);
        assert!(drawn[0].1.contains("put, MTU 1500, GB/s"));
        let of_puts = groups(&figures, &[Work::Put], "GB/s", of_runs);
        assert_eq!(of_puts.len(), 2);
        assert_eq!(of_puts[0].bars[0].whisker, [1.0, 3.0]);
        figures[1].work = Work::Random;
        figures[1].case = "read".to_owned();
        assert_eq!(all(&figures).len(), 1, "there are no latencies");
        figures[1].samples[0].extend([
            (Measure::P50Microseconds, 5.0),
            (Measure::P99Microseconds, 9.0),
        ]);
        let drawn = all(&figures);
        assert_eq!(drawn[1].0, "random-latency.svg");
        assert!(drawn[1].1.contains("read, MTU 1500, us, p50 to p99"));
    }
}
