//! The operations on names in an export.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use blk_datapath::engine::ByteRange;
use blk_datapath::files::{
    FileError, FileErrorKind, PendingTarget, Resumption, SourceFile, TargetSpec, attributes_of,
    check_regular,
};
use blk_proto::message::{Attributes, Identity};
use rustix::fs::{FileType, Mode, OFlags, fchmod, fstat};
use rustix::io::Errno;

use super::resolve::confined;
use super::{Export, ExportPath, MadeDirectories};

/// Of directories that a put implies: what mkdir(1) uses; the umask applies.
const IMPLIED_MODE: Mode = Mode::from_raw_mode(0o777);

impl Export {
    /// Starts to receive the file `path`; directories missing on the way are made, and are durable
    /// when this returns. With an `identity` the put can be resumed, and goes on where an earlier one of the same identity ended
    /// ([`PendingTarget::begin`]); while somebody else has that, this is refused. To be called inside a `tokio_uring` runtime.
    ///
    /// # Errors
    ///
    /// As [`PendingTarget::create_in_ring`] and as the resolution of the path; [`InUse`](blk_datapath::files::FileErrorKind::InUse).
    pub async fn create_target(
        &self,
        path: &[u8],
        spec: TargetSpec,
        identity: Option<Identity>,
        holes: &[ByteRange],
        made: &MadeDirectories,
    ) -> Result<PendingTarget, FileError> {
        let path = ExportPath::parse("create", path)?;
        let Some((parent, name)) = path.split_last() else {
            return Err(FileError::new("create", path.label(), Errno::ISDIR));
        };
        let directory = self.settled_directory("create", path, parent, made).await?;
        let name = OsStr::from_bytes(name);
        let created = match identity {
            Some(identity) => {
                let resumption = Resumption {
                    store: self.partials(),
                    path: path.bytes(),
                    identity,
                    refuse_in_use: true,
                };
                PendingTarget::begin(resumption, directory, name, spec, holes).await
            }
            None => PendingTarget::create_in_ring(directory, name, spec, holes).await,
        };
        let mut target = created.map_err(|error| error.with_path(path.bytes()))?;
        target.set_label(path.bytes());
        target.beside(Arc::clone(self.partials()), path.bytes());
        Ok(target)
    }

    /// Opens the regular file `path` for reading; symbolic links are followed within the export.
    ///
    /// # Errors
    ///
    /// As [`SourceFile::open`] and as the resolution of the path.
    pub fn open_source(&self, path: &[u8]) -> Result<SourceFile, FileError> {
        let path = ExportPath::parse("open", path)?;
        let failed = |errno| confined("open", path, errno);
        // Looked at before it is opened: opening alone has effects on FIFOs and devices.
        let seen = self.open_beneath(path, OFlags::PATH).map_err(failed)?;
        check_regular(&fstat(&seen).map_err(failed)?, path.label())?;
        let fd = self
            .open_beneath(path, SourceFile::OPEN_FLAGS)
            .map_err(failed)?;
        SourceFile::from_fd(fd, path.bytes())
    }

    /// The attributes of `path`; symbolic links are followed within the export.
    ///
    /// # Errors
    ///
    /// As the resolution of the path.
    pub fn attributes(&self, path: &[u8]) -> Result<Attributes, FileError> {
        let path = ExportPath::parse("look up", path)?;
        let failed = |errno| confined("look up", path, errno);
        let fd = self.open_beneath(path, OFlags::PATH).map_err(failed)?;
        Ok(attributes_of(&fstat(&fd).map_err(failed)?))
    }

    /// Makes the directory `path` and those missing on the way to it; durable when this returns.
    /// A directory that exists already is a success and keeps its mode. To be called inside a
    /// `tokio_uring` runtime.
    ///
    /// # Errors
    ///
    /// `NotDirectory` when something else has the name, `Exists` when a link to nothing has it; and as the resolution of the path.
    pub async fn make_directory(
        &self,
        path: &[u8],
        mode: u32,
        made: &MadeDirectories,
    ) -> Result<(), FileError> {
        const OPERATION: &str = "make the directory";
        let path = ExportPath::parse(OPERATION, path)?;
        let Some((parent, name)) = path.split_last() else {
            return Ok(());
        };
        let failed = |error: io::Error| FileError::new(OPERATION, path.bytes(), error);
        let parent = self
            .settled_directory(OPERATION, path, parent, made)
            .await?;
        let result = made.make(&Arc::new(parent), name, Mode::RWXU).await;
        let existed = match result {
            Ok(()) => false,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => true,
            Err(error) => return Err(failed(error)),
        };
        let directory = match self.open_made(OPERATION, path) {
            Err(error) if existed && error.kind == FileErrorKind::NotFound => {
                let reason = "a link has that name, and what it leads to is not there";
                let kind = FileErrorKind::Exists;
                return Err(FileError::explained(kind, OPERATION, path.bytes(), reason));
            }
            opened => opened?,
        };
        if existed {
            return made.settled(&directory).await.map_err(failed);
        }
        fchmod(&directory, Mode::from_raw_mode(mode & 0o777)).map_err(|e| failed(e.into()))?;
        made.sync(Arc::new(directory)).await.map_err(failed)
    }

    /// Opens the directory that was just made, or found.
    fn open_made(
        &self,
        operation: &'static str,
        path: ExportPath<'_>,
    ) -> Result<OwnedFd, FileError> {
        let failed = |errno| confined(operation, path, errno);
        let found = self.open_beneath(path, OFlags::PATH).map_err(failed)?;
        let stat = fstat(&found).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Err(failed(Errno::NOTDIR));
        }
        self.open_directory(path).map_err(failed)
    }

    /// Opens the directory `directory`, on the way to `path`, making what is missing; it is
    /// durable when this returns.
    pub(super) async fn settled_directory(
        &self,
        operation: &'static str,
        path: ExportPath<'_>,
        directory: ExportPath<'_>,
        made: &MadeDirectories,
    ) -> Result<OwnedFd, FileError> {
        let fd = match self.open_directory(directory) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => {
                return self.make_missing(operation, path, directory, made).await;
            }
            Err(errno) => return Err(confined(operation, path, errno)),
        };
        made.settled(&fd)
            .await
            .map_err(|error| FileError::new(operation, path.bytes(), error))?;
        Ok(fd)
    }

    /// Goes down to `directory` one component at a time. Each prefix is resolved from the root of
    /// the export anew: a link may lead up, as long as it stays within.
    async fn make_missing(
        &self,
        operation: &'static str,
        path: ExportPath<'_>,
        directory: ExportPath<'_>,
        made: &MadeDirectories,
    ) -> Result<OwnedFd, FileError> {
        let failed = |error: io::Error| FileError::new(operation, path.bytes(), error);
        let outside = |errno| confined(operation, path, errno);
        let root = ExportPath::parse(operation, b"")?;
        let mut reached = Arc::new(self.open_directory(root).map_err(outside)?);
        for prefix in directory.prefixes() {
            let next = match (self.open_directory(prefix), prefix.split_last()) {
                (Err(Errno::NOENT), Some((_, name))) => {
                    match made.make(&reached, name, IMPLIED_MODE).await {
                        Ok(()) => {}
                        // Somebody was faster, or it is a link to nothing: opening it tells.
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                        Err(error) => return Err(failed(error)),
                    }
                    self.open_directory(prefix)
                }
                (opened, _) => opened,
            };
            let next = next.map_err(outside)?;
            made.settled(&next).await.map_err(failed)?;
            reached = Arc::new(next);
        }
        // Never shared for longer than the calls above.
        Arc::try_unwrap(reached).or_else(|shared| shared.try_clone().map_err(failed))
    }
}
