//! What has to go at the target: what the source does not have, and what is in the way.

use std::collections::HashMap;

use blk_proto::message::FileKind;

use super::compare::Comparison;
use super::{Change, Place, Tree, parent};

impl<From: Place, To: Place> Comparison<'_, From, To> {
    /// Adds what is to be removed: what the source does not have, and what is in the way.
    pub(super) fn remove(&mut self, tree: &Tree<From>) {
        let sources: HashMap<&[u8], FileKind> = tree
            .iter()
            .map(|found| (found.name.as_slice(), found.attributes.kind))
            .collect();
        let mut seen: Vec<(&Vec<u8>, FileKind)> = self
            .there
            .seen
            .iter()
            .map(|(name, seen)| (name, seen.attributes.kind))
            .collect();
        // What is in a directory comes before it.
        seen.sort_unstable_by(|(one, _), (other, _)| other.cmp(one));
        for (name, kind) in seen {
            let replaced = |name: &[u8], kind| {
                let source = sources.get(name).copied();
                let differ =
                    |source| (source == FileKind::Directory) != (kind == FileKind::Directory);
                // What the user named as the destination is never removed.
                !name.is_empty() && source.is_some_and(differ) && self.making.contains(name)
            };
            let inside = std::iter::successors(parent(name), |name| parent(name));
            let in_the_way = replaced(name, kind)
                || inside
                    .into_iter()
                    .any(|up| replaced(up, FileKind::Directory));
            if !in_the_way && sources.contains_key(name.as_slice()) {
                continue;
            }
            let target = self.base.below(name);
            if name.is_empty() || self.there.is_kept(name) {
                continue;
            }
            self.plan.changes.push(Change::deleted(name, kind));
            if let Some(parent) = parent(name) {
                self.touched.insert(parent.to_vec());
            }
            match in_the_way {
                true => self.plan.obstacles.push((target, kind)),
                false => self.plan.extras.push((target, kind)),
            }
        }
    }
}
