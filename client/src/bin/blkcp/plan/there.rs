//! What the target has already.

use std::collections::{HashMap, HashSet};

use blk_proto::message::Attributes;

use super::parent;

/// A name at the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it stands for; a link is a link.
    pub attributes: Attributes,
    /// Where it leads, when it is a link and that was asked.
    pub link: Option<Vec<u8>>,
}

/// What was seen at the target: nothing, where it was not looked at.
#[derive(Debug, Default)]
pub struct There {
    /// By name.
    pub(super) seen: HashMap<Vec<u8>, Seen>,
    /// Directories that hold, at whatever depth, what is not to be removed: a filter excludes it, or it is not complete.
    kept: HashSet<Vec<u8>>,
    /// The destination is at the other end and was reached through a link: its mode and time cannot be set by that name.
    pub(super) is_linked: bool,
}

impl There {
    /// What a name stands for there.
    pub fn get(&self, name: &[u8]) -> Option<&Seen> {
        self.seen.get(name)
    }

    /// Notes a name.
    pub fn add(&mut self, name: Vec<u8>, attributes: Attributes) {
        let link = None;
        self.seen.insert(name, Seen { attributes, link });
    }

    /// Notes where a link leads.
    pub fn set_link(&mut self, name: &[u8], link: Vec<u8>) {
        if let Some(seen) = self.seen.get_mut(name) {
            seen.link = Some(link);
        }
    }

    /// Something is not to be seen: as if it were not there, but it is kept.
    pub fn hide(&mut self, name: &[u8]) {
        self.seen.remove(name);
        self.keep(name);
    }

    /// Something is not to be removed, and so none of the directories that it is in.
    pub fn keep(&mut self, name: &[u8]) {
        let mut next = Some(name);
        while let Some(name) = next
            && self.kept.insert(name.to_vec())
        {
            next = parent(name);
        }
    }

    /// Whether a name has to stay, because of itself or of what is in it.
    pub fn is_kept(&self, name: &[u8]) -> bool {
        self.kept.contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_keeps_its_directories() {
        let mut there = There::default();
        there.keep(b"a/b/c");
        for kept in [&b"a/b/c"[..], b"a/b", b"a", b""] {
            assert!(there.is_kept(kept));
        }
        assert!(!there.is_kept(b"a/b/d"));
    }
}
