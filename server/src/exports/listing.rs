//! The listing of a directory: names read once, sorted, handed out in pages.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use blk_datapath::files::{FileError, FileErrorKind, attributes_of, is_hidden_name};
use blk_proto::message::{Entry, MAX_ENTRIES};
use rustix::fs::{AtFlags, RawDir, statat};
use rustix::io::Errno;

use super::resolve::confined;
use super::{Export, ExportPath};

/// Bytes of a page at most, counting each entry as its name and [`ENTRY_OVERHEAD`]; leaves a
/// message of 64 KiB ample room.
pub const PAGE_BYTES: usize = 48 << 10;

/// What an entry takes in a message besides its name, at most: kind (4), size (9), mode (5), time
/// (9), length of the name (3), rounded up to what a decoder accounts for it.
pub const ENTRY_OVERHEAD: usize = 40;

/// Most bytes of names that a listing may have: about ten million files.
pub const LISTING_MAX: usize = 256 << 20;

/// The names of a directory at one time, sorted by their bytes.
#[derive(Debug)]
pub struct Snapshot {
    directory: OwnedFd,
    label: Vec<u8>,
    names: Names,
}

/// One page of a listing.
#[derive(Debug)]
pub struct Page {
    /// In the order of their names. Links are listed as links.
    pub entries: Vec<Entry>,
    /// Index of the first entry of the next page; `None` when this is the last.
    pub next: Option<u32>,
}

impl Export {
    /// Opens a directory whose entries are to be listed, without reading it yet.
    ///
    /// # Errors
    ///
    /// As the resolution of the path; `NotDirectory`.
    pub fn open_listing(&self, path: &[u8]) -> Result<OwnedFd, FileError> {
        let path = ExportPath::parse("list", path)?;
        self.open_directory(path)
            .map_err(|errno| confined("list", path, errno))
    }
}

impl Snapshot {
    /// Reads and sorts all names of a directory (just opened, nothing read of it yet). Hidden names
    /// of files being received are left out. Blocks: for a large directory this takes a while.
    ///
    /// # Errors
    ///
    /// What getdents64(2) reports; `TooLarge` beyond [`LISTING_MAX`].
    pub fn read(directory: OwnedFd, path: &[u8]) -> Result<Snapshot, FileError> {
        let label = if path.is_empty() { b"." } else { path }.to_vec();
        let names = read_names(&directory, &label, LISTING_MAX)?;
        Ok(Snapshot {
            directory,
            label,
            names,
        })
    }

    /// Bytes of memory that the names take.
    pub fn memory(&self) -> usize {
        self.names.bytes.len() + self.names.spans.len() * size_of::<Span>()
    }

    /// The entries from the index `first` on, as many as fit a page, with the attributes that they
    /// have now; names that are gone since are left out. Blocks.
    ///
    /// # Errors
    ///
    /// What stat(2) reports, other than that a name is gone.
    pub fn page(&self, first: u32) -> Result<Page, FileError> {
        let mut entries = Vec::new();
        let mut room = PAGE_BYTES;
        // The span comes first: no index is formed beyond the last name, however large `first` is.
        for (span, index) in self.names.from(first).iter().zip(first..) {
            let name = self.names.get(*span);
            if entries.len() == MAX_ENTRIES || room < name.len() + ENTRY_OVERHEAD {
                return Ok(Page {
                    entries,
                    next: Some(index),
                });
            }
            match statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => {
                    room -= name.len() + ENTRY_OVERHEAD;
                    entries.push(Entry {
                        name: name.to_vec(),
                        attributes: attributes_of(&stat),
                    });
                }
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(FileError::new("list", &self.label, errno)),
            }
        }
        Ok(Page {
            entries,
            next: None,
        })
    }
}

/// A name's place among the bytes.
#[derive(Copy, Clone, Debug)]
struct Span {
    start: u32,
    length: u16,
}

/// Many names in one allocation.
#[derive(Debug, Default)]
struct Names {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl Names {
    fn push(&mut self, name: &[u8]) -> Result<(), Errno> {
        let start = u32::try_from(self.bytes.len()).map_err(|_| Errno::FBIG)?;
        let length = u16::try_from(name.len()).map_err(|_| Errno::NAMETOOLONG)?;
        self.bytes.extend_from_slice(name);
        self.spans.push(Span { start, length });
        Ok(())
    }

    fn get(&self, span: Span) -> &[u8] {
        &self.bytes[span.start as usize..][..usize::from(span.length)]
    }

    fn from(&self, first: u32) -> &[Span] {
        self.spans.get(first as usize..).unwrap_or_default()
    }

    fn sort(&mut self) {
        let mut spans = std::mem::take(&mut self.spans);
        spans.sort_unstable_by(|a, b| self.get(*a).cmp(self.get(*b)));
        self.spans = spans;
    }
}

fn read_names(directory: &OwnedFd, label: &[u8], limit: usize) -> Result<Names, FileError> {
    let failed = |errno: Errno| FileError::new("list", label, errno);
    let mut names = Names::default();
    let mut buffer = Vec::with_capacity(64 << 10);
    buffer.resize_with(buffer.capacity(), MaybeUninit::uninit);
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(failed(errno)),
        };
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." || is_hidden_name(name) {
            continue;
        }
        if names.bytes.len() + name.len() > limit {
            return Err(FileError::explained(
                FileErrorKind::TooLarge,
                "list",
                label,
                format!("the names in it take more than {limit} bytes"),
            ));
        }
        names.push(name).map_err(failed)?;
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listing_is_bounded() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["aaaa", "bbbb", "cccc"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        let open = || OwnedFd::from(std::fs::File::open(directory.path()).unwrap());
        let error = read_names(&open(), b"d", 11).unwrap_err();
        assert_eq!(error.kind, FileErrorKind::TooLarge);
        assert_eq!(read_names(&open(), b"d", 12).unwrap().spans.len(), 3);
    }
}
