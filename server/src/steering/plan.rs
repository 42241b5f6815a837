//! What to change so that a port's packets get to the served queues, and each queue's interrupt to the CPU of its worker.
//!
//! Facts in, changes out: nothing here asks the kernel.

use std::collections::BTreeSet;

use blk_datapath::net::card::{Family, HASH_ADDRESSES_AND_PORTS, HASH_PORTS, PortRule};
use blk_datapath::number_list::NumberList;
use serde::{Deserialize, Serialize};

use super::interrupts::Interrupt;

/// Something that can be set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Key {
    /// The CPUs of an interrupt. Its number may be another one's some day, so the name counts, too.
    Interrupt {
        /// Its number.
        number: u32,
        /// What the driver calls it.
        name: String,
    },
    /// The RSS table.
    Table,
    /// What is hashed of UDP over IPv4.
    HashFieldsV4,
    /// What is hashed of UDP over IPv6.
    HashFieldsV6,
    /// Whether rules are on.
    Ntuple,
    /// A rule that UDP over IPv4 to a port goes to a queue.
    RuleV4 {
        /// The port.
        port: u16,
        /// The queue.
        queue: u32,
    },
    /// The same over IPv6.
    RuleV6 {
        /// The port.
        port: u16,
        /// The queue.
        queue: u32,
    },
}

/// How it is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// The CPUs of an interrupt; the queue of each entry of the table.
    Numbers(Vec<u32>),
    /// Hashed fields.
    Bits(u64),
    /// On or off; there or not there.
    Switch(bool),
}

/// A change, and how it is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What is changed.
    pub key: Key,
    /// How it was.
    pub from: Value,
    /// How it is to be.
    pub to: Value,
}

impl Change {
    fn new(key: Key, from: Value, to: Value) -> Option<Self> {
        (from != to).then_some(Self { key, from, to })
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.key, &self.to) {
            (Key::Interrupt { number, name }, Value::Numbers(cpus)) => {
                let cpus: NumberList = cpus.iter().copied().collect();
                write!(out, "interrupt {number} ({name}) to CPU {cpus}")
            }
            (Key::Table, Value::Numbers(table)) => {
                let queues: BTreeSet<u32> = table.iter().copied().collect();
                let queues: NumberList = queues.into_iter().collect();
                write!(out, "RSS table to queues {queues}")
            }
            (Key::HashFieldsV4, _) => write!(out, "hash of UDP over IPv4 with ports"),
            (Key::HashFieldsV6, _) => write!(out, "hash of UDP over IPv6 with ports"),
            (Key::Ntuple, _) => write!(out, "rules switched on"),
            (Key::RuleV4 { port, queue }, _) => {
                write!(out, "rule: UDP over IPv4 to port {port} to queue {queue}")
            }
            (Key::RuleV6 { port, queue }, _) => {
                write!(out, "rule: UDP over IPv6 to port {port} to queue {queue}")
            }
            (key, value) => write!(out, "{key:?} to {value:?}"),
        }
    }
}

/// A card as it is now. `None`: the driver does not do such things.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The driver's name.
    pub driver: String,
    /// Queues in use.
    pub queues: u32,
    /// The queue of each entry of the RSS table.
    pub table: Option<Vec<u32>>,
    /// What is hashed of UDP packets over IPv4 and IPv6.
    pub hash_fields: [Option<u64>; 2],
    /// Whether rules are on.
    pub ntuple: Option<bool>,
    /// Rules that send a UDP port to a queue.
    pub rules: Option<Vec<PortRule>>,
    /// Interrupts of its queues.
    pub interrupts: Vec<Interrupt>,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The UDP port.
    pub port: u16,
    /// The served queues, and the CPUs of their workers.
    pub workers: Vec<(u32, Option<usize>)>,
}

/// What is to be done, in this order, and what the operator should know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes.
    pub changes: Vec<Change>,
    /// Why something stays as it is.
    pub notes: Vec<String>,
}

/// The plan for a card.
#[must_use]
pub fn plan(facts: &Facts, request: &Request) -> Plan {
    let mut plan = Plan::default();
    if facts.table.is_none() && facts.rules.is_none() && facts.interrupts.is_empty() {
        let driver = &facts.driver;
        plan.notes
            .push(format!("not supported by driver {driver}: left as it is"));
        return plan;
    }
    plan.interrupts(facts, request);
    plan.queues(facts, request);
    plan
}

impl Plan {
    /// Each served queue's interrupts to its worker's CPU.
    fn interrupts(&mut self, facts: &Facts, request: &Request) {
        for &(queue, cpu) in &request.workers {
            let Some(cpu) = cpu else { continue };
            let mut found = false;
            for interrupt in facts.interrupts.iter().filter(|one| one.queue == queue) {
                found = true;
                let key = Key::Interrupt {
                    number: interrupt.number,
                    name: interrupt.name.clone(),
                };
                let from = Value::Numbers(interrupt.cpus.numbers().to_vec());
                self.changes
                    .extend(Change::new(key, from, Value::Numbers(vec![cpu as u32])));
            }
            if !found {
                self.notes
                    .push(format!("the interrupt of queue {queue} is not known"));
            }
        }
    }

    /// The port's packets to the served queues: one of them by rules, which leave all other traffic where it is, several by
    /// the table.
    fn queues(&mut self, facts: &Facts, request: &Request) {
        let served: Vec<u32> = request.workers.iter().map(|worker| worker.0).collect();
        let all_served = (0..facts.queues).all(|queue| served.contains(&queue));
        if facts.queues <= 1 {
            return;
        }
        match (&served[..], &facts.rules, &facts.table) {
            (&[queue], Some(rules), _) => self.rules(facts.ntuple, rules, request.port, queue),
            (_, _, Some(table)) => {
                self.table(table, &served);
                self.hash_fields(facts, served.len());
                if !all_served {
                    self.notes.push(
                        "all traffic of the interface goes to the served queues while blockd runs"
                            .to_owned(),
                    );
                }
            }
            _ if all_served => self.notes.push(format!(
                "driver {} does not tell how it spreads packets over its queues",
                facts.driver
            )),
            _ => self.notes.push(format!(
                "driver {} cannot be told to keep packets from the queues without a worker",
                facts.driver
            )),
        }
    }

    fn rules(&mut self, ntuple: Option<bool>, rules: &[PortRule], port: u16, queue: u32) {
        if ntuple == Some(false) {
            let change = Change::new(Key::Ntuple, Value::Switch(false), Value::Switch(true));
            self.changes.extend(change);
        }
        let families = [
            (Family::V4, Key::RuleV4 { port, queue }),
            (Family::V6, Key::RuleV6 { port, queue }),
        ];
        for (family, key) in families {
            let of_port = rules
                .iter()
                .find(|rule| (rule.family, rule.port) == (family, port));
            match of_port {
                Some(rule) if rule.queue == queue => {}
                Some(rule) => self.notes.push(format!(
                    "there is a rule that sends port {port} to queue {}: `ethtool -n` shows it",
                    rule.queue
                )),
                None => {
                    let change = Change::new(key, Value::Switch(false), Value::Switch(true));
                    self.changes.extend(change);
                }
            }
        }
    }

    /// A table that has the served queues alone, each as often as the others, stays.
    fn table(&mut self, table: &[u32], served: &[u32]) {
        let entries = |queue: &u32| table.iter().filter(|entry| *entry == queue).count();
        let counts: Vec<usize> = served.iter().map(entries).collect();
        let (least, most) = (counts.iter().min(), counts.iter().max());
        let even = least
            .zip(most)
            .is_some_and(|(least, most)| most - least <= 1);
        if even && counts.iter().sum::<usize>() == table.len() {
            return;
        }
        let spread = served.iter().copied().cycle().take(table.len()).collect();
        let from = Value::Numbers(table.to_vec());
        self.changes
            .extend(Change::new(Key::Table, from, Value::Numbers(spread)));
    }

    /// Without the ports in the hash all flows between two hosts get to one queue.
    fn hash_fields(&mut self, facts: &Facts, served: usize) {
        if served < 2 {
            return;
        }
        let keys = [Key::HashFieldsV4, Key::HashFieldsV6];
        for (key, bits) in keys.into_iter().zip(facts.hash_fields) {
            let Some(bits) = bits else { continue };
            if bits & HASH_PORTS != HASH_PORTS {
                let to = Value::Bits(HASH_ADDRESSES_AND_PORTS);
                self.changes.extend(Change::new(key, Value::Bits(bits), to));
            }
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
