//! `blockd gc`: the partial files of exports, for people and programs.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use blockd::exports::{ExportSpec, Exports};
use blockd::gc::{GcOptions, GcReport, collect, parse_age};
use clap::Args;
use serde::Serialize;

/// List and remove the files of puts that were never finished
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct GcArguments {
    /// Directory to look through, as blockd is given it; may be given several times
    #[arg(short, long = "export", value_name = "NAME=DIR", required = true, value_parser = clap::value_parser!(ExportSpec))]
    exports: Vec<ExportSpec>,
    /// Remove what has not changed for so long: a number and s, m, h or d
    #[arg(long, value_name = "AGE", default_value = "7d", value_parser = parse_age)]
    older_than: Duration,
    /// Only list, remove nothing
    #[arg(short, long)]
    list: bool,
    /// Look through all directories for hidden temporaries (.NAME.blk-0123456789abcdef) too; those younger than an hour stay
    #[arg(short, long)]
    walk: bool,
    /// One JSON object per line, one line for each file
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
A put that was cut off leaves what has arrived in the directory .blockd of its export, so that it can go on. What a put has
in use is never removed; a running blockd need not be stopped. It also removes old ones itself: --keep-partials.

Exit codes: 0 done, also if there was nothing, 1 something could not be read or removed, 2 wrong usage, 5 an export is not a
directory.

Example:
  blockd gc --export data=/srv/data --older-than 12h";

/// Lists, removes, and says so.
pub fn run(arguments: &GcArguments) -> ExitCode {
    let exports = match Exports::open(&arguments.exports) {
        Ok(exports) => exports,
        Err(error) => {
            eprintln!("blockd: {error}");
            return ExitCode::from(5);
        }
    };
    let options = GcOptions {
        older_than: (!arguments.list).then_some(arguments.older_than),
        walk: arguments.walk,
    };
    let mut failed = false;
    for export in exports.iter() {
        let report = collect(export, options);
        for line in lines(export.name(), &report) {
            let text = if arguments.json {
                line.json()
            } else {
                line.text()
            };
            println!("{text}");
        }
        for failure in &report.failures {
            failed = true;
            eprintln!("blockd: {failure}");
        }
    }
    ExitCode::from(u8::from(failed))
}

/// One file. In JSON, numbers are bytes and seconds.
#[derive(Debug, Serialize)]
struct Line<'a> {
    export: &'a str,
    /// `partial`: a put can go on with it; `debris`: what a crash has left; `temporary`: a hidden file beside others.
    kind: &'static str,
    /// Not UTF-8: what is not is shown as U+FFFD.
    path: Option<String>,
    size: u64,
    done: u64,
    on_disk: u64,
    age_seconds: u64,
    in_use: bool,
    removed: bool,
}

fn lines<'a>(export: &'a str, report: &'a GcReport) -> impl Iterator<Item = Line<'a>> {
    let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let partials = report.partials.iter().map(move |file| Line {
        export,
        kind: if file.is_resumable {
            "partial"
        } else {
            "debris"
        },
        path: file.path.as_deref().map(shown),
        size: file.size,
        done: file.done,
        on_disk: file.on_disk,
        age_seconds: file.age.as_secs(),
        in_use: file.in_use,
        removed: file.removed,
    });
    let temporaries = report.temporaries.iter().map(move |file| Line {
        export,
        kind: "temporary",
        path: Some(shown(&file.path)),
        size: file.on_disk,
        done: 0,
        on_disk: file.on_disk,
        age_seconds: file.age.as_secs(),
        in_use: false,
        removed: file.removed,
    });
    partials.chain(temporaries)
}

impl Line<'_> {
    fn json(&self) -> String {
        // Nothing in it can fail: strings, numbers and booleans.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// `removed  partial  data: "a/b", 1.5 GiB of 3.0 GiB, 3.1 GiB on disk, 8 d old`
    fn text(&self) -> String {
        let state = match (self.removed, self.in_use) {
            (true, _) => "removed",
            (_, true) => "in use",
            _ => "kept",
        };
        let mut text = format!("{state:8} {:9} {}: ", self.kind, self.export);
        match &self.path {
            // Quoted: a name from outside cannot forge a line.
            Some(path) => push(&mut text, format_args!("{path:?}, ")),
            None => push(&mut text, format_args!("no name, ")),
        }
        if self.kind == "partial" {
            let (done, size) = (bytes(self.done), bytes(self.size));
            push(&mut text, format_args!("{done} of {size}, "));
        }
        let (on_disk, age) = (bytes(self.on_disk), age(self.age_seconds));
        push(&mut text, format_args!("{on_disk} on disk, {age} old"));
        text
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = text.write_fmt(arguments);
}

/// Bytes in the largest unit that they fill.
fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// An age in the largest unit that it fills.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blk_datapath::files::PartialFile;

    #[test]
    fn lines_say_what_there_is() {
        let partial = PartialFile {
            path: Some(b"a/b\n\xff".to_vec()),
            size: 3 << 30,
            done: 3 << 29,
            on_disk: 1000,
            age: Duration::from_secs(8 * 86_400 + 1),
            in_use: false,
            is_resumable: true,
            removed: true,
        };
        let report = GcReport {
            partials: vec![partial],
            ..GcReport::default()
        };
        let line = lines("data", &report).next().unwrap();
        assert_eq!(
            line.text(),
            "removed  partial   data: \"a/b\\n\u{fffd}\", 1.5 GiB of 3.0 GiB, 1000 B on disk, 8 d old"
        );
        assert_eq!(
            line.json(),
            "{\"export\":\"data\",\"kind\":\"partial\",\"path\":\"a/b\\n\u{fffd}\",\"size\":3221225472,\
             \"done\":1610612736,\"on_disk\":1000,\"age_seconds\":691201,\"in_use\":false,\"removed\":true}"
        );
    }
}
