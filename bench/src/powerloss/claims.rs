//! Whether the journals of interrupted puts claim only what is there after a loss of power.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use blk_datapath::files::{PartialClaim, PartialStore};
use blk_proto::geometry::GRID;
use serde::{Deserialize, Serialize};

/// A kernel that never ran: after a loss of power nothing but what is marked as durable counts.
const ANOTHER_BOOT: [u8; 16] = [0xb0; 16];

/// The checksums of the cells of a file, by which a part of it is known.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Cells(Vec<u32>);

impl Cells {
    /// Those of a file.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut cells = Vec::new();
        for start in (0..size).step_by(GRID as usize) {
            let bytes = read(&file, start, GRID.min(size - start))?;
            cells.push(crc32fast::hash(&bytes));
        }
        Ok(Self(cells))
    }

    /// Whether the file has a cell with this checksum there.
    fn has(&self, offset: u64, crc: u32) -> bool {
        offset.is_multiple_of(GRID) && self.0.get((offset / GRID) as usize) == Some(&crc)
    }
}

/// What journals claimed, rightly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claimed {
    /// Journals with their files.
    pub partials: usize,
    /// Bytes that they claim.
    pub bytes: u64,
}

/// From which boot journals are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boot {
    /// Another one than that of the writer, as after a loss of power.
    #[default]
    Next,
    /// That of the writer, as if the machine had never stopped: entries count before what they claim is durable. What a journal
    /// would look like that marks too early, for tests of this check.
    Same,
}

/// Looks at the journals of the export at `root`. `versions` gives the sizes and cells of what may have been sent by then to a
/// path in the export.
///
/// # Errors
/// The first claim that is wrong: a sentence.
pub(super) fn check<'v, V: Iterator<Item = (u64, &'v Cells)>>(
    root: &Path,
    boot: Boot,
    versions: impl Fn(&[u8]) -> V,
) -> Result<Claimed, String> {
    let told = |error: io::Error| format!("the journals of {}: {error}", root.display());
    let directory = File::open(root).map_err(told)?;
    let mut store = PartialStore::beneath(directory.into());
    if boot == Boot::Next {
        store = store.of_boot(ANOTHER_BOOT);
    }
    let mut claimed = Claimed::default();
    for claim in store.claims().map_err(told)? {
        let name = String::from_utf8_lossy(&claim.path).into_owned();
        let cells = cells(&claim).map_err(|wrong| format!("{name}: {wrong}"))?;
        let is_of = |(size, version): (u64, &Cells)| {
            size == claim.size && cells.iter().all(|(offset, crc)| version.has(*offset, *crc))
        };
        if !versions(&claim.path).any(is_of) {
            return Err(format!(
                "{name}: the journal claims {} cells of {} bytes, and they are of no file that was sent",
                cells.len(),
                claim.size
            ));
        }
        claimed.partials += 1;
        claimed.bytes += claim.done.iter().map(|extent| extent.len).sum::<u64>();
    }
    Ok(claimed)
}

/// The cells that are claimed, by offset and checksum of what the file has there.
fn cells(claim: &PartialClaim) -> Result<Vec<(u64, u32)>, String> {
    let file = claim
        .as_fd()
        .try_clone_to_owned()
        .map(File::from)
        .map_err(|error| error.to_string())?;
    let mut cells = Vec::new();
    for extent in &claim.done {
        let mut whole = crc32fast::Hasher::new();
        let end = extent.offset + extent.len;
        let mut at = extent.offset;
        while at < end {
            let next = (at / GRID + 1).saturating_mul(GRID).min(end);
            let bytes = read(&file, at, next - at)
                .map_err(|error| format!("bytes {at} to {next} are claimed: {error}"))?;
            whole.update(&bytes);
            cells.push((at, crc32fast::hash(&bytes)));
            at = next;
        }
        let found = whole.finalize();
        if found != extent.crc {
            return Err(format!(
                "bytes {} to {end} are claimed with CRC {:#x}, and the file has {found:#x}",
                extent.offset, extent.crc
            ));
        }
    }
    Ok(cells)
}

fn read(file: &File, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}
