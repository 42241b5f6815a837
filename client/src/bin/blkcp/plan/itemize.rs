//! `--itemize-changes`: a line for each change, in the form of rsync's `%i %n%L` (rsync(1), --itemize-changes).

use std::fmt;

use blk_proto::message::{Attributes, FileKind};

/// What is done about one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// As rsync has them: what is done, the kind, and what differs.
    letters: String,
    name: Vec<u8>,
    is_directory: bool,
    link: Option<Vec<u8>>,
}

/// Whether files leave or come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `<`
    Sent,
    /// `>`
    Received,
}

impl Change {
    /// Something is made or replaced: what it is, and what was there of the same kind.
    pub fn made(
        way: Way,
        name: &[u8],
        now: &Attributes,
        before: Option<&Attributes>,
        link: Option<&[u8]>,
    ) -> Self {
        let done = match (now.kind, way) {
            (FileKind::File, Way::Sent) => '<',
            (FileKind::File, Way::Received) => '>',
            _ => 'c',
        };
        let differs = match before {
            None => "+++++++++".to_owned(),
            Some(before) => differences(now, before, now.kind == FileKind::Symlink),
        };
        Self {
            letters: format!("{done}{}{differs}", kind(now.kind)),
            name: name.to_vec(),
            is_directory: now.kind == FileKind::Directory,
            link: link.map(<[u8]>::to_vec),
        }
    }

    /// Only its mode or time changes.
    pub fn attributes(name: &[u8], now: &Attributes, before: &Attributes) -> Self {
        Self {
            letters: format!(".{}{}", kind(now.kind), differences(now, before, false)),
            name: name.to_vec(),
            is_directory: now.kind == FileKind::Directory,
            link: None,
        }
    }

    /// The path relative to the destination.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// It is removed.
    pub fn deleted(name: &[u8], kind: FileKind) -> Self {
        Self {
            letters: "*deleting  ".to_owned(),
            name: name.to_vec(),
            is_directory: kind == FileKind::Directory,
            link: None,
        }
    }
}

fn kind(kind: FileKind) -> char {
    match kind {
        FileKind::File => 'f',
        FileKind::Directory => 'd',
        FileKind::Symlink => 'L',
        FileKind::Other => 'S',
    }
}

/// `cstpoguax`, of which the checksum stands for what a link leads to; blkcp copies no owners, ACLs and extended attributes.
fn differences(now: &Attributes, before: &Attributes, value: bool) -> String {
    let is_file = now.kind == FileKind::File;
    let is_link = now.kind == FileKind::Symlink;
    let letter = |differs: bool, letter: char| if differs { letter } else { '.' };
    let mut text = String::new();
    text.push(letter(value, 'c'));
    text.push(letter(is_file && now.size != before.size, 's'));
    text.push(letter(!is_link && now.mtime_ns != before.mtime_ns, 't'));
    let modes_differ = (now.mode ^ before.mode) & 0o777 != 0;
    text.push(letter(!is_link && modes_differ, 'p'));
    text + "....."
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.name.as_slice() {
            b"" => b"./".to_vec(),
            name if self.is_directory => [name, b"/"].concat(),
            name => name.to_vec(),
        };
        write!(out, "{} {}", self.letters, Escaped(&name))?;
        match &self.link {
            Some(link) => write!(out, " -> {}", Escaped(link)),
            None => Ok(()),
        }
    }
}

/// A name on a line of its own: control characters, what is no UTF-8, and a backslash that could be taken for the beginning of
/// such, are written `\#` and three octal digits, as rsync does.
struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            let mut rest = chunk.valid();
            while let Some(first) = rest.chars().next() {
                let digits = rest.as_bytes().get(2..5);
                let looks_escaped = rest.starts_with("\\#")
                    && digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_digit));
                match first {
                    '\\' if looks_escaped => write!(out, "\\#134")?,
                    control if control.is_control() => {
                        let mut bytes = [0; 4];
                        for byte in control.encode_utf8(&mut bytes).bytes() {
                            write!(out, "\\#{byte:03o}")?;
                        }
                    }
                    other => write!(out, "{other}")?,
                }
                rest = &rest[first.len_utf8()..];
            }
            for byte in chunk.invalid() {
                write!(out, "\\#{byte:03o}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: FileKind, size: u64, mode: u32, mtime_ns: i64) -> Attributes {
        Attributes {
            kind,
            size,
            mode,
            mtime_ns,
        }
    }

    #[test]
    fn lines_are_those_of_rsync() {
        use FileKind::{Directory, File, Symlink};
        let file = of(File, 3, 0o644, 1);
        let line = |change: Change| change.to_string();
        let made = |now, before: Option<&Attributes>| {
            line(Change::made(Way::Sent, b"d/x", now, before, None))
        };
        assert_eq!(made(&file, None), "<f+++++++++ d/x");
        assert_eq!(made(&file, Some(&of(File, 3, 0o644, 0))), "<f..t...... d/x");
        assert_eq!(made(&file, Some(&of(File, 1, 0o600, 1))), "<f.s.p..... d/x");
        let got = Change::made(Way::Received, b"x", &file, None, None);
        assert_eq!(line(got), ">f+++++++++ x");
        let directory = of(Directory, 0, 0o755, 1);
        assert_eq!(made(&directory, None), "cd+++++++++ d/x/");
        let before = of(Directory, 9, 0o755, 0);
        let changed = Change::attributes(b"", &directory, &before);
        assert_eq!(line(changed), ".d..t...... ./");
        let link = of(Symlink, 1, 0o777, 1);
        let to = Change::made(Way::Sent, b"l", &link, None, Some(b"a b"));
        assert_eq!(line(to), "cL+++++++++ l -> a b");
        let to = Change::made(Way::Sent, b"l", &link, Some(&link), Some(b"x"));
        assert_eq!(line(to), "cLc........ l -> x");
        assert_eq!(line(Change::deleted(b"d", Directory)), "*deleting   d/");
    }

    #[test]
    fn names_stay_on_their_line() {
        let escaped = |name: &[u8]| Escaped(name).to_string();
        assert_eq!(
            escaped(b"a\xff\nb\\#123c\xc3\xa4"),
            "a\\#377\\#012b\\#134#123c\u{e4}"
        );
        assert_eq!(escaped(b"a\\#12 \\b"), "a\\#12 \\b");
    }
}
