//! How a worker is set up.

use std::time::Duration;

use blk_proto::geometry::max_long_payload_for_mtu;
use blk_proto::session::RetryPolicy;

use crate::dump::Taps;
use crate::engine::{EngineConfig, Headcount};
use crate::link::Datapath;
use crate::umem::PAYLOAD_MAX;
use crate::xsk::XskConfig;

/// Descriptors in the RX ring: more than a session's largest window, so that one sender cannot overflow it.
const RX_RING: u32 = 8192;
const TX_RING: u32 = 4096;
pub(super) const FILL_RING: u32 = 8192;
pub(super) const COMPLETION_RING: u32 = 8192;

/// So long a queue that somebody has is waited for: the kernel gives it free some time after that end.
const PATIENCE: Duration = Duration::from_secs(1);

/// While so many sessions wait for their clients' first packets, new clients have to prove their addresses. More than
/// start at once in normal use, and few enough that the others still have room.
const HALF_OPEN: usize = 32;

/// Everything a worker needs to start.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The interface's name.
    pub interface: String,
    /// The queue of the interface that this worker owns.
    pub queue: u32,
    /// The last queue that will do: over AF_XDP, the worker gets the first one from `queue` to this that nobody has.
    pub last_queue: u32,
    /// How long it waits for one of them when others have them all.
    pub patience: Duration,
    /// The CPU to stay on; `None` lets the scheduler choose.
    pub cpu: Option<usize>,
    /// How an AF_XDP socket binds; of no account to UDP sockets.
    pub datapath: Datapath,
    /// 4 KiB frames in the UMEM.
    pub frames: u32,
    /// Most operations in flight in its disk queue.
    pub disk_depth: u32,
    /// How long an idle worker spins before it sleeps, at least: longer, up to 50 us, while small requests come close together. None
    /// at all: it never spins, but sleeps as soon as there is nothing to do, and says so in the log.
    pub spin: Duration,
    /// For how long a worker over AF_XDP polls the driver before it sleeps; `None`: it does not.
    pub busy_poll: Option<Duration>,
    /// Where its packets are taken down; `None`: nowhere.
    pub dump: Option<Taps>,
    /// The MTU that decides about packets in several frames; 0: there are none. That of the interface, or of the route if that is less.
    pub long_mtu: u32,
    /// The engine's own limits.
    pub engine: EngineConfig,
}

impl WorkerConfig {
    /// Defaults for one queue of an interface with the given MTU; `port` is this end's UDP port.
    ///
    /// The frames are split between the fill ring, blocks that wait for the disk, and blocks being sent, and some are
    /// left for control packets, so that none of them starves the others. There are so many because they are the most
    /// that can be on the way: 1 Gb/s over 100 ms at an MTU of 1500 are 8,300 packets. Where packets may take several frames, each credit
    /// is for as many, also when the path has them shorter: then it is a third of that, or less.
    pub fn new(interface: &str, queue: u32, mtu: u32, port: u16, accept: bool) -> Self {
        let frames = 24 * 1024;
        Self {
            interface: interface.to_owned(),
            queue,
            last_queue: queue,
            patience: PATIENCE,
            cpu: None,
            datapath: Datapath::PreferXdp,
            frames,
            disk_depth: 256,
            spin: Duration::from_micros(10),
            busy_poll: None,
            dump: None,
            long_mtu: mtu,
            engine: EngineConfig {
                port,
                max_payload: max_payload_for(mtu),
                max_send_payload: max_payload_for(mtu),
                long_payload: None,
                accept,
                worker: 0,
                workers: Headcount::from(1),
                retry: RetryPolicy::Above(HALF_OPEN),
                fill_target: 2 * 1024,
                receive_frames: 10 * 1024,
                send_frames: 10 * 1024,
                max_sessions: 192,
                idle_timeout: Duration::from_secs(20),
                unanswered_timeout: Duration::from_secs(20),
                handshake_timeout: Duration::from_secs(5),
            },
        }
    }

    /// As `top -H` and `perf` show it.
    pub(super) fn thread_name(&self) -> String {
        let role = if self.engine.accept {
            "server"
        } else {
            "client"
        };
        format!("blk-{role}-q{}", self.queue)
    }

    /// Longest payload of packets in several frames; `None`: there are none. Only in copy mode behind a native program: few drivers have
    /// both them and zero-copy, and what generic mode does with them differs from kernel to kernel.
    pub(super) fn long_payload(&self) -> Option<u16> {
        match self.datapath {
            Datapath::Copy => max_long_payload_for_mtu(self.long_mtu as usize),
            _ => None,
        }
    }

    pub(super) fn xsk(&self) -> XskConfig {
        XskConfig {
            interface: self.interface.clone(),
            queue: self.queue,
            last_queue: self.last_queue,
            patience: self.patience,
            mode: self.datapath.bind_mode(),
            rx_ring: RX_RING,
            tx_ring: TX_RING,
            fill_ring: FILL_RING,
            completion_ring: COMPLETION_RING,
            busy_poll: self.busy_poll,
        }
    }
}

/// The largest payload that fits one frame and one packet of the MTU.
pub fn max_payload_for(mtu: u32) -> u16 {
    blk_proto::geometry::max_payload_for_mtu(mtu as usize).min(PAYLOAD_MAX) as u16
}
