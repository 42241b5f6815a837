//! What a worker has done so far, for operators and tests.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use blk_proto::session::AcceptorCounters;

use crate::disk::DiskCounters;
use crate::engine::{Engine, EngineCounters};
use crate::link::LinkStatistics;
use crate::umem::FrameCounts;

use super::activity::Activity;

/// Counters of a worker since it started, and where its frames are.
#[derive(Debug, Clone, Copy, Default)]
pub struct WorkerReport {
    /// Where its frames are; at the end, all of them are free, or in rings that went with the socket.
    pub frames: FrameCounts,
    /// The engine's counters.
    pub counters: EngineCounters,
    /// What became of packets without a session.
    pub greetings: AcceptorCounters,
    /// The disk queue's counters.
    pub disk: DiskCounters,
    /// The link's counters; zero when the kernel did not tell.
    pub link: LinkStatistics,
    /// Sessions.
    pub sessions: usize,
    /// Whether its frames lie in huge pages.
    pub huge_pages: bool,
    /// How it has spent its time.
    pub activity: Activity,
}

impl WorkerReport {
    /// The engine as it is now.
    pub(super) fn of(engine: &Engine, activity: &Activity) -> Self {
        Self {
            frames: engine.frame_counts(),
            counters: engine.counters(),
            greetings: engine.acceptor_counters(),
            disk: engine.disk_counters(),
            link: engine.link_statistics().unwrap_or_default(),
            sessions: engine.sessions(),
            huge_pages: engine.has_huge_pages(),
            activity: *activity,
        }
    }
}

impl fmt::Display for WorkerReport {
    /// `name=value` pairs on one line, and why packets were dropped.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            frames,
            counters,
            greetings,
            disk,
            link,
            sessions,
            huge_pages,
            activity,
        } = self;
        write!(
            out,
            "{activity} huge_pages={} payload_in={} payload_out={} ",
            u8::from(*huge_pages),
            counters.payload_received,
            counters.payload_sent,
        )?;
        write!(
            out,
            "sessions={sessions} frames_received={} frames_stray={} frames_sent={} blocks_stray={} blocks_duplicate={} blocks_long={} blocks_moved={} blocks_shifted={}",
            counters.frames_received,
            counters.frames_stray,
            counters.frames_sent,
            counters.blocks_stray,
            counters.blocks_duplicate,
            counters.blocks_long,
            counters.blocks_moved,
            counters.blocks_shifted,
        )?;
        write!(
            out,
            " accepted={} validated={} retries={} bad_cookies={} refused={} resets={}",
            greetings.accepted,
            greetings.validated,
            greetings.retries,
            greetings.bad_cookies,
            greetings.refused,
            greetings.resets,
        )?;
        write!(
            out,
            " rx_dropped={} rx_ring_full={} rx_fill_ring_empty={} rx_fragments={} rx_fragments_dropped={} tx_fragments={} rx_misplaced={}",
            link.xsk.rx_dropped,
            link.xsk.rx_ring_full,
            link.xsk.rx_fill_ring_empty,
            link.xsk.rx_fragments,
            link.xsk.rx_fragments_dropped,
            link.xsk.tx_fragments,
            link.xsk.rx_misplaced,
        )?;
        if let Some(udp) = &link.udp {
            write!(out, " {udp}")?;
        }
        for (name, ways) in [("write", disk.written), ("read", disk.read)] {
            write!(out, " ")?;
            ways.write_to(out, name)?;
        }
        write!(
            out,
            " {} disk_short={} disk_retries={} disk_errors={}",
            disk.reads, disk.short, disk.retries, disk.errors,
        )?;
        write!(
            out,
            " frames={} frames_free={} dropped={} ({})",
            frames.total(),
            frames.free,
            counters.dropped.total(),
            counters.dropped,
        )
    }
}

/// A question to a running worker, and its answer.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    asked: AtomicBool,
    answer: Mutex<Option<WorkerReport>>,
    answered: Condvar,
}

impl Inquiry {
    /// Asks, and waits at most `patience` for the answer.
    pub(super) fn ask(&self, patience: Duration) -> Option<WorkerReport> {
        let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        *answer = None;
        self.asked.store(true, Ordering::Release);
        let waited = self
            .answered
            .wait_timeout_while(answer, patience, |answer| answer.is_none());
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Answers when somebody asks. Costs one load when nobody does.
    #[inline]
    pub(super) fn serve(&self, engine: &Engine, activity: &Activity) {
        if self.asked.load(Ordering::Relaxed) {
            self.answer(engine, activity);
        }
    }

    #[cold]
    fn answer(&self, engine: &Engine, activity: &Activity) {
        let mut answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner);
        self.asked.store(false, Ordering::Release);
        *answer = Some(WorkerReport::of(engine, activity));
        self.answered.notify_all();
    }
}
