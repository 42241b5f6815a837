//! The way to the server while a connection lives: what changes of links, addresses, routes and neighbours is followed.
//!
//! ```text
//!  the kernel's news ─┐                                          ┌─► Command::Redirect   another Ethernet address
//!  every second ──────┼─► route, link, address, neighbour ───────┼─► Command::Trouble    what is in the way now
//!  silence ─► verify ─┘   as they are now                        └─► Command::Lose       the interface is gone
//! ```
//!
//! The kernel verifies a neighbour only while it sends packets of its own to it, and those of AF_XDP sockets are not: so
//! when the server falls silent, the next hop is asked whether it is still there.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use blk_datapath::engine::Hop;
use blk_datapath::mailbox::{MailReceiver, MailSender, mailbox};
use blk_datapath::net::{
    Changes, Interface, InterfaceError, neighbour, route_to, solicit_neighbour, verify_neighbour,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::oneshot;

use crate::error::ConnectionLost;
use crate::service::Command;

/// How often it is looked whether the server is silent.
const TICK: Duration = Duration::from_millis(250);
/// How often the way is looked at though nothing has been said: should news be lost.
const ROUND: Duration = Duration::from_secs(1);
/// The kernel's news come in swarms: so long a pause is between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// After so many ticks of silence the next hop is verified, and every so many after.
const SILENT_TICKS: u32 = 2;
const VERIFY_EVERY: u32 = 8;
/// A neighbour on a LAN answers at once.
const VERIFY_PATIENCE: Duration = Duration::from_millis(250);
/// So long the interface may be up without the connection's address: whoever configures it anew takes the address away
/// first, and IPv6 verifies one for a second or two before it is used.
const ADDRESS_PATIENCE: Duration = Duration::from_secs(5);

/// What a connection takes for granted.
#[derive(Debug, Clone)]
pub struct Premises {
    /// Index of the interface that its sockets are bound to.
    pub interface: u32,
    /// Name of that interface.
    pub name: String,
    /// Address of this end.
    pub source: IpAddr,
    /// Address of the server.
    pub remote: IpAddr,
}

/// How the way is now.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// Packets get out by these Ethernet addresses.
    Open(Hop),
    /// Something is in the way, and may get out of it.
    Blocked(String),
    /// The link is up, and does not have the connection's address.
    NotOurs,
    /// The interface is gone, and will not come back: a new one of that name is another one.
    Gone,
}

/// Follows the way on a thread of its own until it is dropped.
pub struct Watcher {
    flows: MailSender<Option<MailSender<Command>>>,
    hop: Arc<Mutex<Hop>>,
}

impl Watcher {
    /// Begins with the way as it was found.
    ///
    /// # Errors
    /// No thread, or no socket, can be had.
    pub fn start(premises: Premises, hop: Hop) -> std::io::Result<Self> {
        let (flows, inbox) = mailbox()?;
        let hop = Arc::new(Mutex::new(hop));
        let follower = Follower {
            changes: Changes::subscribe()?,
            premises,
            inbox,
            hop: Arc::clone(&hop),
            flows: Vec::new(),
            trouble: None,
            missing_since: None,
            silence: Silence::default(),
        };
        std::thread::Builder::new()
            .name("blk-way".to_owned())
            .spawn(move || follower.run())?;
        Ok(Self { flows, hop })
    }

    /// The Ethernet addresses now.
    pub fn hop(&self) -> Hop {
        *self.hop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the worker of this flow is told, too.
    pub fn add(&self, flow: &MailSender<Command>) {
        // When the thread has ended, so has the connection.
        let _ = self.flows.send(Some(flow.clone()));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.flows.send(None);
    }
}

/// The thread's state.
struct Follower {
    changes: Changes,
    premises: Premises,
    inbox: MailReceiver<Option<MailSender<Command>>>,
    hop: Arc<Mutex<Hop>>,
    flows: Vec<MailSender<Command>>,
    trouble: Option<String>,
    /// Since when the address has not been on the interface, though that is up.
    missing_since: Option<Instant>,
    silence: Silence,
}

impl Follower {
    fn run(mut self) {
        let mut looked = Instant::now();
        let mut ticked = looked;
        loop {
            let changed = match self.wait() {
                Ok(changed) => changed,
                Err(error) => return tracing::warn!(%error, "changes of the way are not followed"),
            };
            let mail: Vec<_> = self.inbox.drain().collect();
            for flow in mail {
                match flow {
                    Some(flow) => self.greet(flow),
                    None => return,
                }
            }
            if changed || looked.elapsed() >= ROUND {
                looked = Instant::now();
                let way = self.look();
                if !self.follow(way) {
                    return;
                }
                std::thread::sleep(PAUSE);
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.listen();
            }
        }
    }

    /// Waits for news, mail or the next tick; whether there were news.
    fn wait(&self) -> std::io::Result<bool> {
        let mut polled = [
            PollFd::new(&self.changes, PollFlags::IN),
            PollFd::new(&self.inbox, PollFlags::IN),
        ];
        let tick = Timespec {
            tv_sec: 0,
            tv_nsec: TICK.subsec_nanos().into(),
        };
        match poll(&mut polled, Some(&tick)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => self.changes.take(),
            Err(error) => Err(error.into()),
        }
    }

    /// A new flow: what is known is known to it, too.
    fn greet(&mut self, flow: MailSender<Command>) {
        let hop = *self.hop.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = flow.send(Command::Redirect(hop));
        if self.trouble.is_some() {
            let _ = flow.send(Command::Trouble(self.trouble.clone()));
        }
        self.flows.push(flow);
    }

    /// The way as it is now.
    fn look(&self) -> Way {
        let Premises {
            interface: index,
            name,
            source,
            remote,
        } = &self.premises;
        let interface = match Interface::by_index(*index) {
            Ok(interface) => interface,
            Err(InterfaceError::NotFound(_)) => return Way::Gone,
            Err(error) => return Way::Blocked(error.to_string()),
        };
        if !interface.up {
            return Way::Blocked(format!("the link of {name} is down"));
        }
        if !interface.addresses.contains(source) {
            return Way::NotOurs;
        }
        let route = match route_to(*remote) {
            Ok(route) => route,
            Err(error) => return Way::Blocked(error.to_string()),
        };
        if route.interface != *index {
            let other = Interface::by_index(route.interface).map(|interface| interface.name);
            let other = other.unwrap_or_else(|_| format!("number {}", route.interface));
            return Way::Blocked(format!(
                "the route to {remote} leads by interface {other} now, and the connection is bound to {name}"
            ));
        }
        let next_hop = route.next_hop(*remote);
        let source_mac = match interface.ethernet_address() {
            Ok(source_mac) => source_mac,
            Err(error) => return Way::Blocked(error.to_string()),
        };
        match neighbour(*index, next_hop) {
            Ok(Some(destination_mac)) => Way::Open(Hop {
                source_mac,
                destination_mac,
            }),
            Ok(None) => {
                // The answer is news.
                let asked = solicit_neighbour(*index, next_hop);
                let still = format!("no answer from {next_hop} on {name}");
                Way::Blocked(asked.err().map_or(still, |error| error.to_string()))
            }
            Err(error) => Way::Blocked(error.to_string()),
        }
    }

    /// Tells the flows what has become of the way; `false` when that is its end.
    fn follow(&mut self, way: Way) -> bool {
        if way != Way::NotOurs {
            self.missing_since = None;
        }
        let (name, source) = (self.premises.name.clone(), self.premises.source);
        let trouble = match way {
            Way::Open(hop) => {
                let mut known = self.hop.lock().unwrap_or_else(PoisonError::into_inner);
                if *known != hop {
                    tracing::info!(
                        ?hop,
                        "the next hop has another Ethernet address, or this host"
                    );
                    *known = hop;
                    drop(known);
                    self.tell(|| Command::Redirect(hop));
                }
                None
            }
            Way::Blocked(trouble) => Some(trouble),
            Way::NotOurs => {
                let since = *self.missing_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= ADDRESS_PATIENCE {
                    let lost = ConnectionLost::AddressGone(source, name);
                    self.tell(|| Command::Lose(lost.clone()));
                    return false;
                }
                Some(format!("{source} is not an address of {name} any more"))
            }
            Way::Gone => {
                let lost = ConnectionLost::InterfaceGone(name);
                self.tell(|| Command::Lose(lost.clone()));
                return false;
            }
        };
        if trouble != self.trouble {
            match &trouble {
                // Should it not end, the connection's own end says so.
                Some(trouble) => tracing::info!("{trouble}; waiting for that to end"),
                None => tracing::info!("the way to the server is open again"),
            }
            self.tell(|| Command::Trouble(trouble.clone()));
            self.trouble = trouble;
        }
        true
    }

    fn tell(&mut self, command: impl Fn() -> Command) {
        self.flows.retain(|flow| flow.send(command()).is_ok());
    }

    /// Verifies the next hop when the server is silent.
    fn listen(&mut self) {
        let (mut sent, mut heard) = (0, 0);
        for flow in &self.flows {
            let (answer, waiting) = oneshot::channel();
            // A worker answers at once; one that has ended drops the question.
            if flow.send(Command::Statistics { answer }).is_ok()
                && let Ok(Ok((stats, _))) = waiting.blocking_recv()
            {
                sent += stats.packets_sent;
                heard += stats.packets_received + stats.duplicates;
            }
        }
        if !self.silence.is_suspicious(sent, heard) || self.trouble.is_some() {
            return;
        }
        let (index, remote) = (self.premises.interface, self.premises.remote);
        if let Ok(route) = route_to(remote)
            && route.interface == index
            && let Err(error) = verify_neighbour(index, route.next_hop(remote), VERIFY_PATIENCE)
        {
            tracing::debug!(%error, "the next hop cannot be verified");
        }
    }
}

/// Whether the other end is silent, tick by tick.
#[derive(Debug, Default)]
struct Silence {
    sent: u64,
    heard: u64,
    ticks: u32,
}

impl Silence {
    /// Takes the counts of packets of this tick; whether it is time to ask the next hop.
    fn is_suspicious(&mut self, sent: u64, heard: u64) -> bool {
        if heard != self.heard {
            self.ticks = 0;
        } else if sent != self.sent || self.ticks > 0 {
            self.ticks += 1;
        }
        (self.sent, self.heard) = (sent, heard);
        self.ticks % VERIFY_EVERY == SILENT_TICKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_when_something_was_sent() {
        let mut silence = Silence::default();
        let mut ticks = |counts: &[(u64, u64)]| -> Vec<bool> {
            let tick = |(sent, heard): &(u64, u64)| silence.is_suspicious(*sent, *heard);
            counts.iter().map(tick).collect()
        };
        assert_eq!(ticks(&[(5, 5), (5, 5), (5, 5)]), [false; 3], "idle");
        assert_eq!(ticks(&[(9, 6), (12, 9)]), [false; 2], "busy");
        // Retransmissions become rare.
        assert_eq!(ticks(&[(20, 9), (20, 9), (20, 9)]), [false, true, false]);
        assert_eq!(ticks(&[(21, 9); 5]), [false; 5]);
        assert_eq!(ticks(&[(22, 9), (22, 9)]), [false, true], "asked again");
        assert_eq!(ticks(&[(22, 10), (22, 10)]), [false; 2], "an answer");
    }
}
