//! What follows from the facts about a host.

use super::finding::Finding;
use super::host::{HostFacts, Ring};
use super::kernel::KernelVersion;

/// The kernel that has what blockd uses: XDP programs with fragments (5.18), alignments of direct I/O (`STATX_DIOALIGN`, 6.1), the
/// io_uring flags (6.1).
const GOOD: KernelVersion = KernelVersion::new(6, 1);
/// Memory that a worker locks: its frames, for AF_XDP. io_uring counts them once more; over the limit it goes on without.
const FRAMES: u64 = 96 << 20;
/// Capabilities that blockd needs, besides CAP_IPC_LOCK.
const NEEDED_CAPABILITIES: [&str; 3] = ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF"];

/// What is to be said.
#[must_use]
pub fn host_findings(host: &HostFacts) -> Vec<Finding> {
    let mut findings = vec![
        kernel(host),
        io_uring(host),
        af_xdp(host),
        privileges(host),
        memlock(host),
        cpus(host),
    ];
    findings.extend(bpf(host));
    findings
}

fn kernel(host: &HostFacts) -> Finding {
    let text = format!("Linux {} on {}", host.release, host.machine);
    match &host.kernel {
        Err(error) => Finding::unknown("kernel", format!("{text}: {error}")),
        // Distributions take over changes of later kernels: what counts is what works.
        Ok(version) if *version < GOOD && matches!(host.ring, Ring::Works { .. }) => {
            Finding::warning(
                "kernel",
                format!(
                    "{text}: older than {GOOD}, with which blockd was made; its io_uring has what is needed, though"
                ),
            )
        }
        Ok(version) if *version < GOOD => {
            Finding::missing("kernel", format!("{text}: too old, blockd needs {GOOD}"))
                .fix("take a newer kernel; 6.15 or later has the cheapest disk writes")
        }
        Ok(_) => Finding::ok("kernel", text),
    }
}

fn io_uring(host: &HostFacts) -> Finding {
    match &host.ring {
        Ring::Works {
            fixed_vectors: true,
        } => Finding::ok("io_uring", "works, also with vectors of registered buffers"),
        Ring::Works { .. } => Finding::note(
            "io_uring",
            "works; without WRITEV_FIXED (Linux 6.15), which halves the CPU of disk writes",
        ),
        Ring::Refused(why) => {
            let finding = Finding::missing("io_uring", why.clone());
            match host.ring_disabled {
                Some(1 | 2) => finding.fix("sysctl -w kernel.io_uring_disabled=0"),
                _ => finding,
            }
        }
    }
}

fn af_xdp(host: &HostFacts) -> Finding {
    match host.af_xdp {
        Some(true) => Finding::ok("af_xdp", "the kernel has AF_XDP sockets"),
        Some(false) => Finding::missing(
            "af_xdp",
            "the kernel has no AF_XDP sockets: it was built without CONFIG_XDP_SOCKETS",
        ),
        None => Finding::unknown("af_xdp", "the kernel does not tell whether it has AF_XDP"),
    }
}

fn privileges(host: &HostFacts) -> Finding {
    let has = |name: &&str| {
        // Before CAP_BPF (Linux 5.8), and still, CAP_SYS_ADMIN stands for it.
        host.capabilities.has(name)
            || (*name == "CAP_BPF" && host.capabilities.has("CAP_SYS_ADMIN"))
    };
    let missing: Vec<&str> = NEEDED_CAPABILITIES
        .into_iter()
        .filter(|name| !has(name))
        .collect();
    if !missing.is_empty() {
        let text = format!(
            "{} missing: blockd could not start like this",
            missing.join(", ")
        );
        return Finding::missing("privileges", text).fix(
            "run as root, or setcap cap_net_raw,cap_net_admin,cap_bpf,cap_ipc_lock+ep /usr/local/bin/blockd",
        );
    }
    if host.in_user_namespace {
        return Finding::missing(
            "privileges",
            "the capabilities are there, but only within a user namespace (a rootless container): BPF programs cannot be \
             loaded from there",
        )
        .fix("run in the first user namespace");
    }
    Finding::ok(
        "privileges",
        "CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF are there",
    )
}

fn memlock(host: &HostFacts) -> Finding {
    let fix = "grant CAP_IPC_LOCK, or ulimit -l unlimited (systemd: LimitMEMLOCK=infinity)";
    let mib = FRAMES >> 20;
    // Of a user namespace, the kernel does not take it for this.
    if host.capabilities.has("CAP_IPC_LOCK") && !host.in_user_namespace {
        return Finding::ok(
            "memlock",
            "CAP_IPC_LOCK is there: locked memory is not counted",
        );
    }
    match host.memlock {
        None => Finding::ok("memlock", "any amount of memory may be locked"),
        Some(limit) if limit < FRAMES => Finding::missing(
            "memlock",
            format!(
                "{} KiB of memory may be locked; each worker (one a queue) locks {mib} MiB",
                limit >> 10
            ),
        )
        .fix(fix),
        Some(limit) => Finding::note(
            "memlock",
            format!(
                "{} MiB of memory may be locked: {} workers (one a queue) at most, {} of them with the cheaper disk I/O",
                limit >> 20,
                limit / FRAMES,
                limit / (2 * FRAMES)
            ),
        )
        .fix(fix),
    }
}

fn cpus(host: &HostFacts) -> Finding {
    match host.cpus {
        1 => Finding::warning(
            "cpus",
            "1 CPU: the worker, the kernel's network code and the disk share it",
        ),
        cpus => Finding::ok("cpus", format!("{cpus} CPUs")),
    }
}

fn bpf(host: &HostFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !host.btf {
        findings.push(Finding::note(
            "btf",
            "the kernel does not describe its types (no CONFIG_DEBUG_INFO_BTF): blockd does not need it, bpftool shows less",
        ));
    }
    if host.unprivileged_bpf_disabled == Some(0) {
        findings.push(
            Finding::note(
                "unprivileged_bpf",
                "any user may load BPF programs: blockd does not need that, and it widens what an attacker can try",
            )
            .fix("sysctl -w kernel.unprivileged_bpf_disabled=2"),
        );
    }
    findings
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::finding::Level;
    use super::super::host::Capabilities;
    use super::*;

    pub(in super::super) fn good() -> HostFacts {
        HostFacts {
            release: "6.18.44-1-amd64".to_owned(),
            kernel: "6.18.44".parse(),
            machine: "x86_64".to_owned(),
            page: 4096,
            cpus: 4,
            capabilities: Capabilities(u64::MAX),
            in_user_namespace: false,
            memlock: Some(8 << 20),
            ring: Ring::Works {
                fixed_vectors: true,
            },
            ring_disabled: Some(0),
            af_xdp: Some(true),
            btf: true,
            unprivileged_bpf_disabled: Some(2),
        }
    }

    #[track_caller]
    fn find(host: &HostFacts, key: &str) -> Finding {
        let mut found = host_findings(host).into_iter();
        found.find(|finding| finding.key == key).expect("a finding")
    }

    #[test]
    fn a_good_host_has_nothing_to_change() {
        for finding in host_findings(&good()) {
            assert_eq!(
                (finding.level, &finding.fix),
                (Level::Ok, &None),
                "{finding:?}"
            );
        }
    }

    #[test]
    fn an_ordinary_user_is_told_what_is_missing() {
        let host = HostFacts {
            capabilities: Capabilities(0),
            ..good()
        };
        let finding = find(&host, "privileges");
        assert_eq!(finding.level, Level::Missing);
        assert!(
            finding
                .text
                .starts_with("CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF missing")
        );
        assert!(finding.fix.unwrap().contains("setcap"));
        let finding = find(&host, "memlock");
        assert_eq!(finding.level, Level::Missing);
        assert!(finding.text.starts_with("8192 KiB"), "{finding:?}");
    }

    #[test]
    fn cap_sys_admin_stands_for_cap_bpf() {
        let host = HostFacts {
            capabilities: Capabilities(1 << 12 | 1 << 13 | 1 << 21),
            memlock: None,
            ..good()
        };
        assert_eq!(find(&host, "privileges").level, Level::Ok);
        assert_eq!(find(&host, "memlock").level, Level::Ok);
    }

    #[test]
    fn memory_for_some_workers() {
        let host = HostFacts {
            capabilities: Capabilities(1 << 12 | 1 << 13 | 1 << 39),
            memlock: Some(400 << 20),
            ..good()
        };
        let finding = find(&host, "memlock");
        assert_eq!(finding.level, Level::Note);
        assert!(
            finding
                .text
                .contains(": 4 workers (one a queue) at most, 2 of"),
            "{finding:?}"
        );
        let too_little = HostFacts {
            memlock: Some(90 << 20),
            ..host
        };
        assert_eq!(find(&too_little, "memlock").level, Level::Missing);
    }

    #[test]
    fn io_uring_that_is_switched_off() {
        let host = HostFacts {
            ring: Ring::Refused("io_uring is not permitted".to_owned()),
            ring_disabled: Some(2),
            ..good()
        };
        let finding = find(&host, "io_uring");
        assert_eq!(finding.level, Level::Missing);
        let fix = finding.fix.as_deref();
        assert_eq!(fix, Some("sysctl -w kernel.io_uring_disabled=0"));
    }

    #[test]
    fn kernels_that_are_too_old() {
        let with = |release: &str, ring: Ring| HostFacts {
            release: release.to_owned(),
            kernel: release.parse(),
            ring,
            ..good()
        };
        let level = |release, ring| find(&with(release, ring), "kernel").level;
        let works = || good().ring;
        let refused = || Ring::Refused("too old".to_owned());
        assert_eq!(level("5.15.0-generic", refused()), Level::Missing);
        // It has what is needed, whatever its number.
        assert_eq!(level("5.14.0-611.el9.x86_64", works()), Level::Warning);
        assert_eq!(level("6.1.158", works()), Level::Ok);
        assert_eq!(level("6.1.158", refused()), Level::Ok);
        assert_eq!(level("strange", works()), Level::Unknown);
    }

    #[test]
    fn a_user_namespace_is_not_enough() {
        let host = HostFacts {
            in_user_namespace: true,
            ..good()
        };
        assert_eq!(find(&host, "privileges").level, Level::Missing);
    }
}
