//! The report for programs. Its keys are listed in docs/operations.md; new ones may come, none goes or changes its meaning
//! while `format` is 1. Null: not told.

use blk_datapath::disk::Plan;
use blk_datapath::probe::{
    Capabilities, Finding, HostFacts, InterfaceFacts, PlaceFacts, Ring, XdpProgram,
};
use blk_xdp::Attachment;
use serde_json::{Map, Value, json};

use super::report::{Part, Report};

/// All of it, as one line.
pub fn report(report: &Report) -> Value {
    let named = |key: &'static str, parts: Vec<(String, Value)>| -> Value {
        let with_name = parts.into_iter().map(|(name, mut value)| {
            value[key] = name.into();
            value
        });
        with_name.collect()
    };
    let interfaces = report.interfaces.iter();
    let interfaces = interfaces.map(|part| (part.name.clone(), part_value(part, interface)));
    let paths = report.paths.iter();
    let paths = paths.map(|part| (part.name.clone(), part_value(part, place)));
    json!({
        "format": 1,
        "exit_code": report.exit_code(),
        "host": part_value(&report.host, host),
        "interfaces": named("name", interfaces.collect()),
        "paths": named("path", paths.collect()),
    })
}

/// Facts, if there are any, and findings.
fn part_value<F>(part: &Part<F>, facts: impl Fn(&F) -> Value) -> Value {
    let mut value = part.facts.as_ref().map_or_else(|| json!({}), facts);
    value["found"] = part.facts.is_some().into();
    value["findings"] = part.findings.iter().map(finding).collect();
    value
}

fn finding(finding: &Finding) -> Value {
    json!({
        "key": finding.key,
        "level": finding.level.word(),
        "text": finding.text,
        "fix": finding.fix,
        "source": finding.source,
    })
}

fn host(host: &HostFacts) -> Value {
    let capabilities: Map<String, Value> = Capabilities::NAMED
        .iter()
        .map(|(name, _)| ((*name).to_owned(), host.capabilities.has(name).into()))
        .collect();
    let (works, fixed_vectors) = match host.ring {
        Ring::Works { fixed_vectors } => (true, fixed_vectors),
        Ring::Refused(_) => (false, false),
    };
    json!({
        "release": host.release,
        "kernel": host.kernel.as_ref().ok().map(ToString::to_string),
        "machine": host.machine,
        "page_bytes": host.page,
        "cpus": host.cpus,
        "capabilities": capabilities,
        "in_user_namespace": host.in_user_namespace,
        "memlock_bytes": host.memlock,
        "io_uring": works,
        "io_uring_fixed_vectors": fixed_vectors,
        "io_uring_disabled": host.ring_disabled,
        "af_xdp": host.af_xdp,
        "btf": host.btf,
        "unprivileged_bpf_disabled": host.unprivileged_bpf_disabled,
    })
}

fn interface(facts: &InterfaceFacts) -> Value {
    let link = &facts.link;
    let features = facts.features.as_ref().ok();
    let made = link.rx_queues;
    let (now, max) = (facts.queues).map_or((made, made), |queues| (queues.now, queues.max));
    json!({
        "index": link.index,
        "kind": link.kind,
        "lower": facts.lower,
        "master": facts.master.as_ref().map(|(name, _)| name),
        "members": facts.members,
        "driver": facts.driver.as_ref().map(|driver| json!({
            "name": driver.name,
            "version": driver.version,
            "firmware": driver.firmware,
            "bus": driver.bus,
        })),
        "up": link.up,
        "carrier": link.carrier,
        "speed_mbps": facts.speed,
        "mtu": link.mtu,
        "max_mtu": link.max_mtu,
        "addresses": link.addresses,
        "numa_node": facts.numa_node,
        "native_xdp": facts.native_xdp(),
        "zero_copy": facts.zero_copy(),
        "fragments": features.map(|features| features.fragments()),
        "zero_copy_segments": features.and_then(|features| features.zero_copy_segments),
        "xdp_program": facts.program.as_ref().map(program),
        "queues": {"now": now, "max": max},
        "rings": facts.rings.map(|rings| json!({
            "rx": rings.rx,
            "rx_max": rings.rx_max,
            "tx": rings.tx,
            "tx_max": rings.tx_max,
        })),
        "rss_table": facts.steering.rss_table,
        "rules": facts.steering.rules,
        "offloads": offloads(facts),
        "busy_poll": facts.busy_poll.map(|poll| json!({
            "instances": poll.instances,
            "defer_hard_irqs": poll.defer_hard_irqs,
            "gro_flush_timeout_ns": poll.flush_timeout,
        })),
    })
}

fn offloads(facts: &InterfaceFacts) -> Value {
    let offloads = facts.offloads;
    json!({
        "gro": offloads.gro,
        "lro": offloads.lro,
        "gso": offloads.gso,
        "tso": offloads.tso,
        "rx_checksum": offloads.rx_checksum,
        "tx_checksum": offloads.tx_checksum,
        "rx_vlan": offloads.rx_vlan,
        "ntuple": offloads.ntuple,
        "rx_hash": offloads.rx_hash,
    })
}

fn program(program: &XdpProgram) -> Value {
    let info = program.info.as_ref().ok();
    json!({
        "id": program.id,
        "mode": match program.attachment {
            Attachment::Native => "native",
            Attachment::Generic => "generic",
            Attachment::Other => "other",
        },
        "name": info.map(|info| &info.name),
        "tag": info.map(|info| format!("{:016x}", info.tag)),
    })
}

fn place(facts: &PlaceFacts) -> Value {
    let direct = facts.direct.as_ref().ok();
    // Without a new file, nothing told of alignments.
    let align = |bytes: u32| direct.map(|_| bytes);
    let queue = facts.report.queue;
    json!({
        "file_system": facts.file_system,
        "device": facts.device,
        "free_bytes": facts.free,
        "size_bytes": facts.size,
        "read_only": facts.read_only,
        "writable": direct.is_some(),
        "plan_write": direct.map(|direct| word(direct.write)),
        "plan_read": direct.map(|direct| word(direct.read)),
        "memory_align": align(facts.report.memory_align),
        "offset_align": align(facts.report.offset_align),
        "virt_boundary": queue.map(|queue| queue.virt_boundary),
        "max_segments": queue.map(|queue| queue.max_segments),
        "max_request_kib": queue.map(|queue| queue.max_kib),
        "logical_block": queue.map(|queue| queue.logical_block),
        "physical_block": queue.map(|queue| queue.physical_block),
        "rotational": queue.map(|queue| queue.rotational),
        "tmpfile": direct.map(|direct| direct.nameless),
        "fallocate": direct.map(|direct| direct.reserves.is_ok()),
        "birth_times": facts.birth_times,
        "syncfs_trusted": facts.syncfs_is_trusted,
    })
}

const fn word(plan: Plan) -> &'static str {
    match plan {
        Plan::Gather => "gather",
        Plan::Coalesce { .. } => "coalesce",
        Plan::Buffered { .. } => "buffered",
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::report as good;
    use super::*;

    const DOCUMENTATION: &str = include_str!("../../../docs/operations.md");

    #[test]
    fn parts_without_facts_have_name_and_findings() {
        let value = report(&good());
        assert_eq!(value["format"], 1);
        assert_eq!(value["exit_code"], 0);
        let interface = &value["interfaces"][0];
        assert_eq!(interface["name"], "eth1");
        assert_eq!(interface["found"], false);
        assert_eq!(interface["findings"][0]["key"], "zero_copy");
        assert_eq!(interface["findings"][0]["level"], "note");
        assert_eq!(value["paths"][0]["path"], "/srv");
    }

    #[test]
    fn what_is_here_has_the_documented_keys() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let here = Report::make(&["lo".to_owned()], std::slice::from_ref(&path)).unwrap();
        let value = report(&here);
        let lo = &value["interfaces"][0];
        assert_eq!((&lo["name"], &lo["found"]), (&json!("lo"), &json!(true)));
        assert!(lo["mtu"].as_u64().unwrap() > 0);
        let place = &value["paths"][0];
        assert_eq!(place["writable"], true);
        assert_eq!(place["path"], path.display().to_string());
        for part in [&value, &value["host"], lo, place, &lo["queues"]] {
            for key in part.as_object().unwrap().keys() {
                assert!(
                    DOCUMENTATION.contains(&format!("`{key}`")),
                    "{key} is not documented"
                );
            }
        }
    }
}
