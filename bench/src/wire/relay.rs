//! Carries frames from one interface to the other, through the impairment.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::frame::{Frame, Pool};
use super::impairment::{Counters, Impairment, Queue};
use super::socket::{BATCH, PacketSocket};
use super::trace::Trace;
use super::vlan::Vlan;

/// How often the relay looks at the stop flag when nothing happens.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// What one direction did, with what its sockets dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// The decisions of the impairment.
    pub counters: Counters,
    /// Frames that the kernel dropped in front of the relay: its receive buffer was full.
    pub receive_drops: u64,
    /// Frames that the far interface did not take: its queue was full, it was down, or the frame was too long for it.
    pub send_drops: u64,
    /// Frames longer than the relay's buffers.
    pub truncated: u64,
    /// Frames without the tags of their interface's VLAN.
    pub other_vlans: u64,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let c = &self.counters;
        write!(
            f,
            "received {} delivered {} lost {} too-long {} queue-drops {} marked {} duplicated {} corrupted {} reordered {} \
             overflowed {} receive-drops {} send-drops {} truncated {} other-vlans {}",
            c.received,
            c.delivered,
            c.lost,
            c.too_long,
            c.queue_drops,
            c.marked,
            c.duplicated,
            c.corrupted,
            c.reordered,
            c.overflowed,
            self.receive_drops,
            self.send_drops,
            self.truncated,
            self.other_vlans
        )
    }
}

/// What the directions are told while they run.
#[derive(Debug, Default)]
pub struct Control {
    stop: AtomicBool,
    /// Counts the changes, so that a direction has to look at one number only.
    changes: AtomicU64,
    latest: Mutex<Impairment>,
}

impl Control {
    /// Ends the directions.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether they shall end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Changes what happens to frames from now on. Each direction hears of it before it takes its next batch of frames.
    pub fn change(&self, impairment: Impairment) {
        *self.latest() = impairment;
        self.changes.fetch_add(1, Ordering::Release);
    }

    fn latest(&self) -> std::sync::MutexGuard<'_, Impairment> {
        self.latest
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// One direction: from one socket to the other.
#[derive(Debug)]
pub struct Direction<'a> {
    from: &'a PacketSocket,
    to: &'a PacketSocket,
    queue: Queue,
    pool: Pool,
    start: Instant,
    vlans: [Vlan; 2],
    trace: Option<Trace>,
    changes: u64,
    summary: Summary,
}

impl<'a> Direction<'a> {
    /// A direction for frames of up to `frame_len` bytes. Its time counts from `start`.
    pub fn new(
        from: &'a PacketSocket,
        to: &'a PacketSocket,
        queue: Queue,
        frame_len: usize,
        start: Instant,
    ) -> Self {
        Self {
            from,
            to,
            queue,
            pool: Pool::new(frame_len),
            start,
            vlans: Default::default(),
            trace: None,
            changes: 0,
            summary: Summary::default(),
        }
    }

    /// Between interfaces that carry these VLANs, the first where frames come from.
    pub fn between(mut self, vlans: [Vlan; 2]) -> Self {
        self.vlans = vlans;
        self
    }

    /// Also writes a trace.
    pub fn traced(mut self, trace: Option<Trace>) -> Self {
        self.trace = trace;
        self
    }

    /// Relays until it shall stop, then gives what was counted. Frames that were still delayed are dropped.
    ///
    /// # Errors
    /// When an interface has gone, or a system call fails for a reason that waiting does not cure.
    pub fn run(mut self, control: &Control) -> io::Result<Summary> {
        let mut batch = Vec::with_capacity(BATCH);
        while !control.is_stopped() {
            self.send_due(&mut batch)?;
            self.write_trace()?;
            if self.wait()? {
                self.obey(control);
                self.receive(&mut batch)?;
            }
        }
        self.summary.receive_drops += self.from.take_drops()?;
        self.summary.counters = self.queue.counters();
        Ok(self.summary)
    }

    /// Takes over what was changed.
    fn obey(&mut self, control: &Control) {
        let changes = control.changes.load(Ordering::Acquire);
        if changes != self.changes {
            self.changes = changes;
            self.queue.set_impairment(control.latest().clone());
        }
    }

    fn write_trace(&mut self) -> io::Result<()> {
        let now = self.now();
        if let Some(trace) = &mut self.trace
            && trace.is_due(now)
        {
            trace.write(now, self.queue.backlog(now), &self.queue.counters())?;
        }
        Ok(())
    }

    /// Nanoseconds since the relay began.
    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Waits until a frame arrives (true), one is due, or the stop flag is worth a look.
    fn wait(&self) -> io::Result<bool> {
        let due = self
            .queue
            .next_due()
            .map(|due| Duration::from_nanos(due.saturating_sub(self.now())));
        let wait = due.map_or(STOP_INTERVAL, |due| due.min(STOP_INTERVAL));
        let timeout = Timespec {
            tv_sec: wait.as_secs() as _,
            tv_nsec: wait.subsec_nanos().into(),
        };
        let mut descriptors = [PollFd::new(self.from, PollFlags::IN)];
        match poll(&mut descriptors, Some(&timeout)) {
            // An error on the socket is reported by the receive that follows.
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes what has arrived, up to a batch.
    fn receive(&mut self, batch: &mut Vec<Frame>) -> io::Result<()> {
        while batch.len() < BATCH {
            batch.push(self.pool.take());
        }
        let received = match self.from.receive(batch) {
            Ok(received) => received,
            // The interface went down, or was down when the frame came: it may come back.
            Err(error) if is_transient(&error) => Default::default(),
            Err(error) => return Err(error),
        };
        let now = self.now();
        self.summary.truncated += received.truncated as u64;
        let [from, to] = &self.vlans;
        for (i, mut frame) in batch.drain(..).enumerate() {
            if i >= received.frames || frame.bytes().is_empty() {
                self.pool.give(frame);
            } else if !from.strip(&mut frame) {
                self.summary.other_vlans += 1;
                self.pool.give(frame);
            } else {
                to.tag(&mut frame);
                self.queue.offer(now, frame, &mut self.pool);
            }
        }
        Ok(())
    }

    /// Sends every frame whose time has come.
    fn send_due(&mut self, batch: &mut Vec<Frame>) -> io::Result<()> {
        loop {
            let now = self.now();
            while batch.len() < BATCH {
                let Some(frame) = self.queue.take_due(now) else {
                    break;
                };
                if let Some(trace) = &mut self.trace {
                    trace.count(frame.bytes());
                }
                batch.push(frame);
            }
            if batch.is_empty() {
                return Ok(());
            }
            self.send(batch)?;
        }
    }

    /// Sends a batch whole; a frame that the interface refuses is dropped and counted.
    fn send(&mut self, batch: &mut Vec<Frame>) -> io::Result<()> {
        let mut sent = 0;
        while sent < batch.len() {
            match self.to.send(&batch[sent..]) {
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_transient(&error) => {
                    self.summary.send_drops += 1;
                    sent += 1;
                }
                Err(error) => return Err(error),
            }
        }
        batch.drain(..).for_each(|frame| self.pool.give(frame));
        Ok(())
    }
}

/// Errors that concern one frame or a moment, not the interface as such.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::AGAIN
                | Errno::INTR
                | Errno::NOBUFS
                | Errno::NETDOWN
                | Errno::MSGSIZE
                | Errno::INVAL
        )
    )
}
