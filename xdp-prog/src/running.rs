//! Whose program is on an interface, what holds it there, and what to do about it.

use std::fmt;
use std::fs;
use std::path::Path;

use aya::programs::links::LinkType;
use aya::programs::{loaded_links, loaded_programs};

use crate::link::{InterfaceId, link_state};

/// The program of libxdp that calls others, one after the other (lib/libxdp/xdp-dispatcher.c.in of xdp-tools).
const DISPATCHER: &str = "xdp_dispatcher";

/// What /proc/PID/fd calls a link: one that the process has made, and one that it has joined (`bpf_link_prime` and
/// `bpf_link_new_fd` in kernel/bpf/syscall.c).
const LINKS: [&str; 2] = ["anon_inode:bpf_link", "anon_inode:bpf-link"];

/// A program found on an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunningProgram {
    /// Program id, as `bpftool prog` lists it.
    pub id: u32,
    /// Program name; `None` when it has none, or this process may not read it (needs CAP_SYS_ADMIN).
    pub name: Option<String>,
    /// What holds it on the interface.
    pub hold: Hold,
}

/// What holds a program on an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hold {
    /// This process may not know (needs CAP_SYS_ADMIN).
    Unknown,
    /// The interface itself: `ip link set .. xdp` and the like. It stays when its process ends.
    Interface,
    /// A BPF link: the program goes when the last that has the link lets it go.
    Link {
        /// Link id, as `bpftool link` lists it.
        id: u32,
        /// The processes that have it open, as far as this one can see them; a pinned link needs none.
        holders: Vec<Holder>,
    },
}

/// A process that has a BPF link open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// Process id.
    pub process: u32,
    /// Name of the process, as `ps -o comm` shows it.
    pub name: String,
}

impl RunningProgram {
    /// The program on the interface with this index; `None` when there is none, or none any more.
    #[must_use]
    pub fn on(interface: u32) -> Option<Self> {
        let (_, id) = link_state(&InterfaceId::Index(interface)).ok()?.xdp?;
        let name = loaded_programs()
            .filter_map(Result::ok)
            .find(|program| program.id() == id)
            .and_then(|program| program.name_as_str().map(str::to_owned))
            .filter(|name| !name.is_empty());
        let hold = Hold::of(id);
        Some(Self { id, name, hold })
    }

    /// Whether it is libxdp's dispatcher, which other programs share.
    #[must_use]
    pub fn is_dispatcher(&self) -> bool {
        self.name.as_deref() == Some(DISPATCHER)
    }

    /// Whose it is, and how to get it off `interface`.
    #[must_use]
    pub fn advice(&self, interface: &str) -> String {
        if self.is_dispatcher() {
            return format!(
                "it is {self}, the dispatcher of libxdp, which this program cannot join; `xdp-loader status {interface}` \
                 lists the programs that it runs, and `xdp-loader unload {interface} --all` removes them"
            );
        }
        format!("it is {self}; {}", self.remedy(interface))
    }

    /// How to get it off `interface`.
    #[must_use]
    pub fn remedy(&self, interface: &str) -> String {
        match &self.hold {
            Hold::Unknown => format!(
                "if it is that of another blockd or blkcp, sharing it takes CAP_SYS_ADMIN; else stop its owner, or remove it with `ip link set dev {interface} xdp off` if no process holds it by a BPF link"
            ),
            Hold::Interface => {
                format!("stop its owner, or remove it with `ip link set dev {interface} xdp off`")
            }
            Hold::Link { id, holders } if holders.is_empty() => format!(
                "no process here has that link open, so it is pinned in a BPF file system, or held elsewhere: remove the \
                 pin (`bpftool --bpffs link show id {id}` names it), or `bpftool link detach id {id}`"
            ),
            Hold::Link { holders, .. } => {
                let processes: Vec<String> = holders.iter().map(ToString::to_string).collect();
                format!("stop {}", processes.join(" and "))
            }
        }
    }
}

impl fmt::Display for RunningProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "\"{name}\" (id {})", self.id)?,
            None => write!(f, "id {}", self.id)?,
        }
        match &self.hold {
            Hold::Link { id, .. } => write!(f, ", held by BPF link {id}"),
            Hold::Unknown | Hold::Interface => Ok(()),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.name, self.process)
    }
}

impl Hold {
    /// What holds the program with this id.
    fn of(program: u32) -> Self {
        for link in loaded_links() {
            match link {
                Ok(link) if link.program_id() == program && is_xdp(link.link_type().ok()) => {
                    let id = link.id();
                    let holders = holders(id);
                    return Self::Link { id, holders };
                }
                Ok(_) => {}
                // Not allowed, or one that went away in between: then nothing is known for sure.
                Err(_) => return Self::Unknown,
            }
        }
        Self::Interface
    }
}

fn is_xdp(kind: Option<LinkType>) -> bool {
    kind == Some(LinkType::Xdp)
}

/// The processes that have a BPF link open, but this one.
fn holders(link: u32) -> Vec<Holder> {
    let own = std::process::id();
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|process| *process != own && has_open(*process, link))
        .map(|process| Holder {
            process,
            name: fs::read_to_string(format!("/proc/{process}/comm"))
                .map_or_else(|_| "a process".to_owned(), |name| name.trim().to_owned()),
        })
        .collect()
}

/// Whether a process has a descriptor of this link.
fn has_open(process: u32, link: u32) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        let is_link = fs::read_link(descriptor.path())
            .is_ok_and(|to| LINKS.iter().any(|name| to == Path::new(name)));
        let number = descriptor.file_name();
        is_link
            && fs::read_to_string(format!(
                "/proc/{process}/fdinfo/{}",
                number.to_string_lossy()
            ))
            .is_ok_and(|text| {
                text.lines()
                    .filter_map(|line| line.strip_prefix("link_id:"))
                    .any(|id| id.trim().parse() == Ok(link))
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: Option<&str>, hold: Hold) -> RunningProgram {
        RunningProgram {
            id: 12,
            name: name.map(str::to_owned),
            hold,
        }
    }

    #[test]
    fn what_to_do_follows_from_what_holds_it() {
        let link = |holders: &[(u32, &str)]| Hold::Link {
            id: 5,
            holders: holders
                .iter()
                .map(|(process, name)| Holder {
                    process: *process,
                    name: (*name).to_owned(),
                })
                .collect(),
        };
        let cases = [
            (
                program(None, Hold::Unknown),
                "CAP_SYS_ADMIN; else stop its owner, or",
            ),
            (
                program(Some("drop"), Hold::Interface),
                "ip link set dev eth0 xdp off",
            ),
            (
                program(Some("drop"), link(&[(7, "cilium"), (8, "x")])),
                "\"drop\" (id 12), held by BPF link 5; stop cilium (process 7) and x (process 8)",
            ),
            (
                program(Some("drop"), link(&[])),
                "`bpftool link detach id 5`",
            ),
            (
                program(Some(DISPATCHER), link(&[])),
                "`xdp-loader status eth0`",
            ),
        ];
        for (program, words) in cases {
            let advice = program.advice("eth0");
            assert!(advice.contains(words), "{advice}");
        }
    }
}
