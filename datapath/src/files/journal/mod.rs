//! The journal of a partial file: which pieces of it are there, known after any crash.
//!
//! ```text
//!   0                          n × 4096
//!   │ head: what file it is of │ entry │ entry │ entry │ …      one for each piece of the file's data
//! ```
//!
//! When a worker has written the last byte of a piece, a thread of the store writes the piece's entry ([`scribe`]), by a plain
//! write of eight bytes into the page cache. That survives the end of this program, however sudden. From time to time
//! the file is synced, then the entries of what was written *before that sync began* are marked as durable, then the
//! journal is synced.
//!
//! Why an entry never claims what is not there:
//!
//! - It is written after the write of its piece has completed.
//! - After a crash of the program the kernel still has both. After a crash of the machine it may have either: so an entry
//!   counts in the boot that made it only, until it is marked as durable, and that mark is made only when the
//!   data is durable, whichever of the two reaches the disk first afterwards. The boot is part of the entry's check
//!   ([`entry`]): no entry has to be erased when the machine comes up again.
//! - A file system that was shut down by an error and mounted again loses data *without* a new boot. Therefore a
//!   claim also counts only where the file has data by lseek(2), `SEEK_DATA`: space that was reserved and whose write
//!   is not on record is a hole there (ext4, xfs, btrfs).
//! - When a sync of the file fails, the journal is cut to nothing before anything else: the kernel tells of a lost write once, and
//!   a put that goes on in the same boot would hear nothing of it.
//! - An entry that is torn, or of another journal, fails its check. The head is complete before the journal gets its
//!   name, and never changes.
//!
//! Why not a mapping of the file: on a full or failing disk the kernel answers a store into a mapping with SIGBUS, which ends
//! the daemon and all its transfers. A write comes back with an error, and then the journal ends there and the put goes on
//! without it. The table is written in full at the start, so that later writes need no space (where the file system writes
//! in place).

mod entry;
mod header;
mod layout;
mod progress;
mod scribe;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, fallocate, fstat};
use rustix::io::{Errno, retry_on_intr};

pub(super) use entry::{BootId, Entries, State};
pub(super) use header::{Header, Inode, PATH_MAX};
pub(super) use layout::Layout;
pub(super) use progress::{Piece, Progress};
pub(super) use scribe::Scribe;

use entry::ENTRY_LEN;
use header::PRELUDE;

/// Most bytes of a journal's table: files of up to 28 TB of data can be resumed. Keeps a request for a huge file from
/// filling the disk with the journal alone.
const TABLE_MAX: u64 = 256 << 20;

/// Entries read or written at a time.
const BATCH: usize = 8192;

/// A journal, open for reading and writing.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    entries: Entries,
    layout: Layout,
    /// Where the table begins.
    table: u64,
}

impl Journal {
    /// Makes a journal of a new file: `file` is empty, and has no name that others look for.
    pub(super) fn create(file: OwnedFd, header: &Header, boot: BootId) -> io::Result<Journal> {
        let layout = Layout::new(header.size, &header.holes).ok_or(Errno::INVAL)?;
        let table_len = layout.pieces() * ENTRY_LEN;
        if table_len > TABLE_MAX || header.path.len() > PATH_MAX {
            return Err(Errno::FBIG.into());
        }
        let head = header.encode();
        let file = File::from(file);
        let journal = Journal {
            entries: Entries {
                journal: header.journal,
                boot,
            },
            layout,
            table: head.len() as u64,
            file,
        };
        journal.fill(&head, table_len)?;
        Ok(journal)
    }

    /// Takes all the space that the journal will ever need, and writes the head.
    fn fill(&self, head: &[u8], table_len: u64) -> io::Result<()> {
        let len = self.table + table_len;
        let reserved = retry_on_intr(|| fallocate(&self.file, FallocateFlags::empty(), 0, len));
        match reserved {
            // Not every file system can; writing does it as well, only later.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno.into()),
        }
        let zeros = [0; BATCH];
        let mut at = self.table;
        while at < len {
            let now = (len - at).min(BATCH as u64);
            self.file.write_all_at(&zeros[..now as usize], at)?;
            at += now;
        }
        self.file.write_all_at(head, 0)
    }

    /// Opens a journal of an earlier put. `None` when it is not a whole one, or of another version.
    pub(super) fn open(file: OwnedFd, boot: BootId) -> io::Result<Option<(Header, Journal)>> {
        let file = File::from(file);
        let Some(header) = read_header(&file)? else {
            return Ok(None);
        };
        let Some(layout) = Layout::new(header.size, &header.holes) else {
            return Ok(None);
        };
        let table = header.encode().len() as u64;
        let len = table + layout.pieces() * ENTRY_LEN;
        if u64::try_from(fstat(&file)?.st_size) != Ok(len) {
            return Ok(None);
        }
        let entries = Entries {
            journal: header.journal,
            boot,
        };
        let journal = Journal {
            file,
            entries,
            layout,
            table,
        };
        Ok(Some((header, journal)))
    }

    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Notes pieces that follow one another: the first, and the checksum of each.
    fn note(&self, first: u64, checksums: &[u32], state: State) -> io::Result<()> {
        let words: Vec<u8> = checksums
            .iter()
            .zip(first..)
            .flat_map(|(crc, piece)| self.entries.encode(piece, *crc, state).to_le_bytes())
            .collect();
        self.file
            .write_all_at(&words, self.table + first * ENTRY_LEN)
    }

    /// Makes it a journal of nothing: whoever opens it from now on finds none.
    fn void(&self) -> io::Result<()> {
        self.file.set_len(0).or_else(|_| {
            // A file system that takes no more changes may still take this, in its cache, and that is what counts in this boot.
            self.file.write_all_at(&[0; PRELUDE], 0)
        })
    }

    /// Forgets a piece.
    pub(super) fn forget(&self, piece: u64) -> io::Result<()> {
        let at = self.table + piece * ENTRY_LEN;
        self.file.write_all_at(&[0; ENTRY_LEN as usize], at)
    }

    /// Calls `found` for each piece that is there, in order: its number, its state and its checksum.
    pub(super) fn scan(&self, mut found: impl FnMut(u64, State, u32)) -> io::Result<()> {
        let mut buffer = vec![0; BATCH * ENTRY_LEN as usize];
        let mut piece = 0;
        while piece < self.layout.pieces() {
            let number = (self.layout.pieces() - piece).min(BATCH as u64);
            let bytes = &mut buffer[..(number * ENTRY_LEN) as usize];
            self.file
                .read_exact_at(bytes, self.table + piece * ENTRY_LEN)?;
            let (words, _) = bytes.as_chunks();
            for word in words {
                if let Some((state, crc)) = self.entries.decode(piece, u64::from_le_bytes(*word)) {
                    found(piece, state, crc);
                }
                piece += 1;
            }
        }
        Ok(())
    }
}

impl AsFd for Journal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn read_header(file: &File) -> io::Result<Option<Header>> {
    let mut prelude = [0; PRELUDE];
    let mut bytes = match read_whole(file, &mut prelude)? {
        true => vec![0; header::length(&prelude).unwrap_or(0)],
        false => return Ok(None),
    };
    if !read_whole(file, &mut bytes)? {
        return Ok(None);
    }
    Ok(Header::decode(&bytes))
}

/// Fills a buffer from the beginning of a file; `false` when the file is shorter.
fn read_whole(file: &File, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact_at(buffer, 0) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
