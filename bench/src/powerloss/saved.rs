//! A recording as a file, so that a point that failed can be looked at again.
//!
//! One line of JSON (the header), then the blocks of the base (index and 4096 bytes each), then the events: a byte for the kind (0
//! flush, 1 write, 2 zeros), offset and length, and for a write the bytes. Numbers are 64 bits, little endian.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::promise::Promises;
use super::recording::Recorded;
use crate::blockdev::{BLOCK, Event, Image, Kind, Log, Options};

/// Largest write that a file may hold: what FUSE asks for at a time.
const LARGEST: u64 = 1 << 20;

#[derive(Deserialize, Serialize)]
struct Header {
    file_system: String,
    size: u64,
    blocks: usize,
    events: usize,
    promises: Promises,
}

impl Recorded {
    /// Writes it to a file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.save_to(path)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn save_to(&self, path: &Path) -> Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        let header = Header {
            file_system: self.kind.name().to_owned(),
            size: self.options.size,
            blocks: self.log.base.iter().count(),
            events: self.log.events.len(),
            promises: self.promises.clone(),
        };
        serde_json::to_writer(&mut file, &header)?;
        file.write_all(b"\n")?;
        for (index, block) in self.log.base.iter() {
            file.write_all(&index.to_le_bytes())?;
            file.write_all(block)?;
        }
        for event in &self.log.events {
            let (kind, offset, length, bytes) = match event {
                Event::Flush => (0u8, 0, 0, &[][..]),
                Event::Write { offset, bytes } => (1, *offset, bytes.len() as u64, &bytes[..]),
                Event::Zero { offset, length } => (2, *offset, *length, &[][..]),
            };
            file.write_all(&[kind])?;
            file.write_all(&offset.to_le_bytes())?;
            file.write_all(&length.to_le_bytes())?;
            file.write_all(bytes)?;
        }
        file.flush()?;
        Ok(())
    }

    /// Reads one.
    ///
    /// # Errors
    /// It cannot be read, or is no recording.
    pub fn load(path: &Path) -> Result<Self> {
        Self::load_from(path)
            .with_context(|| format!("cannot read {} as a recording", path.display()))
    }

    fn load_from(path: &Path) -> Result<Self> {
        let mut file = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        file.read_until(b'\n', &mut line)?;
        let header: Header = serde_json::from_slice(&line)?;
        let kind: Kind = header.file_system.parse().map_err(anyhow::Error::msg)?;
        let mut base = Image::default();
        let mut block = [0; BLOCK];
        for _ in 0..header.blocks {
            let index = number(&mut file)?;
            file.read_exact(&mut block)?;
            base.write(index.saturating_mul(BLOCK as u64), &block);
        }
        let mut log = Log::new(Arc::new(base.flattened()), usize::MAX);
        for _ in 0..header.events {
            log.push(event(&mut file)?);
        }
        Ok(Self {
            kind,
            options: Options::of(header.size),
            log,
            promises: header.promises,
        })
    }
}

fn event(file: &mut impl Read) -> Result<Event> {
    let mut kind = [0];
    file.read_exact(&mut kind)?;
    let (offset, length) = (number(file)?, number(file)?);
    Ok(match kind[0] {
        0 => Event::Flush,
        1 if length <= LARGEST => {
            let mut bytes = vec![0; length as usize].into_boxed_slice();
            file.read_exact(&mut bytes)?;
            Event::Write { offset, bytes }
        }
        2 => Event::Zero { offset, length },
        kind => bail!("an event of kind {kind} and {length} bytes"),
    })
}

fn number(file: &mut impl Read) -> Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}
