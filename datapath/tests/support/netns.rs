//! A network namespace of the test thread's own, with a veth pair in it.
//!
//! ```text
//!   blkio0 <=========== veth ===========> blkio1        (both in one anonymous namespace)
//! ```
//!
//! The namespace has no name: it ends with the last thread or descriptor in it, also when the test fails.

use std::process::Command;

/// The two ends.
pub const ENDS: [&str; 2] = ["blkio0", "blkio1"];

/// Moves the calling thread into a fresh namespace with a veth pair of `mtu`. `false` (said loudly) when that
/// needs privileges that we lack; under CI that is an error.
pub fn enter(mtu: u32) -> bool {
    if !enter_empty() {
        return false;
    }
    ip(&["link", "set", "lo", "up"]);
    let [a, b] = ENDS;
    ip(&["link", "add", a, "type", "veth", "peer", "name", b]);
    for end in ENDS {
        // No router solicitations and the like among the packets.
        let path = format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6");
        let _ = std::fs::write(path, "1");
        ip(&["link", "set", end, "mtu", &mtu.to_string(), "up"]);
    }
    true
}

/// The same with the loopback alone, up.
pub fn enter_loopback() -> bool {
    let entered = enter_empty();
    if entered {
        ip(&["link", "set", "lo", "up"]);
    }
    entered
}

/// The same with nothing in it.
fn enter_empty() -> bool {
    // SAFETY: unsharing the network namespace changes this thread only, and it holds no sockets yet.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        let error = std::io::Error::last_os_error();
        super::skip(format!("no network namespace: {error}"));
        return false;
    }
    true
}

/// Runs ip(8) in the thread's namespace (children inherit it).
fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().expect("ip(8)");
    assert!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The number of an interface of the thread's namespace.
pub fn interface_index(name: &str) -> u32 {
    let name = std::ffi::CString::new(name).expect("no NUL");
    // SAFETY: a NUL-terminated string.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    assert_ne!(index, 0, "no interface {name:?}");
    index
}
