//! What follows from the facts about XDP on an interface.

use blk_proto::geometry::max_payload_for_mtu;
use blk_xdp::Attachment;

use super::finding::Finding;
use super::host::HostFacts;
use super::interface::{InterfaceFacts, XdpProgram};
use super::mtu::{Limit, mtu_limits};

/// MTUs worth having, the best first: 3584 and 3072 bytes of payload in a packet, over IPv6 and with two VLAN tags too.
const GOOD_MTUS: [u32; 2] = [3698, 3186];

/// What is to be said.
pub(super) fn xdp_findings(facts: &InterfaceFacts, host: &HostFacts) -> Vec<Finding> {
    let mut findings = vec![native(facts)];
    findings.extend(facts.program.as_ref().map(|program| taken(facts, program)));
    if (facts.features.as_ref()).is_ok_and(|features| !features.native()) {
        return findings;
    }
    findings.push(zero_copy(facts));
    findings.push(fragments(facts));
    findings.push(mtu(facts, host));
    findings
}

/// The driver's name, in a sentence.
fn driver(facts: &InterfaceFacts) -> &str {
    facts
        .driver
        .as_ref()
        .map_or("(unknown)", |driver| &driver.name)
}

fn native(facts: &InterfaceFacts) -> Finding {
    match &facts.features {
        Ok(features) if features.native() => Finding::ok(
            "native_xdp",
            format!("yes, driver {} runs programs", driver(facts)),
        ),
        Ok(_) => Finding::missing(
            "native_xdp",
            format!(
                "no, driver {} runs none: blockd cannot serve here",
                driver(facts)
            ),
        )
        .fix("serve on an interface whose driver has native XDP"),
        Err(why) => Finding::unknown(
            "native_xdp",
            format!("not known ({why}); blockd says at its start whether it works"),
        ),
    }
}

fn taken(facts: &InterfaceFacts, program: &XdpProgram) -> Finding {
    let (name, id) = (&facts.link.name, program.id);
    let mode = match program.attachment {
        Attachment::Native => "native",
        Attachment::Generic => "generic",
        Attachment::Other => "offloaded, or in several modes",
    };
    let fix = format!(
        "stop its owner; `ip link set dev {name} xdp off` removes one that no process holds by a BPF link"
    );
    match &program.info {
        Ok(info) if info.is_ours() => Finding::warning(
            "xdp_program",
            format!(
                "a blockd or blkcp has the interface now (program \"{}\", id {id}, tag {:016x}, {mode})",
                info.name, info.tag
            ),
        ),
        Ok(info) => Finding::missing(
            "xdp_program",
            format!(
                "taken by another XDP program, \"{}\" (id {id}, tag {:016x}, {mode}), and an interface takes only one",
                info.name, info.tag
            ),
        )
        .fix(fix),
        Err(why) => Finding::missing(
            "xdp_program",
            format!("taken by an XDP program, id {id}, {mode}; {why}"),
        )
        .fix(fix),
    }
}

fn zero_copy(facts: &InterfaceFacts) -> Finding {
    match &facts.features {
        Ok(features) if features.zero_copy() => Finding::ok(
            "zero_copy",
            format!(
                "yes, driver {} announces it; `--datapath zerocopy` makes it an error if it cannot be had",
                driver(facts)
            ),
        ),
        Ok(_) => Finding::note(
            "zero_copy",
            format!(
                "no, driver {} has none; copy mode will be used",
                driver(facts)
            ),
        ),
        Err(why) => Finding::unknown(
            "zero_copy",
            format!("not known ({why}); blockd's ready line says which mode it got"),
        ),
    }
}

fn fragments(facts: &InterfaceFacts) -> Finding {
    match &facts.features {
        Ok(features) if features.fragments() => {
            let text = "yes, programs take packets of several buffers";
            match features.zero_copy_segments {
                Some(segments @ 2..) if features.zero_copy() => Finding::ok(
                    "fragments",
                    format!("{text}, in zero-copy mode up to {segments}"),
                ),
                _ if features.zero_copy() => {
                    Finding::ok("fragments", format!("{text}, but not in zero-copy mode"))
                }
                _ => Finding::ok("fragments", text),
            }
        }
        Ok(_) => Finding::note(
            "fragments",
            "no, each packet must fit into one buffer, which bounds the MTU",
        ),
        Err(why) => Finding::unknown("fragments", format!("not known ({why})")),
    }
}

fn mtu(facts: &InterfaceFacts, host: &HostFacts) -> Finding {
    let (name, now) = (&facts.link.name, facts.link.mtu);
    let (limit, source) = limit(facts, host);
    let set = |mtu: u32| format!("ip link set dev {name} mtu {mtu}");
    let bound = match limit {
        Some(Limit::Bytes(bytes)) => format!("at most {bytes} with the program"),
        Some(Limit::None) => "the program sets no bound".to_owned(),
        Some(Limit::Impossible) | None => {
            format!(
                "the bound that driver {} sets with a program is not known",
                driver(facts)
            )
        }
    };
    let finding = match limit {
        Some(Limit::Bytes(bytes)) if now > bytes => Finding::missing(
            "mtu",
            format!("{now}, too large: {bound}, so the driver would refuse it"),
        )
        .fix(set(bytes)),
        _ => {
            let payload = max_payload_for_mtu(now as usize);
            let text = format!("{now}: {payload} bytes of payload in a packet; {bound}");
            match larger(facts, limit) {
                Some(mtu) if payload < 3072 => {
                    let text = format!(
                        "{text}; larger packets cost less, where both ends and all between take them"
                    );
                    Finding::note("mtu", text).fix(set(mtu))
                }
                _ => Finding::ok("mtu", text),
            }
        }
    };
    match source {
        Some(source) => finding.source(source),
        None => finding,
    }
}

/// The bound that the program sets, and where that is known from.
fn limit(facts: &InterfaceFacts, host: &HostFacts) -> (Option<Limit>, Option<&'static str>) {
    let known = (facts.driver.as_ref()).zip(host.kernel.as_ref().ok());
    let limits = known.and_then(|(driver, kernel)| mtu_limits(&driver.name, *kernel, host.page));
    let Some(limits) = limits else {
        return (None, None);
    };
    // blockd's program takes fragments. What the driver announces counts for more than the table.
    let limit = match (&facts.features, limits.fragments) {
        (Ok(features), _) if !features.fragments() => limits.whole,
        (_, Limit::Impossible) => limits.whole,
        (_, fragments) => fragments,
    };
    (Some(limit), Some(limits.source))
}

/// A larger MTU that is possible and worth having.
fn larger(facts: &InterfaceFacts, limit: Option<Limit>) -> Option<u32> {
    let bound = match limit? {
        Limit::Bytes(bytes) => bytes,
        Limit::None => u32::MAX,
        Limit::Impossible => return None,
    };
    let device = match facts.link.max_mtu {
        0 => u32::MAX,
        mtu => mtu,
    };
    let possible = |mtu: &u32| *mtu <= bound.min(device) && *mtu > facts.link.mtu;
    GOOD_MTUS.into_iter().find(possible)
}
