//! `--files-from`: the names to copy, from a file.

use std::collections::BTreeSet;
use std::path::Path;

use super::options::read;
use crate::failure::Failure;

/// Names below the source, in the order of their bytes, without doubles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FilesFrom(BTreeSet<Vec<u8>>);

/// Reads the names from a file; `-` is standard input. With `zeros` they end with NUL bytes (`--from0`), else with lines.
pub fn read_files_from(path: &Path, zeros: bool) -> Result<FilesFrom, Failure> {
    FilesFrom::parse(&read(path)?, zeros)
}

impl FilesFrom {
    /// Takes names apart. Of lines, empty ones and those that begin with `#` or `;` are none.
    fn parse(text: &[u8], zeros: bool) -> Result<Self, Failure> {
        let ends = |byte: &u8| match zeros {
            true => *byte == 0,
            false => matches!(byte, b'\n' | b'\r'),
        };
        let is_name = |word: &&[u8]| {
            !word.is_empty() && (zeros || !matches!(word.first(), Some(b'#' | b';')))
        };
        let words = text.split(ends).filter(is_name);
        Ok(Self(words.map(clean).collect::<Result<_, _>>()?))
    }

    /// The names, and before each the directories that it lies in, each once. The source itself is not among them.
    pub fn with_parents(&self) -> Vec<(&[u8], bool)> {
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        for name in self.0.iter().filter(|name| !name.is_empty()) {
            let slashes = (0..name.len()).filter(|&at| name[at] == b'/');
            for parent in slashes.map(|at| &name[..at]) {
                if !self.0.contains(parent) && seen.insert(parent) {
                    all.push((parent, false));
                }
            }
            if seen.insert(name) {
                all.push((name, true));
            }
        }
        all
    }
}

/// Without slashes at its ends, doubled ones, and `.`; a name that leads up is refused.
fn clean(word: &[u8]) -> Result<Vec<u8>, Failure> {
    let parts: Vec<&[u8]> = word
        .split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    if parts.contains(&&b".."[..]) {
        let name = String::from_utf8_lossy(word).into_owned();
        return Err(Failure::Usage(format!(
            "--files-from has {name:?}, which leads out of the source: write names below it"
        )));
    }
    Ok(parts.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_and_their_directories_come_first() {
        let text = b"# none\n/a//b/./c/\nx\r\n\n;none\na/b\nx\n.\n";
        let names = FilesFrom::parse(text, false).unwrap();
        let expected: [(&[u8], bool); 4] = [
            (b"a", false),
            (b"a/b", true),
            (b"a/b/c", true),
            (b"x", true),
        ];
        assert_eq!(names.with_parents(), expected);
    }

    #[test]
    fn nul_bytes_end_any_names() {
        let names = FilesFrom::parse(b"#a\nb\0c\0\0", true).unwrap();
        let expected: [(&[u8], bool); 2] = [(b"#a\nb", true), (b"c", true)];
        assert_eq!(names.with_parents(), expected);
    }

    #[test]
    fn no_name_leads_out() {
        for bad in [&b".."[..], b"a/../../b", b"/.."] {
            let refused = FilesFrom::parse(bad, false).unwrap_err();
            assert_eq!(refused.exit_code(), 2, "{refused}");
        }
    }
}
