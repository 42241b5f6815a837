//! Why bpf(2) was forbidden, and what would allow it.

/// Capability numbers of include/uapi/linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;

/// One sentence for the user of a process that got `EPERM` or `EACCES`.
pub fn advice() -> String {
    // Where /proc is not mounted, the general advice stands.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    advice_for(effective(&status).unwrap_or(0))
}

/// The effective capabilities in the text of /proc/self/status (proc_pid_status(5)).
fn effective(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The advice for a process with these effective capabilities.
fn advice_for(effective: u64) -> String {
    let has = |capability: u32| effective & (1 << capability) != 0;
    let mut missing = Vec::new();
    if !has(CAP_NET_ADMIN) {
        missing.push("CAP_NET_ADMIN");
    }
    if !has(CAP_BPF) && !has(CAP_SYS_ADMIN) {
        missing.push("CAP_BPF");
    }
    if missing.is_empty() {
        return "CAP_NET_ADMIN and CAP_BPF are there, so a container's seccomp filter, a user namespace, \
                kernel lockdown or a security module forbids bpf(2); allow it there"
            .to_owned();
    }
    format!(
        "run as root or grant CAP_NET_ADMIN and CAP_BPF (missing: {}), with systemd by \
         AmbientCapabilities=, else by setcap",
        missing.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_capabilities_are_named() {
        let root = effective("Name:\tx\nCapInh:\t0\nCapEff:\t000001ffffffffff\n").unwrap();
        assert!(advice_for(root).contains("seccomp"), "nothing is missing");
        assert!(advice_for(0).contains("(missing: CAP_NET_ADMIN, CAP_BPF)"));
        assert!(advice_for(1 << CAP_NET_ADMIN).contains("(missing: CAP_BPF)"));
        assert!(advice_for(1 << CAP_SYS_ADMIN).contains("(missing: CAP_NET_ADMIN)"));
        let enough = 1 << CAP_NET_ADMIN | 1 << CAP_BPF;
        assert!(advice_for(enough).contains("seccomp"));
    }

    #[test]
    fn a_status_without_capabilities_is_not_trusted() {
        assert_eq!(effective("Name:\tx\n"), None);
        assert_eq!(effective("CapEff:\tzz\n"), None);
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        assert!(effective(&own).is_some());
    }
}
