//! Other programs' traffic on the same interfaces, and what is left when blockd is gone.

use std::time::Duration;

use rustix::process::Signal;

use super::support::client::{blkcp, start};
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::steady::Steady;
use super::support::traffic::{Echo, ping};
use super::support::turmoil::rage;
use super::support::{Directory, files, ready, within};

#[test]
fn tcp_and_ping_work_before_during_and_after() {
    if !ready("tcp_and_ping_work_before_during_and_after") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let source = directory.join("file");
    files::write(&source, 256 << 20, 1);
    let hosts = Hosts::up(Link::of(1500));
    let echo = Echo::start(&hosts);
    echo.exchange(&hosts);
    ping(&hosts);

    let mut daemon = Daemon::start(&hosts, &export, &directory);
    let background = echo.exchange_on(&hosts);
    let path = source.to_str().expect("test files have plain paths");
    let mut copy = start(&hosts, &directory, &[path, "10.77.0.1:data/file"]);
    ping(&hosts);
    assert!(
        copy.is_running(),
        "the copy was over before the bystanders were"
    );
    copy.outcome().ok();
    assert!(
        background.finish() > 0,
        "no whole TCP exchange during the copy"
    );
    files::assert_same(&source, &export.join("file"));
    echo.exchange(&hosts);

    daemon.signal(Signal::TERM);
    assert!(
        daemon
            .wait(Duration::from_secs(1))
            .is_some_and(|status| status.success()),
        "blockd did not leave"
    );
    echo.exchange(&hosts);
    ping(&hosts);
}

#[test]
fn a_minute_of_copies_that_start_stop_and_die_loses_no_connection() {
    if !ready("a_minute_of_copies_that_start_stop_and_die_loses_no_connection") {
        return;
    }
    let directory = Directory::new();
    let source = directory.join("file");
    files::write(&source, 512 << 20, 1);
    let hosts = Hosts::up(Link::of(1500));
    let connections = Steady::start(&hosts);
    let turmoil = rage(&hosts, &source, Duration::from_secs(60), &directory);
    let steadiness = connections.finish();
    println!("{turmoil:?}, {steadiness:?}");
    assert!(turmoil.attached > 20, "{turmoil:?}");
    // Fifty times what is usual: a limit of what bystanders have to bear, not a measurement.
    assert!(steadiness.stall < Duration::from_secs(1), "{steadiness:?}");
}

#[test]
fn the_xdp_program_is_gone_within_a_second_of_a_kill() {
    if !ready("the_xdp_program_is_gone_within_a_second_of_a_kill") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let hosts = Hosts::up(Link::of(3498));
    assert!(!hosts.has_xdp(Host::Server));
    let mut daemon = Daemon::start(&hosts, &export, &directory);
    assert!(
        hosts.has_xdp(Host::Server),
        "blockd runs without an XDP program:\n{}",
        daemon.log()
    );
    daemon.signal(Signal::KILL);
    assert!(
        within(Duration::from_secs(1), || !hosts.has_xdp(Host::Server)),
        "the XDP program is still there"
    );
    assert!(daemon.wait(Duration::from_secs(1)).is_some());

    // The interface is as good as new.
    let source = directory.join("file");
    files::write(&source, 1 << 20, 1);
    let _daemon = Daemon::start(&hosts, &export, &directory);
    blkcp(
        &hosts,
        &directory,
        &[
            source.to_str().expect("a plain path"),
            "10.77.0.1:data/file",
        ],
    )
    .ok();
    files::assert_same(&source, &export.join("file"));
    assert!(
        within(Duration::from_secs(1), || !hosts.has_xdp(Host::Client)),
        "blkcp left an XDP program"
    );
}

#[test]
fn blockd_leaves_on_sigterm_within_a_second() {
    if !ready("blockd_leaves_on_sigterm_within_a_second") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let hosts = Hosts::up(Link::of(3498));
    let mut daemon = Daemon::start(&hosts, &export, &directory);
    daemon.signal(Signal::TERM);
    let status = daemon.wait(Duration::from_secs(1));
    assert!(
        status.is_some_and(|status| status.success()),
        "{status:?}\n{}",
        daemon.log()
    );
    assert!(!hosts.has_xdp(Host::Server), "blockd left its XDP program");
}
