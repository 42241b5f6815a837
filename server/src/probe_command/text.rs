//! The report for people.

use std::fmt::Write;

use blk_datapath::probe::{Finding, Level};

use super::report::{Part, Report};

/// Columns of level and key.
const LEVEL: usize = 8;
const KEY: usize = 17;

/// All of it; ends with a line that says whether blockd can run.
pub fn report(report: &Report) -> String {
    let mut text = String::new();
    part(&mut text, "host", &report.host);
    for interface in &report.interfaces {
        // Quoted where it is not plain: a name from outside cannot forge a line.
        part(
            &mut text,
            &format!("interface {}", plain(&interface.name)),
            interface,
        );
    }
    for path in &report.paths {
        part(&mut text, &format!("path {}", plain(&path.name)), path);
    }
    let verdict = match report.exit_code() {
        0 => "blockd can run like this".to_owned(),
        code => {
            let what = match code {
                5 => "a directory cannot be used",
                9 => "privileges are missing",
                11 => "no interface that can be used",
                _ => "the kernel lacks something",
            };
            format!("blockd cannot run like this: {what}, see \"missing\" above (exit code {code})")
        }
    };
    line(&mut text, format_args!("{verdict}"));
    text
}

fn part<F>(text: &mut String, title: &str, part: &Part<F>) {
    line(text, format_args!("{title}"));
    for finding in &part.findings {
        finding_lines(text, finding);
    }
    line(text, format_args!(""));
}

fn finding_lines(text: &mut String, finding: &Finding) {
    let level = match finding.level {
        // What is all right is not worth a word.
        Level::Ok => "",
        level => level.word(),
    };
    let key = finding.key.replace('_', " ");
    let said = plain(&finding.text);
    line(text, format_args!("  {level:LEVEL$} {key:KEY$} {said}"));
    let indent = 2 + LEVEL + 1 + KEY + 1;
    if let Some(fix) = &finding.fix {
        line(text, format_args!("{:indent$}fix: {}", "", plain(fix)));
    }
    if let Some(source) = finding.source {
        line(text, format_args!("{:indent$}see: {source}", ""));
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

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = text.write_fmt(arguments);
    while text.ends_with(' ') {
        text.pop();
    }
    text.push('\n');
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
            report(&probed),
            "host\n           kernel            some text\n\n\
             interface eth1\n  note     zero copy         some text\n                             fix: ethtool -G eth1 rx 4096\n\n\
             path /srv\n  warning  plan              some text\n                             see: fs/ext4\n\n\
             blockd can run like this\n"
        );
    }

    #[test]
    fn the_last_line_says_whether_blockd_can_run() {
        let mut probed = good();
        probed.host = part("host", "privileges", Level::Missing);
        let text = report(&probed);
        assert!(text.ends_with(
            "blockd cannot run like this: privileges are missing, see \"missing\" above (exit code 9)\n"
        ));
    }

    #[test]
    fn names_cannot_forge_lines() {
        assert_eq!(plain("a\nb\u{1b}[1m"), "a\\nb\\u{1b}[1m");
        assert_eq!(plain("Größe"), "Größe");
    }
}
