//! Bars with whiskers, for people who look before they read.

use std::fmt::Write;

use super::tools::Kind;

const WIDTH: f64 = 720.0;
const LABEL: f64 = 250.0;
const VALUE: f64 = 80.0;
const BAR: f64 = 16.0;
const STEP: f64 = 22.0;
const HEAD: f64 = 34.0;

/// Bars that are compared with each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// What they are, with the unit.
    pub title: String,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Bar {
    /// Whose it is.
    pub label: String,
    /// By which it has its colour.
    pub kind: Kind,
    /// How long it is.
    pub value: f64,
    /// From where to where the whisker goes.
    pub whisker: [f64; 2],
}

/// How the lengths of groups are related.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// The same for all.
    Common,
    /// Each of its own.
    Own,
}

/// It fits light and dark pages. Values have so many decimals.
pub fn svg(groups: &[Group], scale: Scale, decimals: usize) -> String {
    let longest = |groups: &[Group]| {
        let bars = groups.iter().flat_map(|group| &group.bars);
        let ends = bars.map(|bar| bar.value.max(bar.whisker[1]));
        ends.fold(f64::MIN_POSITIVE, f64::max)
    };
    let room = WIDTH - LABEL - VALUE;
    let common = room / longest(groups);
    let mut body = String::new();
    let mut y = 0.0;
    for group in groups {
        let factor = match scale {
            Scale::Common => common,
            Scale::Own => room / longest(std::slice::from_ref(group)),
        };
        y += HEAD;
        text(&mut body, [10.0, y - 8.0], "start", "head", &group.title);
        for bar in &group.bars {
            draw(&mut body, bar, y, factor, decimals);
            y += STEP;
        }
    }
    let height = y + 10.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">\n\
         <style>text{{font:13px system-ui,sans-serif;fill:#777}}.head{{font-weight:600}}.ours{{fill:#2a7de1}}\
         .peer{{fill:#9aa5b1}}.ceiling{{fill:none;stroke:#9aa5b1;stroke-dasharray:3}}.range{{stroke:#555;fill:none}}</style>\n\
         {body}</svg>\n"
    )
}

fn draw(body: &mut String, bar: &Bar, y: f64, scale: f64, decimals: usize) {
    let class = match bar.kind {
        Kind::Ours => "ours",
        Kind::Peer => "peer",
        Kind::Ceiling => "ceiling",
    };
    let middle = y + BAR / 2.0;
    text(body, [LABEL - 8.0, middle + 4.0], "end", "", &bar.label);
    let [from, to] = bar.whisker.map(|end| LABEL + end * scale);
    let (width, top, bottom) = (bar.value * scale, middle - 4.0, middle + 4.0);
    // Writing to a string does not fail.
    let _ = writeln!(
        body,
        "<rect class=\"{class}\" x=\"{LABEL}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\"/>\
         <path class=\"range\" d=\"M{from:.1} {top}V{bottom}M{from:.1} {middle}H{to:.1}M{to:.1} {top}V{bottom}\"/>"
    );
    let value = format!("{:.decimals$}", bar.value);
    let end = to.max(LABEL + width) + 6.0;
    text(body, [end, middle + 4.0], "start", "", &value);
}

fn text(body: &mut String, [x, y]: [f64; 2], anchor: &str, class: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        body,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(label: &str, value: f64) -> Group {
        let bar = Bar {
            label: label.to_owned(),
            kind: Kind::Ours,
            value,
            whisker: [value / 2.0, value],
        };
        let title = "a title".to_owned();
        let bars = vec![bar];
        Group { title, bars }
    }

    fn widths(svg: &str) -> Vec<f64> {
        svg.split("width=\"")
            .skip(2)
            .filter_map(|rest| rest.split('"').next()?.parse().ok())
            .collect()
    }

    #[test]
    fn the_longest_bar_fits_and_others_are_in_proportion() {
        let groups = [group("a & b", 4.0), group("c", 1.0)];
        let common = svg(&groups, Scale::Common, 2);
        assert_eq!(widths(&common), [390.0, 97.5]);
        assert!(common.contains("a &amp; b") && common.ends_with("</svg>\n"));
        assert!(common.contains(">4.00<") && common.contains("M445.0 38V46"));
        assert_eq!(widths(&svg(&groups, Scale::Own, 0)), [390.0, 390.0]);
    }
}
