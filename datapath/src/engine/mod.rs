//! The engine: one link (an AF_XDP socket, or UDP sockets), one UMEM, one io_uring, and the sessions whose packets arrive there.
//!
//! A block's way in is `receive` → `inbound` → `gather` → `write` → the disk; its way out is the disk →
//! `storage` → `outbound` → `held` → `transmit`. Everything runs on one thread, nothing blocks, and nothing is
//! shared: services talk to the engine by calling it and by reading its [`EngineEvent`]s.
//!
//! ```text
//!            RX ring                                              io_uring
//!   wire ──► Frame<Rx> ──► session ──► Inbound ──► Gather ──► WRITEV_FIXED ──► disk
//!                             │                                   │ completion
//!                             │           release_credit ◄────────┘
//!   wire ◄── Frame<Held> ◄── session ◄── Outbound ◄── READV_FIXED ◄── disk
//!            TX ring
//! ```

mod admit;
mod checksum;
mod config;
mod coverage;
mod cutting;
mod events;
mod gather;
mod graves;
mod grouping;
mod held;
mod inbound;
mod outbound;
mod parts;
mod peer;
mod peers;
mod read_depth;
mod receive;
mod requests;
mod reserve;
mod storage;
mod transmit;
mod windows;
mod work;
mod write;

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use blk_proto::geometry::{LONG_PAYLOAD_OFFSET, announced_offset, l4_overhead};
use blk_proto::net::Path;
use blk_proto::session::{
    Acceptor, AcceptorCounters, CloseReason, Config, LongBlocks, Parameters, Stats, Violation,
};
use blk_proto::time::Time;
use blk_proto::wire::PAYLOAD_OFFSET;

pub use checksum::{FileChecksum, Joiner, combine, hole};
pub use config::{EngineConfig, EngineCounters, Headcount, Seed};
pub use coverage::{ByteRange, Claim, ClaimedRun, Coverage, WriteObserver};
pub use cutting::{Cutter, READ_MAX, ReadPlan};
pub use events::{EngineEvent, Progress, SessionId, TransferError};
pub use gather::{Gather, Misplaced, Run};
pub use held::{HeldBlock, HeldBlocks};
pub use inbound::{Inbound, ReceivedFile, Unwanted};
pub use outbound::{Outbound, ReadyBlock, SentFile};
pub use peer::Hop;
pub use read_depth::{DEPTH_MAX as READ_DEPTH_MAX, ReadDepth};
pub use work::SharedWork;

use crate::disk::{Completion, DiskCounters, DiskQueue};
use crate::link::{Link, LinkKind, LinkStatistics};
use crate::umem::{Disk, Frame, FrameCounts, Held, Rx, Umem};

use admit::can_obey;
use graves::Graves;
use peers::Peers;
use storage::Operation;

/// An incomplete chunk is written after this time even if its missing blocks have not come, so that frames do not
/// wait for a sender that stalls.
const GATHER_PATIENCE: Duration = Duration::from_millis(10);

/// When the kernel did not take all of the TX ring, it is asked again after this time.
const TRANSMIT_RETRY: Duration = Duration::from_micros(100);
/// The same when the interface is down, say: that takes longer to mend.
const REFUSED_RETRY: Duration = Duration::from_millis(100);
/// Blocks that may wait in a session for credit: enough to use any credit at once, and no more, since their frames are
/// kept from other sessions.
const QUEUED_BLOCKS: usize = 4 * READ_MAX;

/// A peer that was silent for so long is asked for a sign of life: often enough that one which was restarted, or has gone,
/// is found out soon even when nothing else is to be sent to it.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// So long a session that has ended waits for room in the TX ring, to tell its peer.
const CLOSE_PATIENCE: Duration = Duration::from_millis(10);

/// One link with its sessions and its disk queue.
pub struct Engine {
    // Dropped in this order: the disk queue drains its operations, then the link goes, then the memory goes.
    disk: DiskQueue,
    link: Link,
    umem: Umem,
    peers: Peers,
    acceptor: Acceptor,
    graves: Graves,
    held: HeldBlocks,
    operations: Vec<Option<Operation>>,
    free_operations: Vec<usize>,
    events: VecDeque<EngineEvent>,
    counters: EngineCounters,
    config: EngineConfig,
    epoch: Instant,
    now: Time,
    /// Frames that sending uses now.
    send_frames_used: usize,
    turn: usize,
    /// Counts the transfers of this engine's life.
    serial: u64,
    /// Frames for reception that are not promised to any session.
    unpromised: Cell<u64>,
    /// Frames in disk writes of sessions that have ended: nobody's window holds them.
    orphaned: u64,
    /// Whether the kernel refused to transmit at the last try.
    transmit_refused: bool,
    /// Since the last look at the ring the worker slept, so there may be wake-ups although no operation is in flight.
    slept: bool,
    wakeups: Vec<u64>,
    /// For the CRCs of runs that were read.
    joiner: Joiner,
    scratch: Scratch,
}

/// Vectors reused from turn to turn.
#[derive(Debug, Default)]
struct Scratch {
    received: Vec<Frame<Rx>>,
    long: Vec<Range<usize>>,
    returned: Vec<Frame<Held>>,
    completions: Vec<Completion>,
    runs: Vec<Run<Frame<Disk>>>,
    frames: Vec<Vec<Frame<Disk>>>,
}

/// Tags of wake-ups; disk operations count up from zero and never get here.
pub(crate) const WAKE_TAGS: u64 = 1 << 32;

impl Engine {
    /// Puts the parts together.
    pub fn new(config: EngineConfig, umem: Umem, link: Link, disk: DiskQueue, seed: &Seed) -> Self {
        let frames = umem.counts().total();
        let receive_frames = config.receive_frames;
        let peers = Peers::new(config.worker, &seed.generations);
        let acceptor = Acceptor::new(config.acceptor(), &seed.secret);
        Self {
            disk,
            link,
            held: HeldBlocks::new(frames as u32),
            umem,
            peers,
            acceptor,
            graves: Graves::default(),
            operations: Vec::new(),
            free_operations: Vec::new(),
            events: VecDeque::new(),
            counters: EngineCounters::default(),
            config,
            epoch: Instant::now(),
            now: Time::default(),
            send_frames_used: 0,
            turn: 0,
            serial: 0,
            unpromised: Cell::new(receive_frames),
            orphaned: 0,
            transmit_refused: false,
            slept: false,
            wakeups: Vec::new(),
            joiner: Joiner::default(),
            scratch: Scratch::default(),
        }
    }

    /// Whether its frames lie in huge pages.
    pub fn has_huge_pages(&self) -> bool {
        self.umem.is_huge()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<EngineEvent> {
        self.events.pop_front()
    }

    /// Asks for a wake-up when `fd` is readable, once. `number` is any small number of the caller's.
    pub fn watch(&mut self, fd: RawFd, number: u32) -> bool {
        self.disk
            .poll_readable(fd, WAKE_TAGS + u64::from(number))
            .is_ok()
    }

    /// The numbers of watched descriptors that became readable.
    pub fn take_wakeups(&mut self) -> impl Iterator<Item = u32> + '_ {
        self.wakeups.drain(..).map(|tag| (tag - WAKE_TAGS) as u32)
    }

    /// Does what there is to do; `true` when that was anything.
    pub fn turn(&mut self) -> bool {
        let busy = self.take_in();
        self.send_out() || busy
    }

    /// The first half of a turn: takes what has come from the network and the disk; `true` when that was anything. Whoever handles the
    /// events now has his answers sent in the second half, and asks for nothing later than he must.
    pub fn take_in(&mut self) -> bool {
        self.now = Time::from_nanos(self.epoch.elapsed().as_nanos() as u64);
        self.turn = self.turn.wrapping_add(1);
        let mut busy = self.receive();
        busy |= self.run_disk();
        self.run_timers();
        self.flush_old_chunks();
        if busy {
            self.collect_events();
        }
        busy || !self.events.is_empty()
    }

    /// The second half: sends; `true` when there was anything to send, or there are events.
    pub fn send_out(&mut self) -> bool {
        self.pump_outbound();
        let mut busy = self.transmit();
        let target = reserve::fill_target(&self.umem, self.config.fill_target);
        self.link.fill(&mut self.umem, target);
        busy |= self.collect_events();
        self.share_windows();
        #[cfg(debug_assertions)]
        self.umem.assert_conserved();
        busy || !self.events.is_empty()
    }

    /// Whether blocks of a file are being sent or received.
    pub fn has_transfers(&self) -> bool {
        let mut peers = self.peers.iter();
        peers.any(|peer| peer.inbound.len() + peer.outbound.len() > 0)
    }

    /// Whether packets wait in the RX ring: a cheap look for a spinning caller.
    pub fn has_received(&mut self) -> bool {
        self.link.has_received()
    }

    /// Whether disk operations (not watches) are in flight.
    pub fn disk_busy(&self) -> bool {
        self.operations.len() > self.free_operations.len()
    }

    /// Sleeps until a watched descriptor, the disk, or a timer wants attention, at most `limit`.
    pub fn sleep(&mut self, limit: Duration) -> std::io::Result<()> {
        let mut limit = limit;
        if self.link.queued() > 0 {
            // The kernel did not take all of it: nothing will tell when it can.
            let retry = if self.transmit_refused {
                REFUSED_RETRY
            } else {
                TRANSMIT_RETRY
            };
            limit = limit.min(retry);
        }
        if let Some(deadline) = self.next_deadline() {
            limit = limit.min(deadline.saturating_since(self.clock()));
        }
        self.slept = true;
        self.disk.wait(Some(limit))
    }

    /// The link's descriptor, to be watched before sleeping.
    pub fn link_fd(&self) -> RawFd {
        self.link.fd()
    }

    /// Which link it has.
    pub fn link_kind(&self) -> LinkKind {
        self.link.kind()
    }

    /// The queue of the interface that its AF_XDP socket is bound to, if it has one.
    pub fn queue(&self) -> Option<u32> {
        self.link.queue()
    }

    /// What the kernel heard about the other end of the link since the last question.
    pub fn take_link_error(&mut self) -> Option<std::io::Error> {
        self.link.take_error()
    }

    /// Sessions.
    pub fn sessions(&self) -> usize {
        self.peers.len()
    }

    /// Every session's id.
    pub fn session_ids(&mut self) -> Vec<SessionId> {
        (0..self.peers.positions())
            .filter_map(|at| self.peers.at(at).map(|(id, _)| id))
            .collect()
    }

    /// A session's statistics.
    pub fn session_stats(&mut self, session: SessionId) -> Option<Stats> {
        self.peers.get_mut(session).map(|peer| peer.session.stats())
    }

    /// Cumulative counters, with those of the sessions that are there.
    pub fn counters(&self) -> EngineCounters {
        let mut counters = self.counters;
        for peer in self.peers.iter() {
            counters.add_session(&peer.session.stats());
        }
        counters
    }

    /// The disk queue's counters.
    pub fn disk_counters(&self) -> DiskCounters {
        self.disk.counters()
    }

    /// The link's counters.
    ///
    /// # Errors
    /// As getsockopt(2).
    pub fn link_statistics(&self) -> std::io::Result<LinkStatistics> {
        self.link.statistics()
    }

    /// What became of packets without a session.
    pub fn acceptor_counters(&self) -> AcceptorCounters {
        self.acceptor.counters()
    }

    /// Where the frames are.
    pub fn frame_counts(&self) -> FrameCounts {
        self.umem.counts()
    }

    /// Fails loudly when a frame has been lost or counted twice.
    pub fn assert_conserved(&self) {
        self.umem.assert_conserved();
    }

    fn clock(&self) -> Time {
        Time::from_nanos(self.epoch.elapsed().as_nanos() as u64)
    }

    /// How a session on this path is set up, whose packets are expected to arrive with the path's VLAN tags. Its initial credit is for who makes it to take.
    fn session_config(&self, path: &Path) -> Config {
        Config {
            local: Parameters {
                payload_offset: announced_offset(PAYLOAD_OFFSET as u16, path.tags()),
                granule: 512,
                max_payload: self.config.max_payload,
                queues: self.config.workers.get(),
                long: self.config.long_payload.map(|max_payload| LongBlocks {
                    payload_offset: announced_offset(LONG_PAYLOAD_OFFSET as u16, path.tags()),
                    max_payload,
                }),
                ..Parameters::default()
            },
            idle_timeout: self.config.idle_timeout,
            unanswered_timeout: self.config.unanswered_timeout,
            keep_alive: KEEP_ALIVE.min(self.config.unanswered_timeout / 4),
            handshake_timeout: self.config.handshake_timeout,
            l4_overhead: l4_overhead(path.destination.is_ipv6()),
            max_send_payload: self.config.max_send_payload,
            max_queued_blocks: QUEUED_BLOCKS,
            window_floor: windows::FLOOR,
            ..Config::default()
        }
    }

    fn run_timers(&mut self) {
        for at in 0..self.peers.positions() {
            if let Some((_, peer)) = self.peers.at(at)
                && peer
                    .session
                    .poll_timeout()
                    .is_some_and(|deadline| deadline <= self.now)
            {
                peer.session.handle_timeout(self.now);
            }
        }
    }

    fn next_deadline(&mut self) -> Option<Time> {
        let mut next: Option<Time> = None;
        for at in 0..self.peers.positions() {
            let Some((_, peer)) = self.peers.at(at) else {
                continue;
            };
            let deadlines = peer
                .session
                .poll_timeout()
                .into_iter()
                .chain(peer.chunk_deadline())
                .chain(peer.look_again());
            next = next.into_iter().chain(deadlines).min();
        }
        next
    }

    /// Turns the sessions' events into the engine's, and takes dead sessions away; `true` when there is more to do.
    fn collect_events(&mut self) -> bool {
        let mut again = false;
        for at in 0..self.peers.positions() {
            let Some((session, peer)) = self.peers.at(at) else {
                continue;
            };
            if peer.session.has_close_to_send() {
                // There was no room for it. Not for long: its peer is told again when it sends.
                let since = *peer.closing_since.get_or_insert(self.now);
                if self.now < since + CLOSE_PATIENCE {
                    again = true;
                    continue;
                }
            }
            let (mut closed, mut opened) = (None, false);
            while let Some(event) = peer.session.poll_event() {
                use blk_proto::session::Event;
                match event {
                    Event::Connected if !peer.session.peer().is_some_and(can_obey) => {
                        peer.session
                            .close(CloseReason::Violation(Violation::Handshake));
                        // The Closed event is for the next turn, which sends the Close first.
                        again = true;
                        break;
                    }
                    Event::Connected => {
                        opened = true;
                        let remote = peer.path.destination;
                        self.events
                            .push_back(EngineEvent::Connected { session, remote });
                    }
                    // Reads and queues ask the session each time.
                    Event::PayloadLimit(bytes) => {
                        let remote = peer.path.destination;
                        tracing::debug!(%remote, bytes, "payload that the path takes");
                    }
                    Event::Message(bytes) => self
                        .events
                        .push_back(EngineEvent::Message { session, bytes }),
                    Event::Released {
                        transfer,
                        block,
                        acked,
                    } => {
                        let (offset, len) = (block.offset(), u64::from(block.len()));
                        let serial = block.transfer();
                        self.send_frames_used -= block.frames();
                        peer.sending -= block.frames();
                        self.held.release(&mut self.umem, block);
                        match peer.outbound.get_mut(transfer) {
                            Some(outbound) if outbound.serial() == serial => {
                                if acked {
                                    outbound.acknowledged(offset, len);
                                } else {
                                    // Too long for the path by now, or the session closes, and the transfer ends
                                    // with it.
                                    outbound.given_back(offset, len);
                                }
                            }
                            _ => {}
                        }
                    }
                    Event::Closed(reason) => closed = Some(reason),
                }
            }
            if let Some(reason) = closed {
                // Its transfers end with it: none of them is complete.
                self.bury(session, reason);
                continue;
            }
            peer.flush_messages();
            let leftovers = peer.collect_outcomes(session, &mut self.events);
            self.release_all(leftovers.received);
            self.release_sending(session, leftovers.sending);
            if opened {
                self.peers.opened(session);
            }
        }
        again
    }

    /// Takes a closed session away with everything it holds.
    fn bury(&mut self, session: SessionId, reason: CloseReason) {
        let Some(mut peer) = self.peers.remove(session) else {
            return;
        };
        self.counters.add_session(&peer.session.stats());
        self.orphaned += peer.writing;
        if let Some(peer_id) = peer.session.peer_id() {
            let remote = peer.path.destination;
            let code = reason.told();
            self.graves.dig(self.now, session, remote, peer_id, code);
        }
        for (transfer, mut inbound) in peer.inbound.drain() {
            // Other flows go on, and these blocks were acknowledged: nobody would send them again by himself.
            if inbound.coverage().flows() > 1 {
                self.write_last(session, transfer, &mut inbound);
            }
            self.release_all(inbound.into_frames().0);
        }
        for (_, outbound) in peer.outbound.drain() {
            self.release_sending(session, outbound.into_frames());
        }
        self.events
            .push_back(EngineEvent::Closed { session, reason });
    }
}
