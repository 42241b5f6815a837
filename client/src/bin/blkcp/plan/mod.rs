//! From the words of a command line to what is to be done.
//!
//! ```text
//!   words ─► roots ─► tree of the source (local | remote) ──────────────────┐
//!                        │ filter                                           ├─► compare ─► Plan
//!                        └──► what the target has of it (remote | local) ───┘
//! ```
//!
//! Every path has a name: it is relative to the destination, as bytes, the same at both ends. Of the destination itself it is empty.

mod compare;
mod extras;
mod itemize;
mod local;
mod remote;
mod roots;
mod target;
mod there;

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use blk_client::RemotePath;
use blk_proto::message::{Attributes, FileKind};

use crate::failure::Failure;
use crate::filter::{FilesFrom, Filter};

pub use compare::{Attribution, Count, Original, Plan, Rules, compare};
pub use itemize::{Change, Way};
#[cfg(test)]
pub use local::look;
pub use local::{Version, scan_local};
pub use remote::{is_unchanged, look_remote, scan_remote};
pub use roots::{check_get, local_name, means_content, roots_get, roots_put};
pub use target::look_local;
pub use there::There;

/// Something in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<S> {
    /// Where it is.
    pub place: S,
    /// Its path relative to the destination.
    pub name: Vec<u8>,
    /// What it is.
    pub attributes: Attributes,
    /// Where it leads, when it is a link that is to be copied.
    pub link: Option<Vec<u8>>,
    /// What tells, beside the attributes, whether it has changed; of local files only.
    pub version: Option<Version>,
}

/// What the sources are and hold, as far as it is to be copied, sorted by name: a directory comes before what is in it.
pub type Tree<S> = Vec<Found<S>>;

/// What of the sources is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// Directories, with everything in them.
    pub recursive: bool,
    /// Links are copied as links.
    pub links: bool,
    /// What is left out.
    pub filter: &'a Filter,
    /// Only these, below the one source.
    pub files_from: Option<&'a FilesFrom>,
}

/// One file, link or directory to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item<From, To> {
    /// Where it is.
    pub source: From,
    /// Where it goes.
    pub target: To,
    /// Bytes, when it is a file.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
}

/// Where something is, at either end.
pub trait Place: Clone + PartialEq {
    /// The place with a path below it; with the empty path, the place itself.
    fn below(&self, name: &[u8]) -> Self;
    /// For messages.
    fn shown(&self) -> String;
    /// The last component.
    fn last(&self) -> Vec<u8>;
    /// Whether mode and time may be set: those of an export itself are its owner's.
    fn has_attributes(&self) -> bool;
}

impl Place for PathBuf {
    fn below(&self, name: &[u8]) -> Self {
        match name {
            b"" => self.clone(),
            name => self.join(OsStr::from_bytes(name)),
        }
    }

    fn shown(&self) -> String {
        self.display().to_string()
    }

    fn last(&self) -> Vec<u8> {
        let name = self.file_name().unwrap_or_default();
        name.as_bytes().to_vec()
    }

    fn has_attributes(&self) -> bool {
        true
    }
}

impl Place for RemotePath {
    fn below(&self, name: &[u8]) -> Self {
        match name {
            b"" => self.clone(),
            name => self.join(name),
        }
    }

    fn shown(&self) -> String {
        self.to_string()
    }

    fn last(&self) -> Vec<u8> {
        self.name().unwrap_or(self.export.as_bytes()).to_vec()
    }

    fn has_attributes(&self) -> bool {
        !self.path.is_empty()
    }
}

/// Sorts what was found in all sources. What was found twice is there once, and directories of one name become one; of anything else
/// of one name, the second would replace the first.
fn merged<S: Place>(mut tree: Tree<S>) -> Result<Tree<S>, Failure> {
    // Stable: the first source comes first.
    tree.sort_by(|one, other| one.name.cmp(&other.name));
    for pair in tree.windows(2) {
        let is_directory = |found: &Found<S>| found.attributes.kind == FileKind::Directory;
        let same = pair[0].place == pair[1].place || pair.iter().all(is_directory);
        if pair[0].name == pair[1].name && !same {
            return Err(Failure::Usage(format!(
                "{} and {} would both become {:?}: copy them one at a time, under different names",
                pair[0].place.shown(),
                pair[1].place.shown(),
                String::from_utf8_lossy(&pair[0].name)
            )));
        }
    }
    tree.dedup_by(|second, first| second.name == first.name);
    Ok(tree)
}

/// Whether the destination is to be a directory that things are copied into, not the name of what is copied.
fn is_into<S>(tree: &Tree<S>) -> bool {
    tree.iter()
        .any(|found| !found.name.is_empty() || found.attributes.kind == FileKind::Directory)
}

/// The directories that names of a tree are in, without the destination and what is in the tree itself: a filter may have left them out.
fn implied<S>(tree: &Tree<S>) -> BTreeSet<&[u8]> {
    let named: HashSet<&[u8]> = tree.iter().map(|found| found.name.as_slice()).collect();
    let names = tree.iter().flat_map(|found| ancestors(&found.name));
    names
        .filter(|name| !name.is_empty() && !named.contains(name))
        .collect()
}

/// The names of the directories that a name is in, the nearest first; the last one is that of the destination.
fn ancestors(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(parent(name), |name| parent(name))
}

/// A name and one more component.
fn join(name: &[u8], component: &[u8]) -> Vec<u8> {
    match name {
        b"" => component.to_vec(),
        name => [name, b"/", component].concat(),
    }
}

/// The name of the directory that a name is in; `None` for the destination itself.
fn parent(name: &[u8]) -> Option<&[u8]> {
    match name.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => Some(&name[..slash]),
        None => (!name.is_empty()).then_some(b""),
    }
}
