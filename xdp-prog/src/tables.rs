//! What can be changed while the program runs, each by one system call or two, without a reload.

use std::net::IpAddr;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, CpuMap, MapData, MapError};
use aya::{Ebpf, Pod};

use crate::abi::{
    self, FLAG_ALLOW_LIST, KERNEL_CPUS_MAX, RULE_ALLOW, RULE_DENY, RULES_MAX, Settings,
    WORKERS_PER_QUEUE,
};
use crate::error::{AttachError, TableError, os_error};
use crate::limit::HandshakeLimit;
use crate::load::take_map;
use crate::network::Network;
use crate::ports::PortRange;

/// Packets that wait for the kernel on another CPU; the kernel takes up to 16,384 (kernel/bpf/cpumap.c).
const CPU_QUEUE_LEN: u32 = 2048;

// SAFETY: `repr(C)`, integers only, and no padding: its size assert is the sum of its fields.
unsafe impl Pod for Settings {}

/// The tables that the program decides by.
///
/// A change holds for all packets that come after the call. Ports and limits change as a whole: no packet meets
/// half of a change, unless two more follow while the program looks at that one packet.
pub struct Tables {
    settings: Array<MapData, Settings>,
    active: Array<MapData, u32>,
    workers: Array<MapData, u32>,
    sources_v4: LpmTrie<MapData, [u8; 4], u32>,
    sources_v6: LpmTrie<MapData, [u8; 16], u32>,
    cpus: CpuMap<MapData>,
    kernel_cpus: Array<MapData, u32>,
    /// The settings that count.
    current: Settings,
    /// Where they are.
    index: u32,
    queues: u32,
}

impl Tables {
    /// Takes the tables out of a loaded object and fills in the ports; everything else is off.
    pub(crate) fn new(ebpf: &mut Ebpf, ports: PortRange, queues: u32) -> Result<Self, AttachError> {
        let mut tables = Self {
            settings: Array::try_from(take_map(ebpf, abi::SETTINGS)?)?,
            active: Array::try_from(take_map(ebpf, abi::ACTIVE)?)?,
            workers: Array::try_from(take_map(ebpf, abi::WORKERS)?)?,
            sources_v4: LpmTrie::try_from(take_map(ebpf, abi::SOURCES_V4)?)?,
            sources_v6: LpmTrie::try_from(take_map(ebpf, abi::SOURCES_V6)?)?,
            cpus: CpuMap::try_from(take_map(ebpf, abi::CPUS)?)?,
            kernel_cpus: Array::try_from(take_map(ebpf, abi::KERNEL_CPUS)?)?,
            current: Settings::default(),
            index: 0,
            queues,
        };
        let settings = with_ports(tables.current, ports);
        tables.activate(settings).map_err(AttachError::load)?;
        Ok(tables)
    }

    /// The ports that the program serves.
    #[must_use]
    pub const fn ports(&self) -> PortRange {
        match PortRange::new(self.current.port_first, self.current.port_count) {
            Ok(ports) => ports,
            // They came from a `PortRange`.
            Err(_) => unreachable!(),
        }
    }

    /// Serves other ports from now on. Sockets stay in their slots: the worker of a port is counted from the new
    /// first port on.
    ///
    /// # Errors
    /// [`TableError::Map`] when the kernel refuses.
    pub fn set_ports(&mut self, ports: PortRange) -> Result<(), TableError> {
        self.change(with_ports(self.current, ports))
    }

    /// How many workers share a queue: as many as were set, else one for each port, at most 16.
    ///
    /// # Errors
    /// [`TableError`]: no such queue, or the kernel refuses.
    pub fn workers(&self, queue: u32) -> Result<u32, TableError> {
        self.check_queue(queue)?;
        let workers = match self.workers.get(&queue, 0).map_err(TableError::Map)? {
            0 => u32::from(self.current.port_count),
            set => set,
        };
        Ok(workers.min(WORKERS_PER_QUEUE))
    }

    /// Shares a queue among so many workers: port `first + n` belongs to worker `n` modulo their number. `None`: one
    /// worker for each port, at most 16.
    ///
    /// # Errors
    /// [`TableError`]: no such queue, not 1 to 16 workers, or the kernel refuses.
    pub fn set_workers(&mut self, queue: u32, workers: Option<u32>) -> Result<(), TableError> {
        self.check_queue(queue)?;
        if let Some(workers) = workers
            && !(1..=WORKERS_PER_QUEUE).contains(&workers)
        {
            return Err(TableError::Workers(workers));
        }
        let value = workers.unwrap_or(0);
        self.workers.set(queue, value, 0).map_err(TableError::Map)
    }

    /// Takes packets from the allowed sources only, or again from all. Enter the sources first.
    ///
    /// # Errors
    /// [`TableError::Map`] when the kernel refuses.
    pub fn enforce_allow_list(&mut self, enforce: bool) -> Result<(), TableError> {
        let mut settings = self.current;
        settings.flags &= !FLAG_ALLOW_LIST;
        if enforce {
            settings.flags |= FLAG_ALLOW_LIST;
        }
        self.change(settings)
    }

    /// Lets a network's sources in. Of several entries for a source the one with the longest prefix decides; a
    /// source without any is not let in.
    ///
    /// # Errors
    /// [`TableError`]: the list is full, or the kernel refuses.
    pub fn allow(&mut self, network: Network) -> Result<(), TableError> {
        self.set_rule(network, RULE_ALLOW)
    }

    /// Keeps a network's sources out, as an exception from a larger one that is let in.
    ///
    /// # Errors
    /// As [`allow`](Self::allow).
    pub fn deny(&mut self, network: Network) -> Result<(), TableError> {
        self.set_rule(network, RULE_DENY)
    }

    /// Takes the entry of this very network off the list, `false` when there is none.
    ///
    /// # Errors
    /// [`TableError::Map`] when the kernel refuses.
    pub fn forget(&mut self, network: Network) -> Result<bool, TableError> {
        let prefix = network.prefix().into();
        let result = match network.address() {
            IpAddr::V4(address) => self.sources_v4.remove(&Key::new(prefix, address.octets())),
            IpAddr::V6(address) => self.sources_v6.remove(&Key::new(prefix, address.octets())),
        };
        match result {
            Ok(()) => Ok(true),
            Err(error) if os_error(&error) == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(TableError::Map(error)),
        }
    }

    /// Bounds the handshake packets of each source; `None` ends that.
    ///
    /// # Errors
    /// [`TableError::Map`] when the kernel refuses.
    pub fn set_handshake_limit(&mut self, limit: Option<HandshakeLimit>) -> Result<(), TableError> {
        let (token_interval, token_burst) = limit.map_or((0, 0), HandshakeLimit::nanoseconds);
        self.change(Settings {
            token_interval,
            token_burst,
            ..self.current
        })
    }

    /// Has the kernel work on packets without a socket on these CPUs, those of each queue on one of them in turn,
    /// and not on the one that the NIC interrupts. None: there.
    ///
    /// Not for packets of a local sender that leaves checksums to its NIC (veth, by default): on this way the kernel
    /// forgets that they are to be filled in, and drops the packet (`__xdp_build_skb_from_frame` in net/core/xdp.c).
    ///
    /// # Errors
    /// [`TableError`]: more than 64 CPUs, no such CPU, or the kernel refuses. Nothing has changed then.
    pub fn set_kernel_cpus(&mut self, cpus: &[u32]) -> Result<(), TableError> {
        if cpus.len() > KERNEL_CPUS_MAX as usize {
            return Err(TableError::TooManyCpus(cpus.len()));
        }
        for &cpu in cpus {
            self.start_cpu(cpu)?;
        }
        for (turn, cpu) in (0..).zip(cpus) {
            self.kernel_cpus
                .set(turn, cpu, 0)
                .map_err(TableError::Map)?;
        }
        self.change(Settings {
            kernel_cpus: cpus.len() as u32,
            ..self.current
        })?;
        // A CPU that nothing goes to any more needs no thread; the kernel empties its queue first.
        for cpu in (0..self.cpus.len()).filter(|cpu| !cpus.contains(cpu)) {
            if self.has_cpu(cpu) {
                let removed = self.cpus.set(cpu, 0, None, 0);
                removed.map_err(|error| TableError::cpu(cpu, error))?;
            }
        }
        Ok(())
    }

    /// Has the kernel start a thread on a CPU that takes packets there.
    fn start_cpu(&mut self, cpu: u32) -> Result<(), TableError> {
        if cpu >= self.cpus.len() {
            return Err(TableError::NoSuchCpu(cpu));
        }
        if self.has_cpu(cpu) {
            return Ok(());
        }
        let set = self.cpus.set(cpu, CPU_QUEUE_LEN, None, 0);
        set.map_err(|error| TableError::cpu(cpu, error))
    }

    fn has_cpu(&self, cpu: u32) -> bool {
        self.cpus
            .get(cpu, 0)
            .is_ok_and(|value| value.queue_size > 0)
    }

    fn set_rule(&mut self, network: Network, rule: u32) -> Result<(), TableError> {
        let prefix = network.prefix().into();
        let result = match network.address() {
            IpAddr::V4(address) => {
                let key = Key::new(prefix, address.octets());
                self.sources_v4.insert(&key, rule, 0)
            }
            IpAddr::V6(address) => {
                let key = Key::new(prefix, address.octets());
                self.sources_v6.insert(&key, rule, 0)
            }
        };
        result.map_err(|error| match os_error(&error) {
            Some(libc::ENOSPC) => TableError::ListFull { most: RULES_MAX },
            _ => TableError::Map(error),
        })
    }

    fn change(&mut self, settings: Settings) -> Result<(), TableError> {
        self.activate(settings).map_err(TableError::Map)
    }

    /// Writes the settings where nobody reads, and then says that they count.
    fn activate(&mut self, settings: Settings) -> Result<(), MapError> {
        let index = 1 - self.index;
        self.settings.set(index, settings, 0)?;
        self.active.set(0, index, 0)?;
        (self.current, self.index) = (settings, index);
        Ok(())
    }

    fn check_queue(&self, queue: u32) -> Result<(), TableError> {
        let queues = self.queues;
        if queue >= queues {
            return Err(TableError::NoSuchQueue { queue, queues });
        }
        Ok(())
    }
}

const fn with_ports(settings: Settings, ports: PortRange) -> Settings {
    Settings {
        port_first: ports.first(),
        port_count: ports.count(),
        ..settings
    }
}
