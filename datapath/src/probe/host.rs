//! What can be read of this host and this process.

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::af_xdp::is_supported;
use super::kernel::{KernelVersion, ParseKernelError};
use crate::ring;

/// The capabilities in effect (capabilities(7)).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// Those that matter here: name, number of include/uapi/linux/capability.h.
    pub const NAMED: [(&'static str, u32); 5] = [
        ("CAP_NET_ADMIN", 12),
        ("CAP_NET_RAW", 13),
        ("CAP_IPC_LOCK", 14),
        ("CAP_SYS_ADMIN", 21),
        ("CAP_BPF", 39),
    ];

    /// Whether the one of this name is there.
    #[must_use]
    pub fn has(self, name: &str) -> bool {
        let number = Self::NAMED.iter().find(|(known, _)| *known == name);
        number.is_some_and(|(_, number)| self.0 & (1 << number) != 0)
    }

    /// Those in the text of /proc/self/status.
    fn of(status: &str) -> Option<Self> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(line.trim(), 16).ok().map(Self)
    }
}

/// What io_uring can do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ring {
    /// It works.
    Works {
        /// `WRITEV_FIXED` (Linux 6.15): half the CPU of a write.
        fixed_vectors: bool,
    },
    /// It does not: why, and what to do.
    Refused(String),
}

/// This host, without judgement. `None`: it is not told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostFacts {
    /// `6.18.44-1-amd64`.
    pub release: String,
    /// The same as numbers.
    pub kernel: Result<KernelVersion, ParseKernelError>,
    /// `x86_64`.
    pub machine: String,
    /// Bytes of a page.
    pub page: u32,
    /// CPUs that this process may use.
    pub cpus: u32,
    /// Capabilities in effect.
    pub capabilities: Capabilities,
    /// Whether the process is in a user namespace, where capabilities reach only what belongs to it.
    pub in_user_namespace: bool,
    /// Bytes of memory that may be locked; `None`: any number.
    pub memlock: Option<u64>,
    /// Whether io_uring works.
    pub ring: Ring,
    /// sysctl `kernel.io_uring_disabled` (Linux 6.6).
    pub ring_disabled: Option<u32>,
    /// Whether the kernel has AF_XDP sockets.
    pub af_xdp: Option<bool>,
    /// Whether the kernel describes its types (`/sys/kernel/btf/vmlinux`).
    pub btf: bool,
    /// sysctl `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<u32>,
}

impl HostFacts {
    /// Reads them. Opens an io_uring and closes it again.
    #[must_use]
    pub fn read() -> Self {
        let system = rustix::system::uname();
        let release = system.release().to_string_lossy().into_owned();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let users = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let sysctl = |name: &str| {
            let text = fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?;
            text.trim().parse().ok()
        };
        Self {
            kernel: release.parse(),
            release,
            machine: system.machine().to_string_lossy().into_owned(),
            page: rustix::param::page_size() as u32,
            cpus: std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32),
            capabilities: Capabilities::of(&status).unwrap_or_default(),
            in_user_namespace: !users.is_empty() && !maps_everyone(&users),
            memlock: getrlimit(Resource::Memlock).current,
            ring: match ring::try_out() {
                Ok(fixed_vectors) => Ring::Works { fixed_vectors },
                Err(error) => Ring::Refused(error.to_string()),
            },
            ring_disabled: sysctl("io_uring_disabled"),
            af_xdp: is_supported(),
            btf: fs::exists("/sys/kernel/btf/vmlinux").unwrap_or(false),
            unprivileged_bpf_disabled: sysctl("unprivileged_bpf_disabled"),
        }
    }
}

/// Whether a uid_map (user_namespaces(7)) is that of the first user namespace.
fn maps_everyone(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_found_by_name() {
        let root = Capabilities::of("Name:\tx\nCapEff:\t000001ffffffffff\n").unwrap();
        assert!(Capabilities::NAMED.iter().all(|(name, _)| root.has(name)));
        let some = Capabilities(1 << 13 | 1 << 39);
        assert!(some.has("CAP_NET_RAW") && some.has("CAP_BPF"));
        assert!(!some.has("CAP_NET_ADMIN") && !some.has("CAP_NO_SUCH"));
        assert_eq!(Capabilities::of("CapEff:\tx\n"), None);
    }

    #[test]
    fn user_namespaces_map_some_users() {
        assert!(maps_everyone("         0          0 4294967295\n"));
        assert!(!maps_everyone("         0       1000          1\n"));
    }

    #[test]
    fn this_host_tells_something() {
        let host = HostFacts::read();
        assert!(host.kernel.is_ok(), "{}", host.release);
        assert!(host.cpus > 0 && host.page >= 4096 && !host.machine.is_empty());
    }
}
