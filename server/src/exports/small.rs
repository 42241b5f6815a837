//! Small files of an export: where they go, and what is in them.

use std::collections::HashMap;
use std::sync::Arc;

use blk_datapath::files::{
    FileError, SmallSource, SourceFile, StoreFile, StorePlace, check_regular, read_small_fd,
};
use blk_proto::message::SmallFile;
use rustix::fs::{OFlags, fstat};
use rustix::io::Errno;

use super::resolve::confined;
use super::{Export, ExportPath, MadeDirectories};

/// The directories of one batch by their paths. Of no longer life: each path is resolved anew for the next batch, so a
/// directory that was renamed or replaced in between is seen as what it is then.
#[derive(Debug, Default)]
pub struct Places(HashMap<Vec<u8>, Arc<StorePlace>>);

impl Export {
    /// What the store needs to write this file; directories missing on the way are made, and are durable when this
    /// returns. To be called inside a `tokio_uring` runtime.
    ///
    /// # Errors
    ///
    /// As the resolution of the path.
    pub async fn place_small(
        &self,
        file: SmallFile,
        places: &mut Places,
        made: &MadeDirectories,
    ) -> Result<StoreFile, FileError> {
        let path = ExportPath::parse("create", &file.path)?;
        let Some((parent, name)) = path.split_last() else {
            return Err(FileError::new("create", path.label(), Errno::ISDIR));
        };
        let place = match places.0.get(parent.bytes()) {
            Some(place) => Arc::clone(place),
            None => {
                let directory = self.settled_directory("create", path, parent, made).await?;
                let place = Arc::new(StorePlace {
                    directory: Arc::new(directory),
                    staging: self.partials().staging(),
                });
                let known = Arc::clone(&place);
                places.0.insert(parent.bytes().to_vec(), known);
                place
            }
        };
        Ok(StoreFile {
            place,
            name: name.to_vec(),
            mode: file.mode,
            mtime_ns: file.mtime_ns,
            crc: file.crc,
            bytes: file.bytes,
            label: file.path,
        })
    }

    /// Reads the regular file `path` if it has at most `max` bytes; symbolic links are followed within the export. Blocks
    /// for the disk.
    ///
    /// # Errors
    ///
    /// As [`open_source`](Export::open_source), and what read(2) reports.
    pub fn read_small(&self, path: &[u8], max: usize) -> Result<SmallSource, FileError> {
        let path = ExportPath::parse("open", path)?;
        let failed = |errno| confined("open", path, errno);
        // Looked at before it is opened: opening alone has effects on FIFOs and devices.
        let seen = self.open_beneath(path, OFlags::PATH).map_err(failed)?;
        check_regular(&fstat(&seen).map_err(failed)?, path.label())?;
        let fd = self
            .open_beneath(path, SourceFile::OPEN_FLAGS)
            .map_err(failed)?;
        read_small_fd(&fd, max, path.label())
    }
}
