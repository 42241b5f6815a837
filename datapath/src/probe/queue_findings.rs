//! What follows from the facts about queues, and about what is done to packets before they reach one.

use super::finding::Finding;
use super::host::HostFacts;
use super::interface::InterfaceFacts;

/// Descriptors of a queue that take a burst; more are seldom of use.
const GOOD_RING: u32 = 2048;
/// Workers that blockd starts at most, one a queue.
const MOST_WORKERS: u32 = 64;

/// What is to be said.
pub(super) fn queue_findings(facts: &InterfaceFacts, host: &HostFacts) -> Vec<Finding> {
    let mut findings = vec![queues(facts, host)];
    findings.extend(rings(facts));
    findings.extend(steering(facts));
    findings.extend(offloads(facts));
    findings.extend(busy_poll(facts));
    findings.extend(numa(facts));
    findings
}

fn queues(facts: &InterfaceFacts, host: &HostFacts) -> Finding {
    let name = &facts.link.name;
    let Some(queues) = facts.queues.filter(|queues| queues.now > 0) else {
        return Finding::ok(
            "queues",
            format!("{}, as the interface was made", facts.link.rx_queues),
        );
    };
    let text = format!("{} of at most {}", queues.now, queues.max);
    let set = |count: u32| match queues.combined {
        true => format!("ethtool -L {name} combined {count}"),
        false => format!("ethtool -L {name} rx {count} tx {count}"),
    };
    // Of ena, a queue of XDP takes the place of another one.
    let is_ena = (facts.driver.as_ref()).is_some_and(|driver| driver.name == "ena");
    let most = if is_ena { queues.max / 2 } else { queues.max };
    if queues.now > most {
        return Finding::missing(
            "queues",
            format!("{text}: driver ena takes programs only while at most half of them are in use"),
        )
        .fix(set(most.max(1)))
        .source("drivers/net/ethernet/amazon/ena/ena_xdp.h, ena_xdp_allowed()");
    }
    let good = most.min(host.cpus).min(MOST_WORKERS);
    if queues.now > host.cpus {
        return Finding::note(
            "queues",
            format!(
                "{text}: a worker each, and only {} CPUs for them",
                host.cpus
            ),
        )
        .fix(format!("{}, or blockd --queues {}", set(good), host.cpus));
    }
    if queues.now < good {
        return Finding::note(
            "queues",
            format!("{text}: {} CPUs could serve more", host.cpus),
        )
        .fix(set(good));
    }
    Finding::ok("queues", text)
}

fn rings(facts: &InterfaceFacts) -> Option<Finding> {
    let rings = facts.rings?;
    let text = format!(
        "{} descriptors to receive of at most {}, {} to send of at most {}",
        rings.rx, rings.rx_max, rings.tx, rings.tx_max
    );
    let (rx, tx) = (rings.rx_max.min(GOOD_RING), rings.tx_max.min(GOOD_RING));
    if rings.rx >= rx {
        return Some(Finding::ok("rings", text));
    }
    let finding = Finding::note("rings", format!("{text}: a burst overruns them sooner"));
    let fix = format!(
        "ethtool -G {} rx {rx} tx {}",
        facts.link.name,
        tx.max(rings.tx)
    );
    Some(finding.fix(fix))
}

fn steering(facts: &InterfaceFacts) -> Option<Finding> {
    let several = facts.queues.is_some_and(|queues| queues.now > 1);
    if !several {
        return None;
    }
    let rss = match facts.steering.rss_table {
        Some(entries) => format!("RSS with a table of {entries}"),
        None => "no RSS table".to_owned(),
    };
    let rules = match (facts.steering.rules, facts.offloads.ntuple) {
        (None, _) => "no rules (ntuple)",
        (Some(_), Some(true)) => "rules (ntuple) can be set",
        (Some(_), _) => "rules (ntuple) can be had, but are off",
    };
    let finding = Finding::ok("steering", format!("{rss}, {rules}"));
    Some(match (facts.steering.rules, facts.offloads.ntuple) {
        (Some(_), Some(false)) => finding.fix(format!("ethtool -K {} ntuple on", facts.link.name)),
        _ => finding,
    })
}

fn offloads(facts: &InterfaceFacts) -> Vec<Finding> {
    let name = &facts.link.name;
    let mut findings = Vec::new();
    if facts.offloads.lro == Some(true) {
        findings.push(
            Finding::warning(
                "lro",
                "on: the device joins packets, and most drivers refuse programs then",
            )
            .fix(format!("ethtool -K {name} lro off")),
        );
    }
    if facts.offloads.rx_vlan == Some(true) && facts.driver.as_ref().is_some_and(is_hardware) {
        findings.push(
            Finding::note(
                "rx_vlan",
                "on: the device takes VLAN tags out of packets before the program sees them",
            )
            .fix(format!("where tags matter: ethtool -K {name} rxvlan off")),
        );
    }
    findings
}

fn is_hardware(driver: &crate::net::Driver) -> bool {
    !driver.bus.is_empty()
}

fn busy_poll(facts: &InterfaceFacts) -> Option<Finding> {
    let poll = facts.busy_poll?;
    let (Some(defer), Some(timeout)) = (poll.defer_hard_irqs, poll.flush_timeout) else {
        return Some(Finding::unknown(
            "busy_poll",
            format!(
                "NAPI instances: {}; Linux 6.13 tells how they poll",
                poll.instances
            ),
        ));
    };
    let text = format!(
        "NAPI instances: {}, napi_defer_hard_irqs {defer}, gro_flush_timeout {timeout} ns",
        poll.instances
    );
    if defer > 0 && timeout > 0 {
        return Some(Finding::ok(
            "busy_poll",
            format!("{text}: a program that polls keeps interrupts away"),
        ));
    }
    Some(Finding::ok("busy_poll", format!("{text}: by interrupts")))
}

fn numa(facts: &InterfaceFacts) -> Option<Finding> {
    let node = facts.numa_node?;
    let text = format!("the device is on node {node}: CPUs and memory of another cost more");
    Some(Finding::ok("numa", text))
}
