//! The maps of a program, whoever has loaded it, and the slots in them.

use std::collections::HashMap;
use std::os::fd::AsRawFd;

use aya::maps::{Array, Map, MapData, MapError, PerCpuArray, XskMap};

use crate::abi::{self, SERVICE, SLOTS_PER_QUEUE, Verdict, slot_of};
use crate::counters::Counters;
use crate::error::{CountersError, SlotError, TableError, os_error};
use crate::tables::Tables;

/// `BPF_NOEXIST` of bpf(2): do not replace an entry.
const NO_REPLACE: u64 = 1;

/// References to the maps.
pub(crate) struct Maps {
    sockets: XskMap<MapData>,
    slots: Array<MapData, u32>,
    counters: PerCpuArray<MapData, u64>,
    tables: Tables,
    /// What this process has put into slots: slot and port.
    own: HashMap<u32, u16>,
}

impl Maps {
    /// Takes the maps by their names.
    pub(crate) fn new(mut take: impl FnMut(&str) -> Option<Map>) -> Result<Self, MapError> {
        let mut map = |name: &str| {
            take(name).ok_or_else(|| MapError::InvalidName {
                name: name.to_owned(),
            })
        };
        Ok(Self {
            sockets: XskMap::try_from(map(abi::SOCKETS)?)?,
            slots: Array::try_from(map(abi::SLOTS)?)?,
            counters: PerCpuArray::try_from(map(abi::COUNTERS)?)?,
            tables: Tables::new(&mut map)?,
            own: HashMap::new(),
        })
    }

    /// Claims a slot and puts a socket into it.
    pub(crate) fn register(
        &mut self,
        queue: u32,
        port: u16,
        socket: &impl AsRawFd,
    ) -> Result<(), SlotError> {
        let slot = self.slot(queue, port)?;
        if self.own.get(&slot).is_some_and(|&other| other != port) {
            return Err(SlotError::Taken { queue, port });
        }
        let service = self.tables.serves(port);
        let entry = u32::from(port) | if service { SERVICE } else { 0 };
        // The port first: of the slot's last owner, there is no socket any more.
        self.slots.set(slot, entry, 0).map_err(SlotError::Map)?;
        // Two that claim one port at the same moment both see the other's claim here, or one of them does.
        if !service && self.is_claimed_elsewhere(queue, port)? {
            let _ = self.slots.set(slot, 0, 0);
            return Err(SlotError::PortElsewhere { port });
        }
        let descriptor = socket.as_raw_fd();
        let result = self.sockets.set(slot, descriptor, NO_REPLACE);
        result.map_err(|error| match os_error(&error) {
            Some(libc::EEXIST) => SlotError::Taken { queue, port },
            // net/xdp/xskmap.c: not a descriptor, not a socket, not AF_XDP.
            Some(libc::EBADF | libc::ENOTSOCK | libc::EOPNOTSUPP) => {
                SlotError::NotASocket { descriptor }
            }
            _ => SlotError::Map(error),
        })?;
        self.own.insert(slot, port);
        Ok(())
    }

    /// Empties a slot of this process; an empty one stays empty.
    pub(crate) fn unregister(&mut self, queue: u32, port: u16) -> Result<(), SlotError> {
        let slot = self.slot(queue, port)?;
        if self.own.get(&slot) != Some(&port) {
            return Ok(());
        }
        self.sockets.unset(slot).map_err(SlotError::Map)?;
        self.slots.set(slot, 0, 0).map_err(SlotError::Map)?;
        self.own.remove(&slot);
        Ok(())
    }

    /// Has packets to `port` on all queues obey this process' [`Tables`], as long as its socket is in the slot of this queue.
    pub(crate) fn serve(&mut self, port: u16, queue: u32) -> Result<(), TableError> {
        let queues = self.queues();
        if queue >= queues {
            return Err(TableError::NoSuchQueue { queue, queues });
        }
        self.tables.serve(port, slot_of(queue, port))
    }

    /// Whether another queue has this port: the same number at another address of this host, or what a dead process has left.
    fn is_claimed_elsewhere(&self, queue: u32, port: u16) -> Result<bool, SlotError> {
        for other in (0..self.queues()).filter(|&other| other != queue) {
            let slot = slot_of(other, port);
            let entry = self.slots.get(&slot, 0).map_err(SlotError::Map)?;
            if entry & !SERVICE == u32::from(port) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The slot of a port on a queue; the program computes the same.
    fn slot(&self, queue: u32, port: u16) -> Result<u32, SlotError> {
        let queues = self.queues();
        if queue >= queues {
            return Err(SlotError::NoSuchQueue { queue, queues });
        }
        Ok(slot_of(queue, port))
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

    /// RX queues that there are slots for.
    pub(crate) fn queues(&self) -> u32 {
        self.slots.len() / SLOTS_PER_QUEUE
    }
}
