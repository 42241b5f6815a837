//! A peer's path, checked for syntax.

use blk_datapath::files::{FileError, FileErrorKind, check_name};

/// Longest path in bytes: what the kernel takes (4096 with the final NUL).
pub const PATH_MAX: usize = 4095;

/// A path relative to an export: either empty (the export itself) or components separated by
/// single slashes, each of 1 to 255 bytes, none `.` or `..`, none with a NUL byte, none of the
/// hidden form of files being received.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ExportPath<'a>(&'a [u8]);

impl<'a> ExportPath<'a> {
    /// Checks a path; `operation` is for the message.
    ///
    /// # Errors
    ///
    /// [`FileErrorKind::OutsideExport`] for absolute paths and those with a `..`;
    /// [`FileErrorKind::InvalidName`] for everything else that is not a path.
    pub fn parse(operation: &'static str, path: &'a [u8]) -> Result<ExportPath<'a>, FileError> {
        if path.starts_with(b"/") {
            return Err(FileError::explained(
                FileErrorKind::OutsideExport,
                operation,
                path,
                "the path is absolute; paths are relative to the export",
            ));
        }
        if path.len() > PATH_MAX {
            return Err(FileError::explained(
                FileErrorKind::InvalidName,
                operation,
                // A peer need not see its 60 KiB again.
                &path[..64],
                "the path, of which this is the beginning, is longer than 4095 bytes",
            ));
        }
        if path.is_empty() {
            return Ok(ExportPath(path));
        }
        for component in path.split(|&byte| byte == b'/') {
            if component == b".." {
                return Err(FileError::explained(
                    FileErrorKind::OutsideExport,
                    operation,
                    path,
                    "a path with \"..\" may lead outside the export",
                ));
            }
            check_name(operation, component).map_err(|error| error.with_path(path))?;
        }
        Ok(ExportPath(path))
    }

    /// Whether this is the export itself.
    pub fn is_root(self) -> bool {
        self.0.is_empty()
    }

    /// The path as the peer gave it.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// The path for messages: the export itself is ".".
    pub fn label(self) -> &'a [u8] {
        if self.is_root() { b"." } else { self.0 }
    }

    /// The directory that holds the last component, and the last component; `None` for the export
    /// itself.
    pub fn split_last(self) -> Option<(ExportPath<'a>, &'a [u8])> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (ExportPath(&self.0[..slash]), &self.0[slash + 1..]),
            None => (ExportPath(b""), self.0),
        })
    }

    /// Every path on the way to this one, from the first component to the whole.
    pub fn prefixes(self) -> impl Iterator<Item = ExportPath<'a>> {
        let bytes = self.0;
        let slashes = (0..bytes.len()).filter(move |&at| bytes[at] == b'/');
        let inner = slashes.map(move |at| ExportPath(&bytes[..at]));
        inner.chain((!self.is_root()).then_some(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(path: &[u8]) -> Option<FileErrorKind> {
        ExportPath::parse("open", path)
            .err()
            .map(|error| error.kind)
    }

    #[test]
    fn paths_are_checked() {
        use FileErrorKind::{InvalidName, OutsideExport};
        for outside in [
            &b"/"[..],
            b"/etc/passwd",
            b"..",
            b"../x",
            b"a/../b",
            b"a/..",
        ] {
            assert_eq!(kind(outside), Some(OutsideExport));
        }
        let long_name = [b'n'; 256];
        let long_path = [b"a/".repeat(2047), b"aa".to_vec()].concat();
        for invalid in [
            &b"."[..],
            b"a//b",
            b"a/",
            b"a/./b",
            b"a\0b",
            b"a/.x.blk-0123456789abcdef",
            b".x.blk-0123456789abcdef/a",
            &long_name,
            &long_path,
        ] {
            assert_eq!(kind(invalid), Some(InvalidName));
        }
        for good in [
            &b""[..],
            b"a",
            b"a/b",
            b"...",
            b"\xff/\n",
            &long_path[..PATH_MAX],
        ] {
            assert_eq!(kind(good), None);
        }
    }

    #[test]
    fn paths_are_taken_apart() {
        let path = ExportPath::parse("open", b"a/bc/d").unwrap();
        let (parent, name) = path.split_last().unwrap();
        assert_eq!((parent.bytes(), name), (&b"a/bc"[..], &b"d"[..]));
        let prefixes: Vec<_> = path.prefixes().map(ExportPath::bytes).collect();
        assert_eq!(prefixes, [&b"a"[..], b"a/bc", b"a/bc/d"]);

        let root = ExportPath::parse("open", b"").unwrap();
        assert!(root.split_last().is_none());
        assert_eq!(root.prefixes().count(), 0);
        let (parent, name) = ExportPath::parse("open", b"x")
            .unwrap()
            .split_last()
            .unwrap();
        assert!(parent.is_root());
        assert_eq!(name, b"x");
    }
}
