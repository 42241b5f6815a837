//! The object in the kernel: program, socket map and counters, not attached to anything yet.

use std::os::fd::AsRawFd;

use aya::maps::{Map, MapData, MapError, PerCpuArray, XskMap};
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use crate::abi::{self, Verdict, WORKERS_PER_QUEUE};
use crate::error::{AttachError, CountersError, PortRangeError, SlotError, os_error};

/// The program's object as `scripts/build-ebpf` makes it.
pub(crate) static OBJECT: &[u8] = include_bytes_aligned!("../blk_xdp.o");

/// `BPF_NOEXIST` of bpf(2): do not replace an entry.
const NO_REPLACE: u64 = 1;

/// The UDP ports that are the protocol's on an interface: worker `n` of a queue has port `first + n`.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct PortRange {
    first: u16,
    count: u16,
}

impl PortRange {
    /// `count` ports from `first` on.
    ///
    /// # Errors
    /// [`PortRangeError`] unless there are 1 to 16 ports, none of them 0 or beyond 65535.
    pub const fn new(first: u16, count: u16) -> Result<Self, PortRangeError> {
        let fits = first != 0 && count != 0 && count as u32 <= WORKERS_PER_QUEUE;
        if !fits || first as u32 + count as u32 > 65536 {
            return Err(PortRangeError { first, count });
        }
        Ok(Self { first, count })
    }

    /// The first port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// How many ports, hence workers per queue.
    #[must_use]
    pub const fn count(self) -> u16 {
        self.count
    }
}

/// Packets by what the program did with them, since it was loaded, on all CPUs.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Given to an AF_XDP socket. The kernel may still drop one: no free frame, or a socket bound to
    /// another queue than its slot's; the socket's own statistics tell.
    pub redirected: u64,
    /// To one of the ports, but on a queue without a socket: passed to the kernel.
    pub no_socket: u64,
    /// Not UDP, or to other ports: passed to the kernel.
    pub not_ours: u64,
    /// Fragments of UDP datagrams, to whatever port: passed to the kernel.
    pub fragments: u64,
    /// UDP with IPv4 options, to whatever port: passed to the kernel.
    pub options: u64,
    /// With truncated or contradictory headers: passed to the kernel.
    pub malformed: u64,
}

/// The loaded object.
pub(crate) struct Loaded {
    ebpf: Ebpf,
    sockets: XskMap<MapData>,
    counters: PerCpuArray<MapData, u64>,
    ports: PortRange,
    queues: u32,
}

impl Loaded {
    /// Loads the object with room for `queues` RX queues, at least one.
    pub(crate) fn new(ports: PortRange, queues: u32) -> Result<Self, AttachError> {
        let queues = queues.max(1);
        let mut ebpf = EbpfLoader::new()
            .override_global(abi::PORT_FIRST, &ports.first, true)
            .override_global(abi::PORT_COUNT, &ports.count, true)
            .map_max_entries(abi::SOCKETS, queues.saturating_mul(WORKERS_PER_QUEUE))
            .load(OBJECT)?;
        let sockets = XskMap::try_from(take_map(&mut ebpf, abi::SOCKETS)?)?;
        let counters = PerCpuArray::try_from(take_map(&mut ebpf, abi::COUNTERS)?)?;
        let mut loaded = Self {
            ebpf,
            sockets,
            counters,
            ports,
            queues,
        };
        loaded.program_mut()?.load()?;
        Ok(loaded)
    }

    /// The program.
    pub(crate) fn program(&self) -> Result<&Xdp, AttachError> {
        let program = self.ebpf.program(abi::PROGRAM);
        Ok(program.ok_or_else(|| missing(abi::PROGRAM))?.try_into()?)
    }

    fn program_mut(&mut self) -> Result<&mut Xdp, AttachError> {
        let program = self.ebpf.program_mut(abi::PROGRAM);
        Ok(program.ok_or_else(|| missing(abi::PROGRAM))?.try_into()?)
    }

    /// Puts a socket into an empty slot.
    pub(crate) fn register(
        &mut self,
        queue: u32,
        worker: u32,
        socket: &impl AsRawFd,
    ) -> Result<(), SlotError> {
        let slot = self.slot(queue, worker)?;
        let descriptor = socket.as_raw_fd();
        let result = self.sockets.set(slot, descriptor, NO_REPLACE);
        result.map_err(|error| match os_error(&error) {
            Some(libc::EEXIST) => SlotError::Taken { queue, worker },
            // net/xdp/xskmap.c: not a descriptor, not a socket, not AF_XDP.
            Some(libc::EBADF | libc::ENOTSOCK | libc::EOPNOTSUPP) => {
                SlotError::NotASocket { descriptor }
            }
            _ => SlotError::Map(error),
        })
    }

    /// Empties a slot; an empty one stays empty.
    pub(crate) fn unregister(&mut self, queue: u32, worker: u32) -> Result<(), SlotError> {
        let slot = self.slot(queue, worker)?;
        self.sockets.unset(slot).map_err(SlotError::Map)
    }

    /// The slot of a worker on a queue; the program computes the same from queue and port.
    fn slot(&self, queue: u32, worker: u32) -> Result<u32, SlotError> {
        if queue >= self.queues {
            let queues = self.queues;
            return Err(SlotError::NoSuchQueue { queue, queues });
        }
        let workers = u32::from(self.ports.count);
        if worker >= workers {
            return Err(SlotError::NoSuchWorker { worker, workers });
        }
        Ok(queue * WORKERS_PER_QUEUE + worker)
    }

    /// Sums up the counters of all CPUs.
    pub(crate) fn counters(&self) -> Result<Counters, CountersError> {
        let sum = |verdict: Verdict| -> Result<u64, CountersError> {
            let cpus = self.counters.get(&(verdict as u32), 0);
            Ok(cpus.map_err(CountersError)?.iter().sum())
        };
        Ok(Counters {
            redirected: sum(Verdict::Redirected)?,
            no_socket: sum(Verdict::NoSocket)?,
            not_ours: sum(Verdict::NotOurs)?,
            fragments: sum(Verdict::Fragment)?,
            options: sum(Verdict::Options)?,
            malformed: sum(Verdict::Malformed)?,
        })
    }

    /// The ports that the program serves.
    pub(crate) const fn ports(&self) -> PortRange {
        self.ports
    }

    /// RX queues that the socket map has room for.
    pub(crate) const fn queues(&self) -> u32 {
        self.queues
    }
}

/// Takes a map out of the object.
fn take_map(ebpf: &mut Ebpf, name: &str) -> Result<Map, AttachError> {
    ebpf.take_map(name).ok_or_else(|| missing(name))
}

/// The error for an object that lacks something; only a wrong object is like that.
fn missing(name: &str) -> AttachError {
    AttachError::load(MapError::InvalidName {
        name: name.to_owned(),
    })
}
