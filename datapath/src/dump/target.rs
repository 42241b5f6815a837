//! The file of a dump: what may be written to, and what is left when it takes no more.
//!
//! As with tcpdump an earlier dump of the same name is overwritten. Nothing else is: `--dump` with its file forgotten takes the
//! next word of the command line, which may be what was to be copied.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags, fcntl_getfl, fcntl_setfl, flock};
use rustix::io::Errno;

use super::DumpError;
use super::pcapng::{BYTE_ORDER_MAGIC, SECTION_HEADER};

/// Packets have the content of files: nobody else may read them.
const MODE: u32 = 0o600;
/// So long a FIFO waits for its reader, and so often it looks.
const READER_PATIENCE: Duration = Duration::from_secs(10);
const READER_RETRY: Duration = Duration::from_millis(20);

/// An open file.
#[derive(Debug)]
pub(super) struct Target {
    file: File,
    /// Bytes of whole blocks written; `None` for what cannot be cut.
    len: Option<u64>,
}

impl Target {
    /// Opens `path`; `-` is standard output.
    pub(super) fn open(path: &Path) -> Result<Self, DumpError> {
        if path == Path::new("-") {
            return Self::standard_output();
        }
        let kind = match path.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(cannot_open(path)(source)),
            Ok(metadata) => Some(metadata.file_type()),
        };
        match kind {
            None => regular(path),
            Some(kind) if kind.is_file() => regular(path),
            Some(kind) if kind.is_fifo() => fifo(path),
            Some(kind) if kind.is_char_device() => OpenOptions::new()
                .write(true)
                .open(path)
                .map(Self::stream)
                .map_err(cannot_open(path)),
            Some(_) => Err(DumpError::WrongKind(path.to_owned())),
        }
    }

    fn standard_output() -> Result<Self, DumpError> {
        let output = io::stdout();
        if output.is_terminal() {
            return Err(DumpError::Terminal);
        }
        let file = output.as_fd().try_clone_to_owned();
        let file = file.map_err(cannot_open(Path::new("-")))?;
        Ok(Self::stream(File::from(file)))
    }

    fn stream(file: File) -> Self {
        Self { file, len: None }
    }

    /// Writes whole blocks. What is left of them after a failure is cut off, where that can be done, so that the file ends
    /// with a whole block.
    pub(super) fn write(&mut self, blocks: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(blocks);
        match (&written, &mut self.len) {
            (Ok(()), Some(len)) => *len += blocks.len() as u64,
            (Err(_), Some(len)) => {
                // Readers can do with a last block that is not whole, too.
                let _ = self.file.set_len(*len);
            }
            (_, None) => {}
        }
        written
    }
}

fn cannot_open(path: &Path) -> impl Fn(io::Error) -> DumpError {
    move |source| DumpError::Open {
        file: path.to_owned(),
        source,
    }
}

/// A new file, or one that holds an earlier dump.
fn regular(path: &Path) -> Result<Target, DumpError> {
    let fail = cannot_open(path);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(MODE)
        .open(path)
        .map_err(&fail)?;
    let metadata = file.metadata().map_err(&fail)?;
    if !metadata.is_file() {
        return Err(DumpError::WrongKind(path.to_owned()));
    }
    if !is_replaceable(&mut file, &metadata).map_err(&fail)? {
        return Err(DumpError::NotADump(path.to_owned()));
    }
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(DumpError::InUse(path.to_owned())),
        // A file system without locks.
        Err(error) => tracing::debug!(%error, file = %path.display(), "the dump is not locked"),
    }
    if metadata.len() > 0 {
        file.set_len(0).map_err(&fail)?;
        io::Seek::rewind(&mut file).map_err(&fail)?;
        let mut permissions = metadata.permissions();
        permissions.set_mode(MODE);
        file.set_permissions(permissions).map_err(&fail)?;
    }
    Ok(Target { file, len: Some(0) })
}

/// Whether the file is empty or begins as a pcapng file does.
fn is_replaceable(file: &mut File, metadata: &Metadata) -> io::Result<bool> {
    if metadata.len() == 0 {
        return Ok(true);
    }
    let mut start = [0; 12];
    match file.read_exact(&mut start) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        outcome => outcome?,
    }
    let [kind, _, order] = [0, 4, 8].map(|at| &start[at..at + 4]);
    let orders = [
        BYTE_ORDER_MAGIC.to_le_bytes(),
        BYTE_ORDER_MAGIC.to_be_bytes(),
    ];
    Ok(kind == SECTION_HEADER.to_le_bytes() && orders.iter().any(|magic| order == magic))
}

/// A FIFO is opened when it has a reader. Waiting for one by open(2) could not be interrupted by a signal that is caught.
fn fifo(path: &Path) -> Result<Target, DumpError> {
    let started = Instant::now();
    let file = loop {
        match rustix::fs::open(
            path,
            OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        ) {
            Ok(file) => break file,
            Err(Errno::NXIO) if started.elapsed() < READER_PATIENCE => {
                thread::sleep(READER_RETRY);
            }
            Err(Errno::NXIO) => return Err(DumpError::NoReader(path.to_owned())),
            Err(error) => return Err(cannot_open(path)(error.into())),
        }
    };
    // From here on the writing thread may wait for the reader.
    fcntl_getfl(&file)
        .and_then(|flags| fcntl_setfl(&file, flags - OFlags::NONBLOCK))
        .map_err(|error| cannot_open(path)(error.into()))?;
    Ok(Target::stream(File::from(file)))
}
