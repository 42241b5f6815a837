//! Network namespaces for tests: each test gets fresh ones, removed when it ends, also by a panic.
//!
//! ```text
//!  namespace blk-<label>-<n>-<pid>-a                 namespace ...-b
//!  +----------------------------------+              +----------------------------------+
//!  | blka 10.77.0.1/24, fd00:77::1/64 |--- veth -----| blkb 10.77.0.2/24, fd00:77::2/64 |
//!  |      02:00:00:00:00:01           |              |      02:00:00:00:00:02           |
//!  +----------------------------------+              +----------------------------------+
//! ```
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::Write;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Interface in the first namespace.
pub const A: &str = "blka";
/// Interface in the second namespace.
pub const B: &str = "blkb";

/// Whether tests that need root can run. Without root they are skipped, and that is said on the terminal;
/// under `CI=true` they fail instead, so that no run passes by testing nothing.
pub fn is_root(test: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    skipped(test, "it needs root");
    false
}

/// Says on the terminal that a test shows nothing here, and why; under `CI=true` that is a failure.
pub fn skipped(test: &str, why: &str) {
    let ci = std::env::var("CI").unwrap_or_default();
    assert!(
        ci != "true" && ci != "1",
        "{test}: {why}, and under CI=true it must not be skipped"
    );
    // Not `eprintln!`, which the test harness captures. scripts/test counts these lines.
    let message = format!("\nSKIPPED: {test}: {why}\n");
    std::io::stderr().write_all(message.as_bytes()).unwrap();
}

/// Runs `ip` with these arguments and returns what it prints.
pub fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split_whitespace())
        .output()
        .expect("ip, of package iproute2");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// A network namespace, removed when dropped.
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new namespace with its loopback interface up.
    pub fn new(label: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("blk-{label}-{number}-{}", std::process::id());
        ip(&format!("netns add {name}"));
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs `ip` inside.
    pub fn ip(&self, arguments: &str) -> String {
        ip(&format!("-n {} {arguments}", self.name))
    }

    /// Calls `f` on a thread of its own inside the namespace; its panic becomes this one's.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let file = std::fs::File::open(format!("/run/netns/{}", self.name)).unwrap();
                rustix::thread::move_into_link_name_space(
                    std::os::fd::AsFd::as_fd(&file),
                    Some(rustix::thread::LinkNameSpaceType::Network),
                )
                .unwrap();
                f()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let removed = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
        if !removed.is_ok_and(|status| status.success()) {
            eprintln!("namespace {} could not be removed", self.name);
        }
    }
}

/// Two namespaces joined by a veth pair with `queues` RX and TX queues at each end.
pub fn pair(label: &str, queues: u32) -> (Namespace, Namespace) {
    let (a, b) = (Namespace::new(label), Namespace::new(label));
    let sizes = format!("numrxqueues {queues} numtxqueues {queues}");
    a.ip(&format!(
        "link add {A} address 02:00:00:00:00:01 {sizes} type veth \
         peer name {B} address 02:00:00:00:00:02 {sizes} netns {}",
        b.name
    ));
    for (namespace, interface, host) in [(&a, A, 1), (&b, B, 2)] {
        namespace.ip(&format!("addr add 10.77.0.{host}/24 dev {interface}"));
        namespace.ip(&format!(
            "addr add fd00:77::{host}/64 dev {interface} nodad"
        ));
        namespace.ip(&format!("link set {interface} up"));
    }
    (a, b)
}
