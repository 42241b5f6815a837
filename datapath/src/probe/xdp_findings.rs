//! What follows from the facts about XDP on an interface.

use blk_proto::geometry::{
    CHUNK_LEN, UMEM_HEADROOM, XDP_PACKET_HEADROOM, max_long_payload_for_mtu, max_payload_for_mtu,
};
use blk_xdp::Attachment;

use super::finding::Finding;
use super::host::HostFacts;
use super::interface::{InterfaceFacts, XdpProgram};
use super::mtu::{Limit, mtu_limits};
use super::virtio::VirtioFeatures;

/// MTUs worth having, the best first: 3584 and 3072 bytes of payload in a packet, over IPv6 and with two VLAN tags too.
const GOOD_MTUS: [u32; 2] = [3698, 3186];
/// The largest MTU whose packets fit into one frame each in zero-copy mode: what drivers make of a frame, in steps of 128 bytes,
/// less an Ethernet header with two VLAN tags and its checksum. Recent kernels refuse zero-copy above it, unless the socket takes
/// packets of several frames, which blockd's do not (net/xdp/xsk_buff_pool.c, `xp_assign_dev()`): tried with 6.18.15, which does
/// not refuse it yet, and 7.3.4; 6.12.117 has it, too.
const ZERO_COPY_MTU: u32 =
    ((CHUNK_LEN - XDP_PACKET_HEADROOM - UMEM_HEADROOM) / 128 * 128 - (14 + 2 * 4 + 4)) as u32;

/// What is to be said.
pub(super) fn xdp_findings(facts: &InterfaceFacts, host: &HostFacts) -> Vec<Finding> {
    let mut findings = vec![native(facts)];
    findings.extend(facts.program.as_ref().map(|program| taken(facts, program)));
    if facts.native_xdp() == Some(false) {
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
    match (facts.native_xdp(), &facts.features) {
        (Some(true), _) => Finding::ok(
            "native_xdp",
            format!("yes, driver {} runs programs", driver(facts)),
        ),
        (Some(false), _) => no_native(facts),
        (None, features) => {
            let why = features.as_ref().err().map_or("", String::as_str);
            Finding::unknown(
                "native_xdp",
                format!("not known ({why}); blockd says at its start whether it works"),
            )
        }
    }
}

/// Why there is none: several drivers withdraw it while something else is in use.
fn no_native(facts: &InterfaceFacts) -> Finding {
    let (name, driver) = (&facts.link.name, driver(facts));
    let no = |why: &str| {
        Finding::missing(
            "native_xdp",
            format!(
                "no, {why}: blockd serves here over UDP sockets, or with --datapath skb, which is slower"
            ),
        )
    };
    match driver {
        "virtio_net" if facts.virtio.is_some_and(VirtioFeatures::refuses_programs) => no(
            "the host may hand over joined packets or ones without a checksum, and gives no way to switch that off",
        )
        .fix("in QEMU, for this device: ctrl_guest_offloads=on, or guest_csum, guest_tso4, guest_tso6, guest_ecn, guest_ufo, guest_uso4 and guest_uso6 off")
        .source("drivers/net/virtio_net.c, virtnet_xdp_set()"),
        "veth" => {
            let queues = facts.queues.map(|queues| (queues.now, queues.max));
            let fix = match queues {
                Some((now, max)) if now < max => format!(
                    "ethtool -L {name} rx {max}, and if it has more than that, at the other end: ethtool -L PEER tx {max}"
                ),
                _ => format!(
                    "at the other end: ethtool -L PEER tx {}",
                    queues.map_or(facts.link.rx_queues, |(now, _)| now)
                ),
            };
            no("the other end of the veth pair has more TX queues than this end has RX queues")
                .fix(fix)
                .source("drivers/net/veth.c, veth_set_xdp_features()")
        }
        "mlx5_core" => no("mlx5_core takes programs only while LRO and hardware GRO are off")
            .fix(format!("ethtool -K {name} lro off rx-gro-hw off"))
            .source("drivers/net/ethernet/mellanox/mlx5/core/en_main.c, mlx5e_set_xdp_feature()"),
        driver => no(&format!("driver {driver} runs no programs"))
            .fix("for AF_XDP at its best, serve on an interface whose driver has native XDP"),
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
        Ok(info) if info.is_ours() => Finding::note(
            "xdp_program",
            format!(
                "a blockd or blkcp has the interface now; another one of the same version shares it, on the queues left (program \"{}\", id {id}, tag {:016x}, {mode})",
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
        Err(why) => Finding::unknown(
            "xdp_program",
            format!("an XDP program has the interface now (id {id}, {mode}); {why}"),
        )
        .fix(format!("if it is no blockd or blkcp: {fix}")),
    }
}

fn zero_copy(facts: &InterfaceFacts) -> Finding {
    match &facts.features {
        Ok(features) if features.zero_copy() && facts.zero_copy() == Some(false) => Finding::note(
            "zero_copy",
            "no, the host lets this device reach the guest's memory without mapping it; `auto` takes UDP sockets",
        )
        .fix("in QEMU: -device virtio-net-pci,iommu_platform=on,... (VIRTIO_F_ACCESS_PLATFORM)")
        .source("drivers/net/virtio_net.c, virtnet_xsk_pool_enable()"),
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
                "no, driver {} has none; `auto` takes UDP sockets",
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
                Some(segments @ 2..) if facts.zero_copy() == Some(true) => Finding::ok(
                    "fragments",
                    format!("{text}, in zero-copy mode up to {segments}"),
                ),
                _ if facts.zero_copy() == Some(true) => {
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
        _ if facts.zero_copy() == Some(true) && now > ZERO_COPY_MTU => {
            return Finding::warning(
                "mtu",
                format!(
                    "{now}: recent kernels (7.3.4 and 6.12.117, not yet 6.18.15) refuse zero-copy where packets may be larger than a \
                     frame, here above {ZERO_COPY_MTU}, and `auto` takes UDP sockets"
                ),
            )
            .fix(set(ZERO_COPY_MTU))
            .source("net/xdp/xsk_buff_pool.c, xp_assign_dev()");
        }
        _ => {
            let payload = max_payload_for_mtu(now as usize);
            let long = max_long_payload_for_mtu(now as usize).map_or_else(String::new, |long| {
                format!(" (in copy mode, from Linux 6.6 on, {long})")
            });
            let text = format!("{now}: {payload} bytes of payload in a packet{long}; {bound}");
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
    let frame = match facts.zero_copy() {
        Some(false) => u32::MAX,
        Some(true) | None => ZERO_COPY_MTU,
    };
    let bound = bound.min(device).min(frame);
    let possible = |mtu: &u32| *mtu <= bound && *mtu > facts.link.mtu;
    GOOD_MTUS.into_iter().find(possible)
}
