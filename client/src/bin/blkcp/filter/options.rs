//! The rules of a command line, in the order in which they are written.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::ArgMatches;

use super::Filter;
use crate::failure::Failure;

/// Options that make rules: their names, whether they exclude, and whether their value is a file of rules.
const OPTIONS: [(&str, bool, bool); 4] = [
    ("exclude", true, false),
    ("include", false, false),
    ("exclude_from", true, true),
    ("include_from", false, true),
];

/// One option that makes rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterWord {
    value: OsString,
    excludes: bool,
    is_file: bool,
}

impl FilterWord {
    /// All of them, in the order of the command line.
    pub fn all(matches: &ArgMatches) -> Vec<Self> {
        let mut written = Vec::new();
        for (name, excludes, is_file) in OPTIONS {
            let values = matches.get_many::<OsString>(name).into_iter().flatten();
            let word = |value: &OsString| Self {
                value: value.clone(),
                excludes,
                is_file,
            };
            let indices = matches.indices_of(name).into_iter().flatten();
            written.extend(indices.zip(values.map(word)));
        }
        written.sort_by_key(|&(at, _)| at);
        written.into_iter().map(|(_, word)| word).collect()
    }
}

impl Filter {
    /// The rules, those in files included.
    pub fn read(words: &[FilterWord]) -> Result<Self, Failure> {
        let mut filter = Self::default();
        for word in words {
            match word.is_file {
                true => filter.add_lines(&read(Path::new(&word.value))?, word.excludes),
                false => filter.add(word.value.as_bytes(), word.excludes),
            }
        }
        Ok(filter)
    }
}

/// A file; `-` is standard input.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let read = match path.as_os_str() == "-" {
        true => std::io::stdin().lock().read_to_end(&mut text),
        false => std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut text)),
    };
    read.map_err(Failure::local("read", path))?;
    Ok(text)
}
