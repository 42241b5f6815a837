//! The medians as bars, for people who look before they read.

use std::fmt::Write;

use super::figures::Figure;
use super::tools::Kind;

const WIDTH: f64 = 720.0;
const LABEL: f64 = 210.0;
const BAR: f64 = 16.0;
const STEP: f64 = 22.0;
const HEAD: f64 = 34.0;

/// One group of bars for each MTU and direction; whiskers from the slowest run to the fastest. It fits light and dark pages.
pub fn svg(figures: &[Figure]) -> String {
    let most = figures
        .iter()
        .map(|figure| figure.rates()[2])
        .fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - LABEL - 70.0) / most;
    let mut body = String::new();
    let mut y = 10.0;
    let mut group = None;
    for figure in figures {
        let next = (figure.mtu, figure.direction);
        if group != Some(next) {
            group = Some(next);
            y += HEAD;
            let (way, mtu) = (figure.direction.word(), figure.mtu);
            text(
                &mut body,
                10.0,
                y - 8.0,
                "start",
                "head",
                &format!("{way}, MTU {mtu}, GB/s"),
            );
        }
        bar(&mut body, figure, y, scale);
        y += STEP;
    }
    let height = y + 10.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">\n\
         <style>text{{font:13px system-ui,sans-serif;fill:#777}}.head{{font-weight:600}}.ours{{fill:#2a7de1}}\
         .peer{{fill:#9aa5b1}}.ceiling{{fill:none;stroke:#9aa5b1;stroke-dasharray:3}}.range{{stroke:#555}}</style>\n\
         {body}</svg>\n"
    )
}

fn bar(body: &mut String, figure: &Figure, y: f64, scale: f64) {
    let [min, median, max] = figure.rates().map(|rate| rate * scale);
    let class = match figure.kind {
        Kind::Ours => "ours",
        Kind::Peer => "peer",
        Kind::Ceiling => "ceiling",
    };
    let middle = y + BAR / 2.0;
    text(body, LABEL - 8.0, middle + 4.0, "end", "", &figure.tool);
    // Writing to a string does not fail.
    let _ = writeln!(
        body,
        "<rect class=\"{class}\" x=\"{LABEL}\" y=\"{y}\" width=\"{median:.1}\" height=\"{BAR}\"/>\
         <path class=\"range\" d=\"M{:.1} {middle}H{:.1}\"/>",
        LABEL + min,
        LABEL + max
    );
    let value = format!("{:.2}", figure.rates()[1]);
    text(body, LABEL + max + 6.0, middle + 4.0, "start", "", &value);
}

fn text(body: &mut String, x: f64, y: f64, anchor: &str, class: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        body,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::figure;
    use super::*;

    #[test]
    fn the_fastest_bar_fits_and_others_are_in_proportion() {
        let figures = [
            figure("a & b", Kind::Ours, &[4.0]),
            figure("c", Kind::Peer, &[1.0]),
        ];
        let svg = svg(&figures);
        let widths: Vec<f64> = svg
            .split("width=\"")
            .skip(2)
            .filter_map(|rest| rest.split('"').next()?.parse().ok())
            .collect();
        assert_eq!(widths, [440.0, 110.0]);
        assert!(svg.contains("a &amp; b") && svg.ends_with("</svg>\n"));
    }
}
