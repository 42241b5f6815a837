//! The thread that writes a dump.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::pcapng::{self, Packet, Statistics};
use super::tap::{Shared, Source, now};
use super::target::Target;
use super::{DumpError, DumpOptions, DumpSummary};

/// The rest between two looks at the rings, and so how old a packet may be before it is in the file. Longer rests would need
/// larger rings.
const REST: Duration = Duration::from_millis(10);
/// The same when nothing is written any more.
const FAILED_REST: Duration = Duration::from_secs(1);
/// Bytes that are written at once.
const BATCH: usize = 256 * 1024;

/// What the thread owns.
pub(super) struct Writer {
    target: Target,
    shared: Arc<Shared>,
    file: PathBuf,
    /// As the interfaces' descriptions tell it; 0: all.
    snaplen: u32,
    /// One for each interface of the file, in its order.
    sources: Vec<(Source, Counts)>,
    /// Whole blocks that are not in the file yet.
    blocks: Vec<u8>,
    /// The bytes of one packet.
    packet: Vec<u8>,
}

/// What became of a source's packets, besides those that found no room in its ring.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    /// In the file.
    written: u64,
    /// In `blocks`.
    waiting: u64,
    /// Taken from the ring, and not written.
    failed: u64,
}

impl Writer {
    /// Writes the file's header, to see whether the file can be written.
    pub(super) fn begin(
        target: Target,
        shared: Arc<Shared>,
        options: &DumpOptions,
    ) -> Result<Self, DumpError> {
        let mut writer = Self {
            target,
            shared,
            file: options.file.clone(),
            snaplen: options.snaplen as u32,
            sources: Vec::new(),
            blocks: Vec::with_capacity(2 * BATCH),
            packet: Vec::new(),
        };
        pcapng::section_header(
            &mut writer.blocks,
            &operating_system(),
            &options.application,
        );
        writer.flush().map_err(|source| DumpError::Write {
            file: options.file.clone(),
            source,
        })?;
        Ok(writer)
    }

    /// Writes until it is told to stop, or the file fails.
    pub(super) fn run(mut self) -> DumpSummary {
        let written = self.write_all();
        self.shared.close();
        if let Err(error) = &written {
            let file = self.file.display();
            tracing::warn!(%error, %file, "the packet dump ends here; the packets themselves go on");
            // For the counts.
            while !self.shared.is_stopped() {
                thread::park_timeout(FAILED_REST);
            }
            self.drop_the_rest();
        }
        let sum = |count: fn(&(Source, Counts)) -> u64| self.sources.iter().map(count).sum();
        DumpSummary {
            written: sum(|(_, counts)| counts.written),
            lost: Some(sum(|(source, counts)| {
                source.packets.lost() + counts.failed
            })),
            failure: written.err(),
            file: self.file,
        }
    }

    fn write_all(&mut self) -> io::Result<()> {
        loop {
            // In this order: what was there when the stop was asked for is written.
            let last = self.shared.is_stopped();
            self.welcome();
            let filling = self.drain()?;
            self.flush()?;
            if last {
                self.statistics();
                return self.flush();
            }
            if !filling {
                thread::park_timeout(REST);
            }
        }
    }

    /// Describes the interfaces that are new.
    fn welcome(&mut self) {
        for source in self.shared.arrived() {
            let description = format!("AF_XDP, queue {}", source.queue);
            pcapng::interface(
                &mut self.blocks,
                &source.interface,
                &description,
                self.snaplen,
            );
            self.sources.push((source, Counts::default()));
        }
    }

    /// Writes what is in the rings now, the oldest packet first; `true` when one of them was filling up.
    fn drain(&mut self) -> io::Result<bool> {
        let ends: Vec<u64> = self
            .sources
            .iter()
            .map(|(source, _)| source.packets.end())
            .collect();
        let filling = self
            .sources
            .iter()
            .zip(&ends)
            .any(|((source, _), &end)| source.packets.is_filling(end));
        while let Some(at) = oldest(&self.sources, &ends) {
            let (source, counts) = &mut self.sources[at];
            let record = source.packets.pop(&mut self.packet);
            let packet = Packet {
                interface: at as u32,
                time: record.time,
                direction: record.direction,
                original_len: record.original_len,
                lost_before: record.lost_before,
                bytes: &self.packet,
            };
            pcapng::packet(&mut self.blocks, &packet);
            counts.waiting += 1;
            if self.blocks.len() >= BATCH {
                self.flush()?;
            }
        }
        Ok(filling)
    }

    /// The counts of all interfaces, at the end of the file.
    fn statistics(&mut self) {
        let end = now();
        for (at, (source, counts)) in self.sources.iter().enumerate() {
            let counts = Statistics {
                interface: at as u32,
                start: source.start,
                end,
                written: counts.written,
                lost: source.packets.lost(),
            };
            pcapng::statistics(&mut self.blocks, &counts);
        }
    }

    /// Hands everything to the kernel.
    fn flush(&mut self) -> io::Result<()> {
        if self.blocks.is_empty() {
            return Ok(());
        }
        let outcome = self.target.write(&self.blocks);
        self.blocks.clear();
        let mut written = 0;
        for (_, counts) in &mut self.sources {
            let waiting = std::mem::take(&mut counts.waiting);
            match outcome {
                Ok(()) => counts.written += waiting,
                Err(_) => counts.failed += waiting,
            }
            written += counts.written;
        }
        self.shared.tell_written(written);
        outcome
    }

    /// Counts what is still in the rings of a dump that has ended.
    fn drop_the_rest(&mut self) {
        self.welcome();
        for (source, counts) in &mut self.sources {
            let end = source.packets.end();
            while source.packets.next_time(end).is_some() {
                source.packets.pop(&mut self.packet);
                counts.failed += 1;
            }
        }
    }
}

/// Whose first packet is the oldest.
fn oldest(sources: &[(Source, Counts)], ends: &[u64]) -> Option<usize> {
    sources
        .iter()
        .zip(ends)
        .enumerate()
        .filter_map(|(at, ((source, _), &end))| Some((source.packets.next_time(end)?, at)))
        .min()
        .map(|(_, at)| at)
}

/// As uname(1) says it: system and release.
fn operating_system() -> String {
    let name = rustix::system::uname();
    format!(
        "{} {}",
        name.sysname().to_string_lossy(),
        name.release().to_string_lossy()
    )
}
