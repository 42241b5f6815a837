//! The socket and its rings.

use std::{
    error::Error as _,
    fmt, io,
    ops::Range,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    thread,
    time::{Duration, Instant},
};

use rustix::net::{RecvFlags, recv};
use xsk_rs::{
    CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue,
    config::{BindFlags, Interface, LibxdpFlags, QueueSize, SocketConfig},
    socket::XdpStatistics,
};

mod transmit;

pub use self::transmit::Parts;
use super::fragments::Joiner;
use super::{BindMode, XskConfig, XskError, XskStatistics, options};
use crate::dump::Tap;
use crate::umem::{Frame, Received, Rx, Umem};

/// Most packets that one [`XskSocket::receive`] returns, and most frames of such in several.
pub const RECEIVE_BATCH: usize = 64;
/// Pause between attempts on busy queues.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Whether the socket polls the driver itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum BusyPoll {
    Off,
    /// Yes, and nothing has come yet.
    Begun,
    /// Yes, and it is known whether there is somebody to be polled.
    Seen,
}
/// The ends of a bound socket; the rings of the UMEM come with its first one.
type Bound = (TxQueue, RxQueue, Option<(FillQueue, CompQueue)>);

/// An AF_XDP socket bound to one queue of one interface. Used by one thread, with the UMEM it was opened on.
pub struct XskSocket {
    rx: RxQueue,
    tx: TxQueue,
    fill: FillQueue,
    completion: CompQueue,
    tx_ring: u32,
    interface: String,
    queue: u32,
    zero_copy: bool,
    /// The program on the interface runs in the network stack.
    generic: bool,
    busy_poll: BusyPoll,
    /// The UMEM this socket is on.
    pool: u16,
    /// Descriptors on their way from or to a ring.
    batch: Box<[FrameDesc; RECEIVE_BATCH]>,
    filling: Vec<FrameDesc>,
    /// Puts packets in several frames together.
    joiner: Joiner,
    /// Frames sent in packets of several.
    tx_fragments: u64,
    misplaced: u64,
    /// Takes packets down, when somebody wants to see them.
    tap: Option<Tap>,
}

impl XskSocket {
    /// Opens and binds a socket on `umem`, to the first of the queues that nobody has. Waits for one when all are busy.
    ///
    /// The network namespace is that of the thread that made the UMEM. A UMEM takes one socket in its life.
    pub fn open(config: &XskConfig, umem: &mut Umem) -> Result<Self, XskError> {
        let made = umem.rings();
        let asked = (config.fill_ring, config.completion_ring);
        let xdp_umem = umem.memory().xdp_umem().cloned().ok_or(XskError::NotXdp)?;
        if asked != made {
            return Err(XskError::RingMismatch { asked, made });
        }
        if umem.is_bound() {
            return Err(XskError::UmemInUse);
        }
        let options = socket_config(config, umem.has_fragments())?;
        let asked = (config.rx_ring, config.tx_ring);
        let first = umem.fix_socket_rings(asked);
        if first != asked {
            return Err(XskError::RingsFixed { asked, first });
        }
        let mut socket = Self::bind(config, options, &xdp_umem, umem.pool())?;
        socket.joiner = Joiner::new(umem.has_fragments());
        umem.bind();
        Ok(socket)
    }

    fn bind(
        config: &XskConfig,
        options: SocketConfig,
        umem: &xsk_rs::Umem,
        pool: u16,
    ) -> Result<Self, XskError> {
        let interface: Interface =
            config
                .interface
                .parse()
                .map_err(|_| XskError::InterfaceName {
                    interface: config.interface.clone(),
                })?;
        let deadline = Instant::now() + config.patience;
        let (queue, (tx, rx, rings)) = loop {
            if let Some(bound) = Self::try_queues(config, options, umem, &interface)? {
                break bound;
            }
            if Instant::now() >= deadline {
                let (first, last) = (config.queue, config.last_queue);
                return Err(XskError::busy(config.interface.clone(), first, last));
            }
            thread::sleep(BUSY_PAUSE);
        };
        let Some((fill, completion)) = rings else {
            // Only a second socket on one UMEM and queue goes without.
            return Err(XskError::UmemInUse);
        };
        let mut socket = Self {
            rx,
            tx,
            fill,
            completion,
            tx_ring: config.tx_ring,
            interface: config.interface.clone(),
            queue,
            zero_copy: false,
            generic: false,
            busy_poll: BusyPoll::Off,
            pool,
            batch: Box::new([FrameDesc::default(); RECEIVE_BATCH]),
            filling: Vec::with_capacity(config.fill_ring as usize),
            joiner: Joiner::default(),
            tx_fragments: 0,
            misplaced: 0,
            tap: None,
        };
        options::lift_transmit_limits(socket.as_fd(), config.tx_ring);
        if let Some(time) = config.busy_poll {
            options::poll_busily(socket.as_fd(), time)?;
            socket.busy_poll = BusyPoll::Begun;
        }
        socket.zero_copy = options::is_zero_copy(socket.as_fd())
            .map_err(|source| XskError::from_open(source, config, queue))?;
        socket.generic = options::has_generic_program(&config.interface);
        Ok(socket)
    }

    /// Binds to the first queue that nobody has; `None`: all are busy.
    fn try_queues(
        config: &XskConfig,
        options: SocketConfig,
        umem: &xsk_rs::Umem,
        interface: &Interface,
    ) -> Result<Option<(u32, Bound)>, XskError> {
        for queue in config.queue..=config.last_queue.max(config.queue) {
            // SAFETY: libxdp loads no program (INHIBIT_PROG_LOAD), which is what this function asks for.
            let error = match unsafe { Socket::new(options, umem, interface, queue) } {
                Ok(bound) => return Ok(Some((queue, bound))),
                Err(error) => system_error(&error),
            };
            match error.raw_os_error() {
                Some(libc::EBUSY) => {}
                // The interface was made for more queues than it has now: those before were busy.
                Some(libc::EINVAL) if queue > config.queue => break,
                _ => return Err(XskError::from_open(error, config, queue)),
            }
        }
        Ok(None)
    }

    /// Puts free frames on the fill ring until `target` frames are with the kernel for reception, as far as
    /// free frames and the ring go, and wakes the driver when it asks. Returns how many were added.
    pub fn fill(&mut self, umem: &mut Umem, target: usize) -> usize {
        self.check(umem);
        let missing = target.saturating_sub(umem.counts().fill);
        let mut added = 0;
        if missing > 0 {
            let room = self.fill.nb_free(missing as u32) as usize;
            self.filling.clear();
            umem.fill_descriptors(missing.min(room), &mut self.filling);
            // SAFETY: the frames were free and are now in state Fill, so nobody touches them until they are
            // received; they are of the UMEM that this socket was opened on.
            added = unsafe { self.fill.produce(&self.filling) };
            for refused in &self.filling[added..] {
                umem.unfill(refused);
            }
        }
        if self.fill.needs_wakeup() {
            // Nothing is received by this call; it only starts the driver. Its errors (EAGAIN) say nothing new.
            let _ = recv(self.as_fd(), &mut [0u8; 0][..], RecvFlags::DONTWAIT);
        }
        added
    }

    /// Appends the packets received, at most [`RECEIVE_BATCH`], on a UMEM whose packets lie in one frame each; returns how
    /// many.
    pub fn receive(&mut self, umem: &mut Umem, batch: &mut Vec<Frame<Rx>>) -> usize {
        self.receive_parts(umem, batch, &mut Vec::new())
    }

    /// Appends the frames received, at most [`RECEIVE_BATCH`] and those of one more packet; returns how many. Each is a
    /// packet, but for those within `long`, in ascending order, each of which is one packet in several frames.
    pub fn receive_parts(
        &mut self,
        umem: &mut Umem,
        batch: &mut Vec<Frame<Rx>>,
        long: &mut Vec<Range<usize>>,
    ) -> usize {
        self.check(umem);
        // SAFETY: the frames are of the UMEM that this socket was opened on.
        let mut count = unsafe { self.rx.consume(&mut self.batch[..]) };
        if count == 0 && self.busy_poll != BusyPoll::Off {
            // Nothing is received by this call; it has the driver put packets into the ring.
            let _ = recv(self.as_fd(), &mut [0u8; 0][..], RecvFlags::DONTWAIT);
            // SAFETY: as above.
            count = unsafe { self.rx.consume(&mut self.batch[..]) };
        }
        if count > 0 && self.busy_poll == BusyPoll::Begun {
            self.see_who_is_polled();
        }
        let (before, before_long) = (batch.len(), long.len());
        for descriptor in &self.batch[..count] {
            let more = descriptor.has_more_frames();
            let frame = match umem.received(descriptor) {
                Received::Packet(frame) => Some(frame),
                Received::Misplaced => {
                    self.misplaced += 1;
                    None
                }
            };
            if more || self.joiner.is_within() {
                self.joiner.take(umem, frame, more, batch, long);
            } else {
                batch.extend(frame);
            }
        }
        if self.tap.is_some() {
            self.take_down_received(umem, &batch[before..], &long[before_long..], before);
        }
        batch.len() - before
    }

    /// Shows the frames received to the tap; `long` counts from `before` frames earlier.
    #[cold]
    fn take_down_received(
        &mut self,
        umem: &Umem,
        frames: &[Frame<Rx>],
        long: &[Range<usize>],
        before: usize,
    ) {
        let Some(tap) = &mut self.tap else {
            return;
        };
        let mut at = 0;
        for range in long {
            let (start, end) = (range.start - before, range.end - before);
            for frame in &frames[at..start] {
                tap.received(umem.packet(frame));
            }
            tap.received(&umem.linear(&frames[start..end]));
            at = end;
        }
        for frame in &frames[at..] {
            tap.received(umem.packet(frame));
        }
    }

    /// Says so when packets come by no instance of NAPI that a program could poll.
    #[cold]
    fn see_who_is_polled(&mut self) {
        self.busy_poll = BusyPoll::Seen;
        match options::incoming_napi_id(self.as_fd()) {
            Ok(0) => tracing::warn!(
                "busy polling does nothing on queue {} of {}: the kernel knows no NAPI instance of it (the driver tells of none, or \
                 the XDP program runs in generic mode)",
                self.queue,
                self.interface
            ),
            Ok(id) => tracing::info!(napi_id = id, "busy polling"),
            Err(error) => tracing::debug!(%error, "SO_INCOMING_NAPI_ID"),
        }
    }

    /// Whether a packet waits on the RX ring.
    pub fn has_received(&mut self) -> bool {
        self.rx.nb_avail(1) > 0
    }

    /// From now on every packet received or put into the TX ring goes by this tap.
    pub fn set_tap(&mut self, tap: Tap) {
        self.tap = Some(tap);
    }

    /// The rings hold addresses of one UMEM; frames of another must not get there.
    #[inline]
    fn check(&self, umem: &Umem) {
        assert_eq!(
            umem.pool(),
            self.pool,
            "a socket used with another UMEM than its own"
        );
    }

    /// The socket's descriptor, for an XSKMAP and for polling.
    pub fn fd(&self) -> RawFd {
        self.tx.fd().as_raw_fd()
    }

    /// The queue of the interface that it is bound to.
    pub fn bound_queue(&self) -> u32 {
        self.queue
    }

    /// Counters of kernel and socket.
    pub fn statistics(&self) -> io::Result<XskStatistics> {
        let kernel: XdpStatistics = self.tx.fd().xdp_statistics()?;
        Ok(XskStatistics {
            rx_dropped: kernel.rx_dropped(),
            rx_invalid_descriptors: kernel.rx_invalid_descs(),
            tx_invalid_descriptors: kernel.tx_invalid_descs(),
            rx_ring_full: kernel.rx_ring_full(),
            rx_fill_ring_empty: kernel.rx_fill_ring_empty_descs(),
            tx_ring_empty: kernel.tx_ring_empty_descs(),
            rx_fragments: self.joiner.fragments(),
            rx_fragments_dropped: self.joiner.dropped(),
            tx_fragments: self.tx_fragments,
            rx_misplaced: self.misplaced,
        })
    }

    /// Whether the NIC reads and writes the frames itself: the kernel bound the socket in zero-copy mode, and the program is
    /// not in generic mode, in which it says that of sockets whose packets it copies, too.
    pub fn is_zero_copy(&self) -> bool {
        self.zero_copy && !self.generic
    }

    /// Whether the XDP program on the interface was in generic mode when the socket was bound: packets get here as socket
    /// buffers, and are copied.
    pub fn is_generic(&self) -> bool {
        self.generic
    }
}

impl AsFd for XskSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the queues keep the socket, and so its descriptor, open as long as `self` lives.
        unsafe { BorrowedFd::borrow_raw(self.fd()) }
    }
}

impl fmt::Debug for XskSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XskSocket")
            .field("fd", &self.fd())
            .field("zero_copy", &self.zero_copy)
            .finish_non_exhaustive()
    }
}

/// The configuration in xsk-rs' terms.
fn socket_config(config: &XskConfig, fragments: bool) -> Result<SocketConfig, XskError> {
    let ring = |size: u32| QueueSize::new(size).map_err(|_| XskError::RingSize { size });
    let mode = match config.mode {
        BindMode::Copy => BindFlags::XDP_COPY,
        BindMode::ZeroCopy => BindFlags::XDP_ZEROCOPY,
        BindMode::Auto => BindFlags::empty(),
    };
    let several = match fragments {
        true => BindFlags::XDP_USE_SG,
        false => BindFlags::empty(),
    };
    Ok(SocketConfig::builder()
        .rx_queue_size(ring(config.rx_ring)?)
        .tx_queue_size(ring(config.tx_ring)?)
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(mode | several | BindFlags::XDP_USE_NEED_WAKEUP)
        .build())
}

/// The system's error inside xsk-rs'.
fn system_error(error: &xsk_rs::socket::SocketCreateError) -> io::Error {
    error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error)
        .map_or_else(
            || io::Error::other(error.to_string()),
            io::Error::from_raw_os_error,
        )
}
