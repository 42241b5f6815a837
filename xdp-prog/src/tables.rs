//! What can be changed of a service while the program runs, without a reload.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use aya::Pod;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{CpuMap, HashMap, Map, MapData, MapError};

use crate::abi::{
    self, FLAG_ALLOW_LIST, KERNEL_CPUS_MAX, RULE_ALLOW, RULE_DENY, RULES_MAX, Service,
    kernel_cpu_key,
};
use crate::error::{TableError, os_error};
use crate::limit::HandshakeLimit;
use crate::network::Network;

/// Packets that wait for the kernel on another CPU; the kernel takes up to 16,384 (kernel/bpf/cpumap.c).
const CPU_QUEUE_LEN: u32 = 2048;

/// Bits of the port in front of an address in the lists.
const PORT_BITS: u32 = 16;

// SAFETY: `repr(C)`, integers only, and no padding: its size assert is the sum of its fields.
unsafe impl Pod for Service {}

/// The tables that the program decides by about packets to the port of this process' service.
///
/// A change holds for all packets that come after the call. Limits change as a whole: no packet meets
/// half of a change, unless two more follow while the program looks at that one packet. What other processes have
/// in the tables is under other ports, and is not touched.
pub struct Tables {
    services: HashMap<MapData, u32, Service>,
    sources_v4: LpmTrie<MapData, [u8; 6], u32>,
    sources_v6: LpmTrie<MapData, [u8; 18], u32>,
    cpus: CpuMap<MapData>,
    kernel_cpus: HashMap<MapData, u32, u32>,
    /// Port and settings of this process' service.
    current: Option<(u16, Service)>,
}

impl Tables {
    /// Takes the tables by their names.
    pub(crate) fn new(
        mut map: impl FnMut(&str) -> Result<Map, MapError>,
    ) -> Result<Self, MapError> {
        Ok(Self {
            services: HashMap::try_from(map(abi::SERVICES)?)?,
            sources_v4: LpmTrie::try_from(map(abi::SOURCES_V4)?)?,
            sources_v6: LpmTrie::try_from(map(abi::SOURCES_V6)?)?,
            cpus: CpuMap::try_from(map(abi::CPUS)?)?,
            kernel_cpus: HashMap::try_from(map(abi::KERNEL_CPUS)?)?,
            current: None,
        })
    }

    /// The port of this process' service, if it has one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.current.map(|(port, _)| port)
    }

    pub(crate) fn serves(&self, port: u16) -> bool {
        self.port() == Some(port)
    }

    /// Begins a service on a port, with everything off. What is there of that port is from a process that has died: this one
    /// has the UDP port now.
    pub(crate) fn serve(&mut self, port: u16, home: u32) -> Result<(), TableError> {
        self.leave();
        self.forget_rules(port)?;
        let service = Service {
            home,
            ..Service::default()
        };
        match self.services.insert(u32::from(port), service, 0) {
            Err(error) if is_full(&error) => {
                self.forget_dead(port);
                self.services.insert(u32::from(port), service, 0)
            }
            result => result,
        }
        .map_err(|error| match error {
            error if is_full(&error) => TableError::ServicesFull,
            error => TableError::Map(error),
        })?;
        self.current = Some((port, service));
        Ok(())
    }

    /// Ends the service of this process. What cannot be removed holds for nobody, either.
    pub(crate) fn leave(&mut self) {
        if let Some((port, _)) = self.current.take() {
            let _ = self.services.remove(&u32::from(port));
            let _ = self.forget_rules(port);
        }
    }

    /// Takes packets from the allowed sources only, or again from all. Enter the sources first.
    ///
    /// # Errors
    /// [`TableError`]: no service, or the kernel refuses.
    pub fn enforce_allow_list(&mut self, enforce: bool) -> Result<(), TableError> {
        self.change(|service| {
            service.flags &= !FLAG_ALLOW_LIST;
            if enforce {
                service.flags |= FLAG_ALLOW_LIST;
            }
        })
    }

    /// Lets a network's sources in. Of several entries for a source the one with the longest prefix decides; a
    /// source without any is not let in.
    ///
    /// # Errors
    /// [`TableError`]: no service, the list is full, or the kernel refuses.
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
    /// [`TableError`]: no service, or the kernel refuses.
    pub fn forget(&mut self, network: Network) -> Result<bool, TableError> {
        let (port, _) = self.current.ok_or(TableError::NoService)?;
        let result = match network.address() {
            IpAddr::V4(address) => self.sources_v4.remove(&key_v4(port, address, network)),
            IpAddr::V6(address) => self.sources_v6.remove(&key_v6(port, address, network)),
        };
        gone(result)
    }

    /// Bounds the handshake packets of each source; `None` ends that.
    ///
    /// # Errors
    /// [`TableError`]: no service, or the kernel refuses.
    pub fn set_handshake_limit(&mut self, limit: Option<HandshakeLimit>) -> Result<(), TableError> {
        self.change(|service| {
            (service.token_interval, service.token_burst) =
                limit.map_or((0, 0), HandshakeLimit::nanoseconds);
        })
    }

    /// Has the kernel work on the service's packets without a socket on these CPUs, those of each queue on one of them in turn,
    /// and not on the one that the NIC interrupts. None: there.
    ///
    /// Not for packets of a local sender that leaves checksums to its NIC (veth, by default): on this way the kernel
    /// forgets that they are to be filled in, and drops the packet (`__xdp_build_skb_from_frame` in net/core/xdp.c).
    ///
    /// # Errors
    /// [`TableError`]: no service, more than 64 CPUs, no such CPU, or the kernel refuses. Nothing has changed then.
    pub fn set_kernel_cpus(&mut self, cpus: &[u32]) -> Result<(), TableError> {
        let (port, _) = self.current.ok_or(TableError::NoService)?;
        if cpus.len() > KERNEL_CPUS_MAX as usize {
            return Err(TableError::TooManyCpus(cpus.len()));
        }
        for &cpu in cpus {
            self.start_cpu(cpu)?;
        }
        for (turn, cpu) in (0..).zip(cpus) {
            self.kernel_cpus
                .insert(kernel_cpu_key(port, turn), cpu, 0)
                .map_err(TableError::Map)?;
        }
        // The kernel's threads on CPUs that nothing goes to any more stay: other services may use them.
        self.change(|service| service.kernel_cpus = cpus.len() as u32)
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
        let (port, _) = self.current.ok_or(TableError::NoService)?;
        match self.insert_rule(port, network, rule) {
            Err(error) if is_full(&error) => {
                self.forget_dead(port);
                self.insert_rule(port, network, rule)
            }
            result => result,
        }
        .map_err(|error| match error {
            error if is_full(&error) => TableError::ListFull { most: RULES_MAX },
            error => TableError::Map(error),
        })
    }

    fn insert_rule(&mut self, port: u16, network: Network, rule: u32) -> Result<(), MapError> {
        match network.address() {
            IpAddr::V4(address) => {
                let key = key_v4(port, address, network);
                self.sources_v4.insert(&key, rule, 0)
            }
            IpAddr::V6(address) => {
                let key = key_v6(port, address, network);
                self.sources_v6.insert(&key, rule, 0)
            }
        }
    }

    /// Empties the lists of a port.
    fn forget_rules(&mut self, port: u16) -> Result<(), TableError> {
        let port = port.to_be_bytes();
        self.forget_rules_of(|other| other == port)
    }

    fn forget_rules_of(&mut self, dead: impl Fn([u8; 2]) -> bool) -> Result<(), TableError> {
        for key in keys(self.sources_v4.keys(), |key| {
            let [p, q, ..] = key.data();
            dead([p, q])
        }) {
            gone(self.sources_v4.remove(&key))?;
        }
        for key in keys(self.sources_v6.keys(), |key| {
            let [p, q, ..] = key.data();
            dead([p, q])
        }) {
            gone(self.sources_v6.remove(&key))?;
        }
        Ok(())
    }

    /// Removes what processes that died have left under ports that nobody has now, to make room.
    fn forget_dead(&mut self, own: u16) {
        let services = keys(self.services.keys(), |&port| is_free(port as u16, own));
        for port in services {
            let _ = self.services.remove(&port);
        }
        let checked = std::cell::RefCell::new(std::collections::HashMap::new());
        let dead = |port: [u8; 2]| {
            let port = u16::from_be_bytes(port);
            *checked
                .borrow_mut()
                .entry(port)
                .or_insert_with(|| is_free(port, own))
        };
        if let Err(error) = self.forget_rules_of(dead) {
            tracing::debug!(%error, "the lists of dead services stay");
        }
    }

    fn change(&mut self, change: impl FnOnce(&mut Service)) -> Result<(), TableError> {
        let (port, service) = self.current.as_mut().ok_or(TableError::NoService)?;
        let mut changed = *service;
        change(&mut changed);
        self.services
            .insert(u32::from(*port), changed, 0)
            .map_err(TableError::Map)?;
        *service = changed;
        Ok(())
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        self.leave();
    }
}

fn key_v4(port: u16, address: Ipv4Addr, network: Network) -> Key<[u8; 6]> {
    let ([p, q], [a, b, c, d]) = (port.to_be_bytes(), address.octets());
    Key::new(PORT_BITS + u32::from(network.prefix()), [p, q, a, b, c, d])
}

fn key_v6(port: u16, address: Ipv6Addr, network: Network) -> Key<[u8; 18]> {
    let mut data = [0; 18];
    data[..2].copy_from_slice(&port.to_be_bytes());
    data[2..].copy_from_slice(&address.octets());
    Key::new(PORT_BITS + u32::from(network.prefix()), data)
}

/// The keys of a map that are wanted, all read before any of them is removed.
fn keys<K>(keys: impl Iterator<Item = Result<K, MapError>>, wanted: impl Fn(&K) -> bool) -> Vec<K> {
    keys.filter_map(Result::ok).filter(wanted).collect()
}

/// What came of a removal: `false`, when there was nothing, or another process was faster.
fn gone(result: Result<(), MapError>) -> Result<bool, TableError> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if os_error(&error) == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(TableError::Map(error)),
    }
}

/// Whether nobody has a UDP port: then whoever had a service on it is dead.
fn is_free(port: u16, own: u16) -> bool {
    let addresses = [
        (IpAddr::from(Ipv6Addr::UNSPECIFIED), port).into(),
        (IpAddr::from(Ipv4Addr::UNSPECIFIED), port).into(),
    ];
    port != own && UdpSocket::bind::<&[std::net::SocketAddr]>(&addresses).is_ok()
}

/// Whether a map has no room for another entry (kernel/bpf/hashtab.c and lpm_trie.c).
fn is_full(error: &MapError) -> bool {
    matches!(os_error(error), Some(libc::ENOSPC | libc::E2BIG))
}
