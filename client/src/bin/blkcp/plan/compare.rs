//! What to do about each name, from what the source has and what the target has.

use std::collections::HashSet;

use blk_proto::message::{Attributes, FileKind};

use super::itemize::Way;
use super::there::Seen;
use super::{Change, Found, Item, Place, There, Tree, Version, ancestors, parent};

/// What decides, besides source and target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Files leave or come.
    pub way: Way,
    /// Files are copied whose size and time of modification are the same.
    pub ignore_times: bool,
    /// Nothing is made that is not there.
    pub existing: bool,
    /// Nothing is replaced.
    pub ignore_existing: bool,
    /// Files are left that are newer at the target.
    pub update: bool,
    /// Links are copied as links.
    pub links: bool,
    /// Directories get the mode and the time of modification of their source; unchanged files the mode.
    pub attributes: bool,
    /// What only the target has is removed, in the directories that are copied.
    pub delete: bool,
}

/// Files that are not copied, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// How many.
    pub files: u64,
    /// Bytes in all of them.
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, attributes: &Attributes) {
        self.files += 1;
        self.bytes += attributes.size;
    }
}

/// A directory or file that only gets its mode and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribution<To> {
    /// Where it is.
    pub target: To,
    /// Permission bits.
    pub mode: u32,
    /// Time of last modification, in nanoseconds since 1970.
    pub mtime_ns: i64,
}

/// A source of which this run makes a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original<From> {
    /// Where it is.
    pub place: From,
    /// What it was when it was looked at.
    pub attributes: Attributes,
    /// See [`Found::version`].
    pub version: Option<Version>,
}

/// What is to be done, and what not.
#[derive(Debug)]
pub struct Plan<From, To> {
    /// Directories to make at the target, each before what is in it.
    pub directories: Vec<Item<From, To>>,
    /// Files to copy.
    pub files: Vec<Item<From, To>>,
    /// Links to make, and where they lead.
    pub links: Vec<(To, Vec<u8>)>,
    /// Modes and times to set when everything else is done, what is in a directory before the directory.
    pub attributions: Vec<Attribution<To>>,
    /// To remove first: what is in the way of something of another kind; a link in the place of a directory always, the rest only where
    /// things may be removed. Directories come after what is in them.
    pub obstacles: Vec<(To, FileKind)>,
    /// To remove at the end: what the source does not have.
    pub extras: Vec<(To, FileKind)>,
    /// What may be removed at the source in the end.
    pub originals: Vec<Original<From>>,
    /// What is neither a file nor a directory, and is left out.
    pub skipped: Vec<String>,
    /// What the target has already, by size and time of modification.
    pub unchanged: Count,
    /// What the options leave as it is at the target.
    pub passed_over: Count,
    /// All changes, sorted by name, for people.
    pub changes: Vec<Change>,
}

impl<From, To> Default for Plan<From, To> {
    fn default() -> Self {
        Self {
            directories: Vec::new(),
            files: Vec::new(),
            links: Vec::new(),
            attributions: Vec::new(),
            obstacles: Vec::new(),
            extras: Vec::new(),
            originals: Vec::new(),
            skipped: Vec::new(),
            unchanged: Count::default(),
            passed_over: Count::default(),
            changes: Vec::new(),
        }
    }
}

impl<From, To> Plan<From, To> {
    /// Bytes of all the files that are to be copied.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// How many names are to be removed at the target.
    pub fn deletions(&self) -> usize {
        self.obstacles.len() + self.extras.len()
    }
}

/// Compares what the source has with what the target has below `base`.
pub fn compare<From: Place, To: Place>(
    tree: Tree<From>,
    there: &There,
    base: &To,
    rules: &Rules,
) -> Plan<From, To> {
    let mut comparison = Comparison {
        there,
        base,
        rules,
        plan: Plan::default(),
        making: HashSet::new(),
        touched: HashSet::new(),
        left: HashSet::new(),
    };
    for found in &tree {
        comparison.decide(found);
    }
    comparison.remove(&tree);
    if rules.attributes {
        comparison.attribute(&tree);
    }
    let mut plan = comparison.plan;
    plan.changes
        .sort_by(|one, other| one.name().cmp(other.name()));
    plan
}

pub(super) struct Comparison<'a, From, To> {
    pub(super) there: &'a There,
    pub(super) base: &'a To,
    pub(super) rules: &'a Rules,
    pub(super) plan: Plan<From, To>,
    /// What is made or replaced.
    pub(super) making: HashSet<Vec<u8>>,
    /// Directories in which something is made, replaced or removed, which changes their times.
    pub(super) touched: HashSet<Vec<u8>>,
    /// Directories of the source that are links at the target, and that the options leave so; nothing is copied into them.
    pub(super) left: HashSet<Vec<u8>>,
}

/// What becomes of a file or link.
enum Verdict {
    /// It is copied.
    Copy,
    /// The target has it.
    Unchanged,
    /// The options say to leave what is there.
    PassOver,
}

impl<'a, From: Place, To: Place> Comparison<'a, From, To> {
    fn decide(&mut self, found: &Found<From>) {
        let seen = self.seen(&found.name);
        if ancestors(&found.name).any(|up| self.left.contains(up)) {
            if found.attributes.kind != FileKind::Directory {
                self.plan.passed_over.add(&found.attributes);
            }
            return;
        }
        match found.attributes.kind {
            FileKind::Directory => self.directory(found, seen),
            FileKind::File => self.file(found, seen),
            FileKind::Symlink if self.rules.links => self.link(found, seen),
            _ => {
                let what = found.place.shown();
                let text = format!("{what}: neither a file nor a directory");
                self.plan.skipped.push(text);
            }
        }
    }

    /// What has a name at the target. Nothing is there below what is no directory: a link there leads to something else.
    fn seen(&self, name: &[u8]) -> Option<&'a Seen> {
        let hides = |up: &Seen| up.attributes.kind != FileKind::Directory;
        match ancestors(name).any(|up| self.there.get(up).is_some_and(hides)) {
            true => None,
            false => self.there.get(name),
        }
    }

    fn directory(&mut self, found: &Found<From>, seen: Option<&Seen>) {
        let is = |kind| seen.is_some_and(|seen| seen.attributes.kind == kind);
        if is(FileKind::Directory) || (seen.is_none() && self.rules.existing) {
            return;
        }
        let leaves = self.rules.existing || self.rules.ignore_existing;
        if is(FileKind::Symlink) && leaves {
            self.left.insert(found.name.clone());
            return;
        }
        self.plan.directories.push(self.item(found));
        self.made(found, None);
    }

    fn file(&mut self, found: &Found<From>, seen: Option<&Seen>) {
        match self.verdict(found, seen) {
            Verdict::PassOver => self.plan.passed_over.add(&found.attributes),
            Verdict::Unchanged => {
                self.plan.unchanged.add(&found.attributes);
                let before = seen.map(|seen| seen.attributes);
                if let Some(before) = before.filter(|_| self.rules.attributes) {
                    self.correct(found, &before);
                }
            }
            Verdict::Copy => {
                self.plan.files.push(self.item(found));
                let same_kind = seen.filter(|seen| seen.attributes.kind == FileKind::File);
                self.made(found, same_kind.map(|seen| &seen.attributes));
                if !seen.is_some_and(|seen| looks_same(&found.attributes, &seen.attributes)) {
                    self.original(found);
                }
            }
        }
    }

    fn verdict(&self, found: &Found<From>, seen: Option<&Seen>) -> Verdict {
        let Some(seen) = seen else {
            return match self.rules.existing {
                true => Verdict::PassOver,
                false => Verdict::Copy,
            };
        };
        let is_file = seen.attributes.kind == FileKind::File;
        let is_newer = seen.attributes.mtime_ns > found.attributes.mtime_ns;
        if self.rules.ignore_existing || (self.rules.update && is_file && is_newer) {
            Verdict::PassOver
        } else if !self.rules.ignore_times && is_same(&found.attributes, &seen.attributes) {
            Verdict::Unchanged
        } else {
            Verdict::Copy
        }
    }

    fn link(&mut self, found: &Found<From>, seen: Option<&Seen>) {
        let Some(link) = &found.link else { return };
        let was_link = seen.filter(|seen| seen.attributes.kind == FileKind::Symlink);
        if seen.map_or(self.rules.existing, |_| self.rules.ignore_existing) {
            self.plan.passed_over.add(&found.attributes);
            return;
        }
        if was_link.is_some_and(|seen| seen.link.as_ref() == Some(link)) {
            self.plan.unchanged.add(&found.attributes);
            return;
        }
        let target = self.base.below(&found.name);
        self.plan.links.push((target, link.clone()));
        self.original(found);
        self.made(found, was_link.map(|seen| &seen.attributes));
    }

    /// Notes that something is made or replaced.
    fn made(&mut self, found: &Found<From>, before: Option<&Attributes>) {
        let link = found.link.as_deref();
        let shown = shown(found);
        let change = Change::made(self.rules.way, &shown, &found.attributes, before, link);
        self.plan.changes.push(change);
        self.making.insert(found.name.clone());
        if let Some(parent) = parent(&found.name) {
            self.touched.insert(parent.to_vec());
        }
    }

    /// Notes that it may be removed in the end. Never for what the target had already: that may be the source itself, by another way, and
    /// nothing that is sent tells.
    fn original(&mut self, found: &Found<From>) {
        self.plan.originals.push(Original {
            place: found.place.clone(),
            attributes: found.attributes,
            version: found.version,
        });
    }

    /// Notes that the mode or the time of what is there already are set, if they differ.
    fn correct(&mut self, found: &Found<From>, before: &Attributes) -> bool {
        let now = &found.attributes;
        let differs = (now.mode ^ before.mode) & 0o777 != 0 || now.mtime_ns != before.mtime_ns;
        if differs {
            let change = Change::attributes(&shown(found), now, before);
            self.plan.changes.push(change);
            self.set(found);
        }
        differs
    }

    fn set(&mut self, found: &Found<From>) {
        self.plan.attributions.push(Attribution {
            target: self.base.below(&found.name),
            mode: found.attributes.mode & 0o777,
            mtime_ns: found.attributes.mtime_ns,
        });
    }

    /// Adds the directories whose modes and times are to be set at the end.
    fn attribute(&mut self, tree: &Tree<From>) {
        for found in tree.iter().rev() {
            let is_directory = found.attributes.kind == FileKind::Directory;
            let is_linked = found.name.is_empty() && self.there.is_linked;
            let has_attributes = self.base.below(&found.name).has_attributes() && !is_linked;
            if !is_directory || !has_attributes {
                continue;
            }
            let seen = self.seen(&found.name).map(|seen| seen.attributes);
            let sets = match seen.filter(|seen| seen.kind == FileKind::Directory) {
                Some(before) => !self.correct(found, &before) && self.touched.contains(&found.name),
                None => self.making.contains(&found.name),
            };
            if sets {
                self.set(found);
            }
        }
    }

    fn item(&self, found: &Found<From>) -> Item<From, To> {
        Item {
            source: found.place.clone(),
            target: self.base.below(&found.name),
            size: found.attributes.size,
            mode: found.attributes.mode & 0o7777,
        }
    }
}

/// The name for people: a file that takes the destination's name is known by its own.
fn shown<S: Place>(found: &Found<S>) -> Vec<u8> {
    match found.attributes.kind {
        FileKind::Directory => found.name.clone(),
        _ if found.name.is_empty() => found.place.last(),
        _ => found.name.clone(),
    }
}

/// Whether a file at the target is taken for a copy of the source. Times that no number of nanoseconds can tell are never the same:
/// files of different times would look alike.
fn is_same(source: &Attributes, target: &Attributes) -> bool {
    let told = !matches!(source.mtime_ns, i64::MIN | i64::MAX);
    told && looks_same(source, target)
}

/// Whether a file at the target could be a copy of the source, or the source itself.
fn looks_same(source: &Attributes, target: &Attributes) -> bool {
    target.kind == FileKind::File
        && source.size == target.size
        && source.mtime_ns == target.mtime_ns
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
