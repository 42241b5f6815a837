//! What has to go at the target: what the source does not have, and what is in the way.

use std::collections::{HashMap, HashSet};

use blk_proto::message::FileKind;

use super::compare::Comparison;
use super::{Change, Place, Tree, ancestors, parent};

/// Why something has to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// Something of another kind takes its name, or that of a directory that it is in.
    InTheWay,
    /// The source does not have it.
    Extra,
}

/// What the source has, and where things are made.
struct Sources<'t> {
    kinds: HashMap<&'t [u8], FileKind>,
    /// Directories that something is made in.
    entered: HashSet<Vec<u8>>,
}

impl<From: Place, To: Place> Comparison<'_, From, To> {
    /// Adds what is to be removed. Links in the place of directories always go, whatever the options: what is copied into such a directory
    /// would end up where the link leads.
    pub(super) fn remove(&mut self, tree: &Tree<From>) {
        let kind_of = |found: &super::Found<From>| found.attributes.kind;
        let made = self.making.iter();
        let sources = Sources {
            kinds: tree
                .iter()
                .map(|found| (found.name.as_slice(), kind_of(found)))
                .collect(),
            entered: made
                .flat_map(|name| ancestors(name).map(<[u8]>::to_vec))
                .collect(),
        };
        let mut seen: Vec<(&Vec<u8>, FileKind)> = self
            .there
            .seen
            .iter()
            .map(|(name, seen)| (name, seen.attributes.kind))
            .collect();
        // What is in a directory comes before it.
        seen.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        for (name, kind) in seen {
            // What the user named as the destination is never removed.
            if name.is_empty() || self.there.is_kept(name) {
                continue;
            }
            let Some(reason) = self.reason(&sources, name, kind) else {
                continue;
            };
            self.plan.changes.push(Change::deleted(name, kind));
            if let Some(parent) = parent(name) {
                self.touched.insert(parent.to_vec());
            }
            let target = self.base.below(name);
            match reason {
                Reason::InTheWay => self.plan.obstacles.push((target, kind)),
                Reason::Extra => self.plan.extras.push((target, kind)),
            }
        }
    }

    /// Why a name has to go, if it has to.
    fn reason(&self, sources: &Sources<'_>, name: &[u8], kind: FileKind) -> Option<Reason> {
        let of = |name: &[u8]| sources.kinds.get(name).copied();
        let replaced = |name: &[u8], kind: FileKind| {
            let differ = |source| (source == FileKind::Directory) != (kind == FileKind::Directory);
            of(name).is_some_and(differ) && self.making.contains(name)
        };
        let becomes_directory = of(name) == Some(FileKind::Directory) && self.making.contains(name);
        if kind == FileKind::Symlink && (becomes_directory || sources.entered.contains(name)) {
            return Some(Reason::InTheWay);
        }
        if !self.rules.delete {
            return None;
        }
        let inside = || ancestors(name).filter(|up| !up.is_empty());
        if replaced(name, kind) || inside().any(|up| replaced(up, FileKind::Directory)) {
            return Some(Reason::InTheWay);
        }
        if of(name).is_some() {
            return None;
        }
        // Only a directory that is copied says what is not to be in it: what takes the place of a directory and was skipped does not.
        let nearest = ancestors(name).find_map(of);
        (nearest == Some(FileKind::Directory)).then_some(Reason::Extra)
    }
}
