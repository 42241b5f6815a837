//! Exports: the directories that the daemon serves, and the way from a peer's path to a file.
//!
//! ```text
//!   "media" + b"a/b/c" ──► ExportPath (syntax) ──► openat2(root of "media", RESOLVE_BENEATH) ──► fd
//!                             │                          │
//!                             └ absolute, "..": OutsideExport, before the kernel is asked
//!                                                        └ a link out of the tree: OutsideExport
//! ```
//!
//! Invariants:
//!
//! - An export's directory is opened once, at start; a directory that is later mounted or renamed
//!   over its name does not change what is served.
//! - Nothing outside an export is opened, read, replaced or looked at. The kernel decides that, at
//!   the moment of opening (openat2(2), RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS); the check of
//!   the syntax in front of it is for clear messages.
//! - Symbolic links that stay within the export are followed, also as the last component of a path
//!   to read or to ask attributes of. A put replaces a link of the target's name itself and never
//!   writes through it, so the file that was transferred is the one that has the name.
//! - `.blockd` at the root of an export holds the partial files of puts. No path names it, at any level, no listing shows it,
//!   and no link leads into it.

mod access;
mod attributes;
mod directories;
mod edit;
mod error;
mod link;
mod listing;
mod path;
mod remove;
mod rename;
mod resolve;
mod small;
mod spec;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use blk_datapath::files::PartialStore;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, retry_on_intr};

pub use directories::MadeDirectories;
pub use error::{AccessError, ExportError};
pub use listing::{ENTRY_OVERHEAD, LISTING_MAX, PAGE_BYTES, Page, Snapshot};
pub use path::{ExportPath, PATH_MAX};
pub(crate) use remove::REMOVE;
pub use remove::Removable;
pub(crate) use rename::RENAME;
pub use rename::Renamable;
pub use small::Places;
pub use spec::{EXPORT_NAME_MAX, ExportSpec};

/// The exports of a daemon, by name. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Exports {
    exports: Arc<BTreeMap<String, Arc<Export>>>,
}

impl Exports {
    /// Opens the directory of each export.
    ///
    /// # Errors
    ///
    /// [`ExportError`] for a name that is invalid or given twice, and for a directory that does
    /// not exist, is none, or cannot be opened.
    pub fn open(specs: &[ExportSpec]) -> Result<Exports, ExportError> {
        let mut exports = BTreeMap::new();
        for spec in specs {
            let export = Export::open(spec)?;
            if exports
                .insert(spec.name.clone(), Arc::new(export))
                .is_some()
            {
                return Err(ExportError::Duplicate {
                    name: spec.name.clone(),
                });
            }
        }
        Ok(Exports {
            exports: Arc::new(exports),
        })
    }

    /// The export of that name.
    ///
    /// # Errors
    ///
    /// [`AccessError::NoSuchExport`].
    pub fn get(&self, name: &str) -> Result<&Arc<Export>, AccessError> {
        self.exports
            .get(name)
            .ok_or_else(|| AccessError::NoSuchExport {
                name: name.to_owned(),
            })
    }

    /// All exports, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Export> {
        self.exports.values().map(AsRef::as_ref)
    }
}

/// One directory that the daemon serves.
#[derive(Debug)]
pub struct Export {
    spec: ExportSpec,
    root: OwnedFd,
    partials: Arc<PartialStore>,
}

impl Export {
    fn open(spec: &ExportSpec) -> Result<Export, ExportError> {
        spec::check_export_name(&spec.name)?;
        // For reading, not O_PATH: files made directly in it need it synced.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = retry_on_intr(|| openat(CWD, &spec.directory, flags, Mode::empty()));
        let failed = |errno: Errno| match errno {
            Errno::NOENT => ExportError::Missing { spec: spec.clone() },
            Errno::NOTDIR => ExportError::NotDirectory { spec: spec.clone() },
            errno => ExportError::Open {
                spec: spec.clone(),
                source: errno.into(),
            },
        };
        let root = opened.map_err(failed)?;
        let second = root.try_clone().map_err(|source| ExportError::Open {
            spec: spec.clone(),
            source,
        })?;
        Ok(Export {
            partials: Arc::new(PartialStore::beneath(second)),
            root,
            spec: spec.clone(),
        })
    }

    /// The files of puts that can be resumed.
    pub fn partials(&self) -> &Arc<PartialStore> {
        &self.partials
    }

    /// The name that peers use.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The directory as it was configured.
    pub fn directory(&self) -> &Path {
        &self.spec.directory
    }
}
