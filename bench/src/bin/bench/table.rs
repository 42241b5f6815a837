//! The figures as a table.

use std::fmt::Write;

use super::figures::{Figure, fastest_peer};
use super::tools::Kind;

/// In Markdown. The last two columns compare medians with those of the fastest other tool for the same work.
pub fn markdown(figures: &[Figure]) -> String {
    let mut text = String::from(
        "\
|   MTU |     | tool | GB/s min | median | max | CPU s/GB | rate / fastest peer | CPU / its |
| ----: | --- | ---- | -------: | -----: | --: | -------: | ------------------: | --------: |
",
    );
    for figure in figures {
        let [min, median, max] = figure.rates();
        let compared = match fastest_peer(figures, figure) {
            Some(peer) if figure.kind != Kind::Ceiling => {
                let (rate, cpu) = (median / peer.rates()[1], figure.cpu() / peer.cpu());
                format!("{rate:.2} | {cpu:.2}")
            }
            _ => " | ".to_owned(),
        };
        let (mtu, way, tool) = (figure.mtu, figure.direction.word(), &figure.tool);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {mtu:>5} | {way} | {tool} | {min:.2} | {median:.2} | {max:.2} | {:.2} | {compared} |",
            figure.cpu()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::figure;
    use super::*;

    #[test]
    fn a_line_for_each_figure() {
        let figures = [
            figure("blkcp", Kind::Ours, &[2.0]),
            figure("peer", Kind::Peer, &[1.0]),
            figure("wire", Kind::Ceiling, &[4.0]),
        ];
        let text = markdown(&figures);
        let lines: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "|  1500 | put | blkcp | 2.00 | 2.00 | 2.00 | 0.20 | 2.00 | 2.00 |",
                "|  1500 | put | peer | 1.00 | 1.00 | 1.00 | 0.10 | 1.00 | 1.00 |",
                "|  1500 | put | wire | 4.00 | 4.00 | 4.00 | 0.40 |  |  |",
            ]
        );
    }
}
