//! Hosts in network namespaces, made by the script that operators use.

use std::path::PathBuf;
use std::process::Command;

use super::{Directory, must, unique};

/// Words in front of a command that take all privileges from it, and the right to lock much memory, but leave it the test's
/// files. No capability can come back by an exec: the bounding set is empty.
pub const UNPRIVILEGED: [&str; 7] = [
    "prlimit",
    "--memlock=8388608",
    "setpriv",
    "--bounding-set=-all",
    "--inh-caps=-all",
    "--ambient-caps=-all",
    "--no-new-privs",
];

/// Words in front of a command that take the right to lock much memory from it, and nothing else: not enough for the frames of
/// a worker.
pub const LITTLE_LOCKED: [&str; 5] = [
    "prlimit",
    "--memlock=8388608",
    "setpriv",
    "--bounding-set=-ipc_lock",
    "--inh-caps=-ipc_lock",
];

/// How the hosts are joined.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    /// MTU of the link.
    pub mtu: u32,
    /// Impairment, as arguments of `scripts/lab up`.
    pub wire: &'a [&'a str],
}

impl Link<'_> {
    /// A clean link.
    pub fn of(mtu: u32) -> Self {
        Self { mtu, wire: &[] }
    }
}

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// `blk0`, 10.77.0.1, fd77::1.
    Server,
    /// `blk1`, 10.77.0.2, fd77::2.
    Client,
    /// `blk1` of client N, from 2 on: 10.77.0.(N + 1), fd77::(N + 1). Client 1 is [`Host::Client`].
    Other(u32),
    /// The router of a [routed](Hosts::routed) lab: `port0` to the server, `port1` to the client.
    Router,
}

impl Host {
    /// The interface of this host.
    pub fn interface(self) -> &'static str {
        match self {
            Self::Server => "blk0",
            Self::Router => "port0",
            Self::Client | Self::Other(_) => "blk1",
        }
    }

    /// A client by its number, from 1 on.
    pub fn client(number: u32) -> Self {
        if number == 1 {
            Self::Client
        } else {
            Self::Other(number)
        }
    }

    /// The MAC address, as a trace of the wire names it.
    pub fn mac(self) -> String {
        let number = match self {
            Self::Server => 1,
            Self::Client => 2,
            Self::Other(number) => number + 1,
            Self::Router => 254,
        };
        format!("02:00:0a:4d:00:{number:02x}")
    }
}

/// A server and its clients. Removed when dropped, with the processes in them.
#[derive(Debug)]
pub struct Hosts {
    name: String,
    /// What blkcp remembers on them, apart from what that of this machine does.
    memory: Directory,
}

impl Hosts {
    /// Makes a server and one client.
    pub fn up(link: Link<'_>) -> Self {
        Self::with_clients(link, 1)
    }

    /// Makes a server and so many clients, which share the server's link.
    pub fn with_clients(link: Link<'_>, clients: u32) -> Self {
        let hosts = Self {
            name: format!("blk-t{}", unique()),
            memory: Directory::new(),
        };
        must(
            hosts
                .script("up")
                .args(["--mtu", &link.mtu.to_string()])
                .args(["--clients", &clients.to_string()])
                .args(link.wire),
        );
        hosts
    }

    /// Makes a server, a router, and a client behind it: 10.78.0.2, fd78::2.
    pub fn routed(mtu: u32) -> Self {
        let hosts = Self {
            name: format!("blk-t{}", unique()),
            memory: Directory::new(),
        };
        must(
            hosts
                .script("up")
                .args(["--routed", "--mtu", &mtu.to_string()]),
        );
        hosts
    }

    /// Tells server and client each other's Ethernet address for good: their kernels know nothing of VLANs, and so do not find each
    /// other by ARP and neighbour discovery where frames have tags.
    pub fn introduce(&self) {
        for (host, other) in [(Host::Server, Host::Client), (Host::Client, Host::Server)] {
            let number = if other == Host::Server { 1 } else { 2 };
            let (mac, interface) = (other.mac(), host.interface());
            for address in [format!("10.77.0.{number}"), format!("fd77::{number}")] {
                let entry = format!("{address} lladdr {mac} dev {interface} nud permanent");
                self.ip(host, &format!("neighbour replace {entry}"));
            }
        }
    }

    /// Runs `ip` on a host.
    ///
    /// # Panics
    /// When it fails.
    pub fn ip(&self, host: Host, arguments: &str) -> String {
        let mut command = self.command(host, "ip");
        must(command.args(arguments.split_whitespace()))
    }

    /// Changes an impaired link: these options of `scripts/lab change` hold instead of the earlier ones from now on.
    pub fn change(&self, wire: &[&str]) {
        must(self.script("change").args(wire));
    }

    /// The network namespace of a host.
    pub fn namespace(&self, host: Host) -> String {
        match host {
            Host::Server => format!("{}-server", self.name),
            Host::Client => format!("{}-client", self.name),
            Host::Other(number) => format!("{}-client{number}", self.name),
            Host::Router => format!("{}-router", self.name),
        }
    }

    /// A command that will run on a host, under the process id that it is started with.
    pub fn command(&self, host: Host, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace(host)])
            .arg(program)
            .env_remove("BLK_PATHS")
            .env("XDG_CACHE_HOME", self.memory.join("cache"));
        command
    }

    /// Where blkcp remembers what data paths have cost.
    pub fn blkcp_history(&self) -> PathBuf {
        self.memory.join("cache/blkcp/paths.json")
    }

    /// Is an XDP program attached to the host's interface?
    pub fn has_xdp(&self, host: Host) -> bool {
        must(
            self.command(host, "ip")
                .args(["-d", "link", "show", "dev", host.interface()]),
        )
        .contains("xdp")
    }

    fn script(&self, command: &str) -> Command {
        let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "scripts", "lab"]
            .iter()
            .collect();
        let mut script = Command::new(script);
        script
            .arg(command)
            .env("BLK_LAB", &self.name)
            .env("CARGO_TARGET_DIR", super::target());
        script
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let _ = self.script("down").output();
    }
}
