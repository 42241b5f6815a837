//! The object in the kernel: program, socket map, tables and counters, not attached to anything yet.

use std::os::fd::AsRawFd;

use aya::maps::{Map, MapData, MapError, PerCpuArray, XskMap};
use aya::programs::Xdp;
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use crate::abi::{self, Verdict, WORKERS_PER_QUEUE};
use crate::counters::Counters;
use crate::error::{AttachError, CountersError, SlotError, os_error};
use crate::ports::PortRange;
use crate::tables::Tables;

/// The program's object as `scripts/build-ebpf` makes it.
pub(crate) static OBJECT: &[u8] = include_bytes_aligned!("../blk_xdp.o");

/// `BPF_NOEXIST` of bpf(2): do not replace an entry.
const NO_REPLACE: u64 = 1;

/// The loaded object.
pub(crate) struct Loaded {
    ebpf: Ebpf,
    sockets: XskMap<MapData>,
    counters: PerCpuArray<MapData, u64>,
    tables: Tables,
    queues: u32,
}

impl Loaded {
    /// Loads the object with room for `queues` RX queues, at least one.
    pub(crate) fn new(ports: PortRange, queues: u32) -> Result<Self, AttachError> {
        let queues = queues.max(1);
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(abi::SOCKETS, queues.saturating_mul(WORKERS_PER_QUEUE))
            .map_max_entries(abi::WORKERS, queues)
            .map_max_entries(abi::CPUS, possible_cpus()?)
            .load(OBJECT)?;
        let sockets = XskMap::try_from(take_map(&mut ebpf, abi::SOCKETS)?)?;
        let counters = PerCpuArray::try_from(take_map(&mut ebpf, abi::COUNTERS)?)?;
        let tables = Tables::new(&mut ebpf, ports, queues)?;
        let mut loaded = Self {
            ebpf,
            sockets,
            counters,
            tables,
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
        let workers = self.tables.workers(queue).map_err(SlotError::Table)?;
        if worker >= workers {
            return Err(SlotError::NoSuchWorker { worker, workers });
        }
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
        let workers = WORKERS_PER_QUEUE;
        if worker >= workers {
            return Err(SlotError::NoSuchWorker { worker, workers });
        }
        Ok(queue * WORKERS_PER_QUEUE + worker)
    }

    /// The counters of each CPU, those that could be there included, by its number.
    pub(crate) fn counters_by_cpu(&self) -> Result<Vec<Counters>, CountersError> {
        let mut counts = Vec::new();
        for verdict in Verdict::ALL {
            let cpus = self.counters.get(&(verdict as u32), 0);
            counts.push(cpus.map_err(CountersError)?);
        }
        let cpus = counts.first().map_or(0, |counts| counts.len());
        let of_cpu = |cpu: usize| Counters::by(|verdict| counts[verdict as usize][cpu]);
        Ok((0..cpus).map(of_cpu).collect())
    }

    /// Sums up the counters of all CPUs.
    pub(crate) fn counters(&self) -> Result<Counters, CountersError> {
        let mut sum = Counters::default();
        for counters in self.counters_by_cpu()? {
            sum += counters;
        }
        Ok(sum)
    }

    /// What can be changed.
    pub(crate) const fn tables(&self) -> &Tables {
        &self.tables
    }

    /// What can be changed.
    pub(crate) const fn tables_mut(&mut self) -> &mut Tables {
        &mut self.tables
    }

    /// RX queues that the socket map has room for.
    pub(crate) const fn queues(&self) -> u32 {
        self.queues
    }
}

/// How many CPUs the CPUMAP has room for: the kernel wants no more than there could be.
fn possible_cpus() -> Result<u32, AttachError> {
    let cpus = nr_cpus().map_err(|(_, error)| AttachError::load(error))?;
    Ok(u32::try_from(cpus).unwrap_or(u32::MAX))
}

/// Takes a map out of the object.
pub(crate) fn take_map(ebpf: &mut Ebpf, name: &str) -> Result<Map, AttachError> {
    ebpf.take_map(name).ok_or_else(|| missing(name))
}

/// The error for an object that lacks something; only a wrong object is like that.
fn missing(name: &str) -> AttachError {
    AttachError::load(MapError::InvalidName {
        name: name.to_owned(),
    })
}
