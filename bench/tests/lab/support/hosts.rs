//! Two hosts in network namespaces, made by the script that operators use.

use std::path::PathBuf;
use std::process::Command;

use super::{must, unique};

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

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host {
    /// `blk0`, 10.77.0.1, fd77::1.
    Server,
    /// `blk1`, 10.77.0.2, fd77::2.
    Client,
}

impl Host {
    /// The interface of this host.
    pub fn interface(self) -> &'static str {
        match self {
            Self::Server => "blk0",
            Self::Client => "blk1",
        }
    }
}

/// Two hosts. Removed when dropped, with the processes in them.
#[derive(Debug)]
pub struct Hosts {
    name: String,
}

impl Hosts {
    /// Makes them.
    pub fn up(link: Link<'_>) -> Self {
        let hosts = Self {
            name: format!("blk-t{}", unique()),
        };
        must(
            hosts
                .script("up")
                .args(["--mtu", &link.mtu.to_string()])
                .args(link.wire),
        );
        hosts
    }

    /// The network namespace of a host.
    pub fn namespace(&self, host: Host) -> String {
        match host {
            Host::Server => format!("{}-server", self.name),
            Host::Client => format!("{}-client", self.name),
        }
    }

    /// A command that will run on a host, under the process id that it is started with.
    pub fn command(&self, host: Host, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.namespace(host)])
            .arg(program);
        command
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
