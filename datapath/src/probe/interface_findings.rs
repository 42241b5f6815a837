//! What follows from the facts about an interface.

use super::finding::Finding;
use super::host::HostFacts;
use super::interface::InterfaceFacts;
use super::queue_findings::queue_findings;
use super::quirks::quirks;
use super::stacked::Stacked;
use super::xdp_findings::xdp_findings;

/// What is to be said.
#[must_use]
pub fn interface_findings(facts: &InterfaceFacts, host: &HostFacts) -> Vec<Finding> {
    let mut findings = vec![driver(facts)];
    findings.extend(role(facts));
    if !facts.link.ethernet {
        findings.push(
            Finding::missing(
                "ethernet",
                "no Ethernet interface: blockd serves here over UDP sockets only",
            )
            .fix("for AF_XDP, serve on an Ethernet interface"),
        );
        return findings;
    }
    if facts.native_xdp() == Some(false) {
        // Nothing else matters then.
        findings.extend(xdp_findings(facts, host));
        return findings;
    }
    findings.extend([link(facts), address(facts)]);
    findings.extend(xdp_findings(facts, host));
    findings.extend(queue_findings(facts, host));
    if let (Some(driver), Ok(kernel)) = (&facts.driver, &host.kernel) {
        let zero_copy = facts.zero_copy();
        let rows = quirks(&driver.name, *kernel).filter(|row| row.applies(zero_copy));
        findings.extend(rows.map(|row| row.finding(&facts.link.name)));
    }
    findings
}

fn driver(facts: &InterfaceFacts) -> Finding {
    let Some(driver) = &facts.driver else {
        return Finding::unknown("driver", "it does not tell its name");
    };
    let mut text = driver.name.clone();
    if !driver.bus.is_empty() {
        text.push_str(&format!(" at {}", driver.bus));
    }
    if !matches!(driver.firmware.as_str(), "" | "N/A") {
        text.push_str(&format!(", firmware {}", driver.firmware));
    }
    Finding::ok("driver", text)
}

fn link(facts: &InterfaceFacts) -> Finding {
    let link = &facts.link;
    if !link.up {
        return Finding::warning("link", "switched off")
            .fix(format!("ip link set dev {} up", link.name));
    }
    if !link.carrier {
        return Finding::warning("link", "no carrier: is the cable in, and the other end up?");
    }
    match facts.speed {
        Some(speed) => Finding::ok("link", format!("up, {speed} Mb/s")),
        None => Finding::ok("link", "up"),
    }
}

/// What it is to other interfaces.
fn role(facts: &InterfaceFacts) -> Option<Finding> {
    let kind = facts.link.kind.as_deref();
    match Stacked::of(kind, facts.lower.as_deref(), &facts.members) {
        Some(stacked) => Some(Finding::missing("role", stacked.reason).fix(stacked.advice)),
        None => part(facts),
    }
}

/// It is part of a bond or a bridge.
fn part(facts: &InterfaceFacts) -> Option<Finding> {
    let (master, kind) = facts.master.as_ref()?;
    let kind = kind.as_deref().unwrap_or("device");
    let text = format!(
        "part of the {kind} {master}: addresses of {master} are not served here, and what {master} forwards passes the program"
    );
    let fix = format!(
        "for an interface of its own: ip link set dev {} nomaster",
        facts.link.name
    );
    Some(Finding::warning("role", text).fix(fix))
}

fn address(facts: &InterfaceFacts) -> Finding {
    if facts.link.addresses.is_empty() {
        return Finding::warning("address", "no IP address: clients cannot reach it").fix(format!(
            "ip address add ADDRESS/PREFIX dev {}",
            facts.link.name
        ));
    }
    let addresses: Vec<String> = (facts.link.addresses.iter())
        .map(ToString::to_string)
        .collect();
    Finding::ok("address", addresses.join(", "))
}

#[cfg(test)]
#[path = "interface_findings_tests.rs"]
mod tests;
