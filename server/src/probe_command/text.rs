//! The report for people.

use std::fmt::Write;

use blk_datapath::probe::{Finding, Level};

use super::report::{Part, Report};

/// Columns of level and key.
const LEVEL: usize = 8;
const KEY: usize = 17;

/// What a line has in front of its text, when the terminal is wide.
const INDENT: usize = 2 + LEVEL + 1 + KEY + 1;
/// In a narrow one, what goes on in the next line has this much in front of it.
const NARROW_INDENT: usize = 4;
/// Columns of text that are worth the wide indent.
const TEXT: usize = 40;

/// All of it, in lines of at most so many columns (`None`: as long as they are); ends with a line that says whether blockd can
/// run.
pub fn report(report: &Report, columns: Option<usize>) -> String {
    let mut page = Page {
        text: String::new(),
        columns: columns.unwrap_or(usize::MAX),
    };
    page.part("host", &report.host);
    for interface in &report.interfaces {
        page.part(&format!("interface {}", interface.name), interface);
    }
    for path in &report.paths {
        page.part(&format!("path {}", path.name), path);
    }
    page.line("", &verdict(report), 0);
    page.text
}

fn verdict(report: &Report) -> String {
    let what = match report.exit_code() {
        0 => {
            let usable = report.interfaces.iter().filter(|part| !part.is_unusable());
            let names: Vec<&str> = usable.map(|part| part.name.as_str()).collect();
            return format!("blockd can run like this, on {}", names.join(", "));
        }
        5 => "a directory cannot be used",
        9 => "privileges are missing",
        11 => "no interface that can be used",
        _ => "the kernel lacks something",
    };
    let code = report.exit_code();
    let how = match code {
        // All of which UDP sockets do without.
        9 | 11 => "over AF_XDP like this, only over UDP sockets",
        _ => "like this",
    };
    format!("blockd cannot run {how}: {what}, see \"missing\" above (exit code {code})")
}

/// What has been written so far.
struct Page {
    text: String,
    columns: usize,
}

impl Page {
    fn part<F>(&mut self, title: &str, part: &Part<F>) {
        self.line("", title, NARROW_INDENT);
        for finding in &part.findings {
            self.finding(finding);
        }
        self.line("", "", 0);
    }

    fn finding(&mut self, finding: &Finding) {
        let level = match finding.level {
            // What is all right is not worth a word.
            Level::Ok => "",
            level => level.word(),
        };
        let key = finding.key.replace('_', " ");
        let indent = match self.columns {
            columns if columns < INDENT + TEXT => NARROW_INDENT,
            _ => INDENT,
        };
        let start = format!("  {level:LEVEL$} {key:KEY$} ");
        self.line(&start, &finding.text, indent);
        let margin = " ".repeat(indent);
        if let Some(fix) = &finding.fix {
            // A command is not torn: the terminal does that in a way that can be copied.
            let fix = plain(&format!("fix: {fix}"));
            self.push(format_args!("{margin}{fix}"));
        }
        if let Some(source) = finding.source {
            self.line(&margin, &format!("see: {source}"), indent);
        }
    }

    /// A text after `start`, whose further lines begin with so many spaces.
    fn line(&mut self, start: &str, text: &str, indent: usize) {
        // A name from outside cannot forge a line.
        let text = plain(text);
        let mut line = start.to_owned();
        let mut used = line.chars().count();
        let mut first = true;
        for word in text.split(' ') {
            let width = word.chars().count();
            if !first && used + 1 + width > self.columns {
                self.push(format_args!("{line}"));
                line = " ".repeat(indent);
                used = indent;
                first = true;
            }
            if !first {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += width;
            first = false;
        }
        self.push(format_args!("{line}"));
    }

    fn push(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.text.write_fmt(line);
        while self.text.ends_with(' ') {
            self.text.pop();
        }
        self.text.push('\n');
    }
}

/// Without line ends and other control characters.
fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let escape = character.is_control().then(|| character.escape_default());
            let as_it_is = escape.is_none().then_some(character);
            escape.into_iter().flatten().chain(as_it_is)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{part, report as good};
    use super::*;

    #[test]
    fn a_line_for_each_finding() {
        let mut probed = good();
        probed.interfaces[0].findings[0].fix = Some("ethtool -G eth1 rx 4096".to_owned());
        probed.paths[0].findings[0].source = Some("fs/ext4");
        assert_eq!(
            report(&probed, None),
            "host\n           kernel            some text\n\n\
             interface eth1\n  note     zero copy         some text\n                             fix: ethtool -G eth1 rx 4096\n\n\
             path /srv\n  warning  plan              some text\n                             see: fs/ext4\n\n\
             blockd can run like this, on eth1\n"
        );
    }

    #[test]
    fn the_last_line_says_whether_blockd_can_run() {
        let mut probed = good();
        probed.host = part("host", "privileges", Level::Missing);
        let text = report(&probed, None);
        assert!(text.ends_with(
            "blockd cannot run over AF_XDP like this, only over UDP sockets: privileges are missing, see \"missing\" above (exit code 9)\n"
        ));
    }

    #[test]
    fn lines_are_as_long_as_the_terminal_is_wide() {
        let mut probed = good();
        let finding = &mut probed.interfaces[0].findings[0];
        finding.text = "five words with many letters ".repeat(5).trim().to_owned();
        finding.fix = Some("a command that is not torn ".repeat(5));
        let long = |text: &str, columns: usize| {
            let mut lines = text.lines().filter(|line| !line.contains("fix: "));
            lines.any(|line| line.chars().count() > columns)
        };
        for columns in [40, 80, 120] {
            let text = report(&probed, Some(columns));
            assert!(!long(&text, columns), "{text}");
            let words = "with many letters";
            let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(joined.matches(words).count(), 5, "nothing is lost: {text}");
            assert_eq!(text.matches("fix: a command").count(), 1);
        }
        assert!(long(&report(&probed, None), 120));
        // The next line begins where the text of the first one does, if there is room for that.
        let wide = report(&probed, Some(80));
        assert!(
            wide.contains(&format!("\n{}letters", " ".repeat(INDENT))),
            "{wide}"
        );
    }

    #[test]
    fn names_cannot_forge_lines() {
        assert_eq!(plain("a\nb\u{1b}[1m"), "a\\nb\\u{1b}[1m");
        assert_eq!(plain("Größe"), "Größe");
    }
}
