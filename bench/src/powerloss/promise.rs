//! Which contents a name may show after a loss of power.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::{AddAssign, Range};
use std::path::Path;

use blk_datapath::files::{PARTIALS_DIRECTORY, is_hidden_name};
use serde::{Deserialize, Serialize};

use super::claims::{self, Boot, Cells, Claimed};
use super::ranged::{Ranged, RangedWrite};

/// Content of a file, by length and checksum.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Content {
    /// Bytes.
    pub size: u64,
    /// CRC-32 (IEEE) of all of them.
    pub crc: u32,
}

impl Content {
    /// That of a file.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut crc = crc32fast::Hasher::new();
        let mut size = 0;
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => {
                    crc.update(&buffer[..length]);
                    size += length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let crc = crc.finalize();
        Ok(Self { size, crc })
    }
}

/// One version of a file.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Version {
    content: Content,
    /// By which a part of it is known.
    cells: Cells,
    /// Position of the log when nothing of it had been sent.
    begun: usize,
    /// Position of the log when it had been acknowledged.
    acknowledged: Option<usize>,
}

/// A version that is under way.
#[derive(Clone, Debug)]
pub struct Ticket {
    name: String,
    index: usize,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Names that showed a version.
    pub present: usize,
    /// Of those, the names for which a version had been acknowledged.
    pub promised: usize,
    /// Names that showed nothing, rightly.
    pub absent: usize,
    /// Hidden temporaries of blockd that were left.
    pub hidden: usize,
    /// Interrupted puts with a journal, and what those claim.
    pub claimed: Claimed,
    /// Bytes of files written in place that a sync had promised.
    pub ranged: u64,
}

impl AddAssign for Checked {
    fn add_assign(&mut self, other: Self) {
        self.present += other.present;
        self.promised += other.promised;
        self.absent += other.absent;
        self.hidden += other.hidden;
        self.claimed.partials += other.claimed.partials;
        self.claimed.bytes += other.claimed.bytes;
        self.ranged += other.ranged;
    }
}

/// All versions of all files, in the order in which they were begun. Versions of one name do not overlap in time.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Promises {
    files: BTreeMap<String, Vec<Version>>,
    /// Files that are written in place.
    ranged: BTreeMap<String, Ranged>,
    /// Ranges of the log that deserve more points.
    dwelt_on: Vec<Range<usize>>,
    #[serde(skip)]
    boot: Boot,
}

impl Promises {
    /// The file at `source` is about to be sent, under a name relative to the root of the file system.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn begin(&mut self, name: &str, source: &Path, position: usize) -> io::Result<Ticket> {
        let version = Version {
            content: Content::of(source)?,
            cells: Cells::of(source)?,
            begun: position,
            acknowledged: None,
        };
        let versions = self.files.entry(name.to_owned()).or_default();
        versions.push(version);
        Ok(Ticket {
            name: name.to_owned(),
            index: versions.len() - 1,
        })
    }

    /// A range of a file is about to be written in place. Nobody puts a file of this name.
    pub fn write(&mut self, name: &str, write: RangedWrite, position: usize) {
        let file = self.ranged.entry(name.to_owned()).or_default();
        file.write(write, position);
    }

    /// A sync has succeeded that was begun after all writes to the file so far were over.
    pub fn synced(&mut self, name: &str, position: usize) {
        let file = self.ranged.entry(name.to_owned()).or_default();
        file.synced(position);
    }

    /// A range of the log deserves more points than its share.
    pub fn dwell_on(&mut self, range: Range<usize>) {
        self.dwelt_on.push(range);
    }

    /// Those ranges.
    pub fn dwelt_on(&self) -> &[Range<usize>] {
        &self.dwelt_on
    }

    /// From which boot the journals of interrupted puts are looked at.
    pub fn look_from(&mut self, boot: Boot) {
        self.boot = boot;
    }

    /// A version was acknowledged.
    pub fn acknowledge(&mut self, ticket: &Ticket, position: usize) {
        if let Some(version) = self
            .files
            .get_mut(&ticket.name)
            .and_then(|versions| versions.get_mut(ticket.index))
        {
            version.acknowledged = Some(position);
        }
    }

    /// The positions at which something was acknowledged, in order.
    pub fn acknowledgements(&self) -> Vec<usize> {
        let mut positions: Vec<usize> = self
            .files
            .values()
            .flatten()
            .filter_map(|version| version.acknowledged)
            .chain(self.ranged.values().flat_map(Ranged::syncs))
            .collect();
        positions.sort_unstable();
        positions.dedup();
        positions
    }

    /// Looks at all files below `root` as a loss of power at `position` left them.
    ///
    /// # Errors
    /// The first file that breaks the promise: a sentence.
    pub fn check(&self, root: &Path, position: usize) -> Result<Checked, String> {
        let mut checked = Checked::default();
        for (name, versions) in &self.files {
            one(&root.join(name), name, versions, position, &mut checked)?;
        }
        for (name, file) in &self.ranged {
            let found = file.check(&root.join(name), position);
            match found.map_err(|wrong| format!("{name}: {wrong}"))? {
                Some(promised) => checked.ranged += promised,
                None => checked.absent += 1,
            }
        }
        for export in self.no_other(root, "", &mut checked)? {
            let claimed = self.claims(root, &export, position)?;
            checked.claimed.partials += claimed.partials;
            checked.claimed.bytes += claimed.bytes;
        }
        Ok(checked)
    }

    /// The journals of interrupted puts to an export claim what is there.
    fn claims(&self, root: &Path, export: &str, position: usize) -> Result<Claimed, String> {
        claims::check(&root.join(export), self.boot, |path| {
            let name = joined(export, &String::from_utf8_lossy(path));
            let versions = self.files.get(&name).into_iter().flatten();
            versions
                .filter(move |version| version.begun <= position)
                .map(|version| (version.content.size, &version.cells))
        })
    }

    /// There are no names that nobody gave. The directories that are roots of exports.
    fn no_other(
        &self,
        root: &Path,
        below: &str,
        checked: &mut Checked,
    ) -> Result<Vec<String>, String> {
        let mut exports = Vec::new();
        let entries = std::fs::read_dir(root.join(below))
            .map_err(|error| format!("/{below} cannot be listed: {error}"))?;
        for entry in entries {
            let entry = entry.map_err(|error| format!("/{below} cannot be listed: {error}"))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = joined(below, &name);
            // The file system's own, and blockd's: neither is a name that a client can see.
            if name == PARTIALS_DIRECTORY {
                exports.push(below.to_owned());
                continue;
            }
            if path == "lost+found" {
                continue;
            }
            let kind = entry
                .file_type()
                .map_err(|error| format!("{path}: no type: {error}"))?;
            if kind.is_dir() {
                exports.extend(self.no_other(root, &path, checked)?);
            } else if is_hidden_name(name.as_bytes()) {
                checked.hidden += 1;
            } else if !self.files.contains_key(&path) && !self.ranged.contains_key(&path) {
                return Err(format!("{path}: nobody put a file of this name"));
            }
        }
        Ok(exports)
    }
}

/// A path below another, which may be empty.
fn joined(below: &str, name: &str) -> String {
    match below {
        "" => name.to_owned(),
        below => format!("{below}/{name}"),
    }
}

/// Looks at one file.
fn one(
    path: &Path,
    name: &str,
    versions: &[Version],
    position: usize,
    checked: &mut Checked,
) -> Result<(), String> {
    let promised = versions
        .iter()
        .rposition(|version| version.acknowledged.is_some_and(|at| at <= position));
    let possible = versions
        .iter()
        .skip(promised.unwrap_or(0))
        .filter(|version| version.begun <= position);
    let found = match Content::of(path) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let Some(promised) = promised else {
                checked.absent += 1;
                return Ok(());
            };
            return Err(format!(
                "{name}: version {promised} was acknowledged and is not there"
            ));
        }
        Err(error) => return Err(format!("{name}: cannot be read: {error}")),
    };
    let mut possible = possible.peekable();
    if possible.peek().is_none() {
        return Err(format!(
            "{name}: is there with {} bytes before it was sent",
            found.size
        ));
    }
    if !possible.any(|version| version.content == found) {
        let older = versions
            .iter()
            .position(|version| version.content == found)
            .map_or("no version of it".to_owned(), |old| {
                format!("version {old}")
            });
        return Err(format!(
            "{name}: shows {older} ({} bytes), and version {} was acknowledged",
            found.size,
            promised.map_or("none".to_owned(), |version| version.to_string())
        ));
    }
    checked.present += 1;
    checked.promised += usize::from(promised.is_some());
    Ok(())
}
