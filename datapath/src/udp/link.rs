//! The sockets of a port as a link of the engine.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::event::epoll;

use super::counters::UdpCounters;
use super::error::UdpError;
use super::group::Grouping;
use super::port::UdpPort;
use super::receive::{Inlet, Receiver};
use super::sys;
use super::transmit::Sender;
use crate::dump::Tap;
use crate::umem::{Frame, Free, Held, Rx, Transmittable, Umem};

/// Messages that one turn takes from each socket.
const RECEIVE_CALLS: usize = 8;
/// Packets after which a turn takes no more.
const RECEIVE_PACKETS: usize = 256;
/// Packets that may wait for the sockets.
const QUEUE: usize = 4096;

/// A UDP port as the worker uses it: the same calls as those of an AF_XDP socket.
pub struct UdpLink {
    port: Arc<UdpPort>,
    inlets: Vec<Inlet>,
    receiver: Receiver,
    sender: Sender,
    counters: UdpCounters,
    /// Readable when any of several sockets is.
    poll: Option<OwnedFd>,
    /// The UMEM whose frames are here, once there are any.
    pool: u16,
    tap: Option<Tap>,
}

impl UdpLink {
    /// A link over `port` that uses frames of `umem`. Packets are expected to be `packet_len` bytes long, from the Ethernet
    /// header on; others are received as well.
    ///
    /// # Errors
    /// No descriptor can be had.
    pub fn new(port: Arc<UdpPort>, umem: &Umem, packet_len: usize) -> Result<Self, UdpError> {
        let inlets = port
            .sockets
            .iter()
            .map(|socket| Inlet::new(socket, &port, packet_len))
            .collect();
        let poll = if port.sockets.len() > 1 {
            Some(poll_all(&port).map_err(|error| UdpError::Open {
                source: error.into(),
            })?)
        } else {
            None
        };
        Ok(Self {
            port,
            inlets,
            receiver: Receiver::new(),
            sender: Sender::new(),
            counters: UdpCounters::default(),
            poll,
            pool: umem.pool(),
            tap: None,
        })
    }

    /// Puts free frames aside until `target` frames are there for reception, as far as free frames go. Returns how many were
    /// added.
    pub fn fill(&mut self, umem: &mut Umem, target: usize) -> usize {
        self.check(umem);
        let missing = target.saturating_sub(self.receiver.aside.len());
        for added in 0..missing {
            let Some(frame) = umem.allocate() else {
                return added;
            };
            self.receiver.aside.push(umem.put_aside(frame));
        }
        missing
    }

    /// Appends packets received; returns how many. What the kernel heard about the other end is kept for
    /// [`take_error`](Self::take_error).
    pub fn receive(&mut self, umem: &mut Umem, batch: &mut Vec<Frame<Rx>>) -> usize {
        self.check(umem);
        let before = batch.len();
        for (socket, inlet) in self.port.sockets.iter().zip(&mut self.inlets) {
            for _ in 0..RECEIVE_CALLS {
                if batch.len() - before >= RECEIVE_PACKETS || !self.receiver.has_frames() {
                    break;
                }
                let counters = &mut self.counters;
                match self.receiver.receive(umem, socket, inlet, counters, batch) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // ICMP says that a packet was too long: the session finds that out by itself.
                    Err(error)
                        if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EMSGSIZE)) => {}
                    Err(error) => self.sender.heard = Some(error),
                }
            }
        }
        if let Some(tap) = &mut self.tap {
            for frame in &batch[before..] {
                tap.received(umem.packet(frame));
            }
        }
        batch.len() - before
    }

    /// Queues the first `packet_len` bytes of the frame's packet area; [`complete`](Self::complete) frees the frame. `Err`
    /// gives it back: too many wait. Nothing moves before [`kick`](Self::kick).
    pub fn transmit(
        &mut self,
        umem: &mut Umem,
        frame: Frame<Free>,
        packet_len: usize,
        grouping: Grouping,
    ) -> Result<(), Frame<Free>> {
        self.check(umem);
        if self.transmit_space() == 0 {
            return Err(frame);
        }
        self.take_down(umem, &frame, packet_len);
        self.sender.queue_free(umem, frame, packet_len, grouping);
        Ok(())
    }

    /// As [`transmit`](Self::transmit), but [`complete`](Self::complete) hands the frame back.
    pub fn transmit_held(
        &mut self,
        umem: &mut Umem,
        frame: Frame<Held>,
        packet_len: usize,
        grouping: Grouping,
    ) -> Result<(), Frame<Held>> {
        self.check(umem);
        if self.transmit_space() == 0 {
            return Err(frame);
        }
        self.take_down(umem, &frame, packet_len);
        self.sender.queue_held(umem, frame, packet_len, grouping);
        Ok(())
    }

    /// Counts a session whose packets begin to go alone.
    pub fn note_parted(&mut self) {
        self.counters.parted += 1;
    }

    /// Sends what is queued, as far as the kernel takes it; the rest goes with a later kick.
    pub fn kick(&mut self, umem: &Umem) {
        self.check(umem);
        self.sender
            .send(umem, &self.port.sockets, &mut self.counters);
    }

    /// Packets that the kernel has not taken yet.
    pub fn queued(&self) -> usize {
        self.sender.queued()
    }

    /// Takes back the frames of all packets that the kernel took: free ones are freed, held ones appended to `returned`.
    /// Returns how many there were in all.
    pub fn complete(&mut self, umem: &mut Umem, returned: &mut Vec<Frame<Held>>) -> usize {
        self.check(umem);
        self.sender.complete(umem, returned)
    }

    /// Packets that there is room for.
    pub fn transmit_space(&self) -> usize {
        QUEUE - self.queued().min(QUEUE)
    }

    /// What becomes readable when there is something to receive.
    pub fn fd(&self) -> RawFd {
        match (&self.poll, self.port.sockets.first()) {
            (Some(poll), _) => poll.as_raw_fd(),
            (None, Some(socket)) => socket.socket.as_raw_fd(),
            // A port has a socket.
            (None, None) => -1,
        }
    }

    /// What the kernel heard about the other end of a connected socket since the last question, e.g. that its port is closed.
    pub fn take_error(&mut self) -> Option<io::Error> {
        self.sender.heard.take()
    }

    /// Counters of the link and of its sockets.
    pub fn counters(&self) -> UdpCounters {
        let mut counters = self.counters;
        for socket in &self.port.sockets {
            counters.buffer_full += sys::drops(socket.socket.as_fd()).unwrap_or(0);
            counters.receive_buffer = socket.receive_buffer as u64;
            counters.send_buffer = socket.send_buffer as u64;
        }
        counters
    }

    /// From now on every packet received or queued goes by this tap.
    pub fn set_tap(&mut self, tap: Tap) {
        self.tap = Some(tap);
    }

    /// Whether there is one.
    pub fn has_tap(&self) -> bool {
        self.tap.is_some()
    }

    #[inline]
    fn take_down<S: Transmittable>(&mut self, umem: &Umem, frame: &Frame<S>, packet_len: usize) {
        if let Some(tap) = &mut self.tap {
            tap.sent(umem.packet_to_send(frame, packet_len));
        }
    }

    #[inline]
    fn check(&self, umem: &Umem) {
        assert_eq!(
            umem.pool(),
            self.pool,
            "a link used with another UMEM than its own"
        );
    }
}

impl fmt::Debug for UdpLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpLink")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// A descriptor that is readable when any of the sockets is.
fn poll_all(port: &UdpPort) -> rustix::io::Result<OwnedFd> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (number, socket) in port.sockets.iter().enumerate() {
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&poll, &socket.socket, data, epoll::EventFlags::IN)?;
    }
    Ok(poll)
}
