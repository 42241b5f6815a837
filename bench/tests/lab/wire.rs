//! The lab itself: what it impairs is impaired, and what other programs send still arrives.

use std::process::Command;

use super::support::hosts::{Host, Hosts, Link};
use super::support::ready;
use super::support::traffic::{Echo, ping, pings_answered};

/// Percent of echo requests of 8000 bytes that got no answer, of 300.
fn percent_lost(hosts: &Hosts) -> f64 {
    let mut command = hosts.command(Host::Client, "ping");
    let output = command
        .args([
            "-q",
            "-c",
            "300",
            "-i",
            "0.002",
            "-W",
            "1",
            "-s",
            "8000",
            "10.77.0.1",
        ])
        .output();
    let said = String::from_utf8_lossy(&output.expect("cannot run ping").stdout).into_owned();
    percent_in(&said)
}

/// The loss that `ping` tells.
fn percent_in(said: &str) -> f64 {
    said.split(", ")
        .find_map(|part| part.split_once("% packet loss"))
        .and_then(|(percent, _)| percent.parse().ok())
        .unwrap_or_else(|| panic!("ping said:\n{said}"))
}

#[test]
fn a_wire_without_loss_carries_everything() {
    if !ready("a_wire_without_loss_carries_everything") {
        return;
    }
    let hosts = Hosts::up(Link {
        mtu: 9000,
        wire: &["--delay", "1ms"],
    });
    ping(&hosts);
    // The last answers may come too late for `ping` on a busy machine.
    let lost = percent_lost(&hosts);
    assert!(lost < 2.0, "{lost} %");
    Echo::start(&hosts).exchange(&hosts);
}

#[test]
fn a_lossy_wire_loses_its_share() {
    if !ready("a_lossy_wire_loses_its_share") {
        return;
    }
    let hosts = Hosts::up(Link {
        mtu: 9000,
        wire: &["--loss", "10%"],
    });
    // Lost on either way: 1 - 0.9^2 = 19 %.
    let lost = percent_lost(&hosts);
    assert!((10.0..30.0).contains(&lost), "{lost} %");
    // TCP makes up for it: whole frames with right checksums come out of the wire.
    Echo::start(&hosts).exchange(&hosts);
}

/// Whether small and large echo requests are answered: all, or none.
fn answered(hosts: &Hosts) -> [bool; 2] {
    ["100", "1400"].map(|size| {
        let options = ["-M", "do", "-s", size, "10.77.0.1"];
        match pings_answered(hosts, 2, &options) {
            0 => false,
            2 => true,
            _ => panic!("one of two requests of {size} bytes was answered"),
        }
    })
}

#[test]
fn a_wire_changes_while_it_runs() {
    if !ready("a_wire_changes_while_it_runs") {
        return;
    }
    let hosts = Hosts::up(Link {
        mtu: 1500,
        wire: &["--path-mtu", "1400"],
    });
    assert_eq!(answered(&hosts), [true, false]);
    hosts.change(&["--path-mtu", "1500"]);
    assert_eq!(answered(&hosts), [true, true]);
    hosts.change(&["--loss", "100%"]);
    assert_eq!(answered(&hosts), [false, false]);
    hosts.change(&[]);
    assert_eq!(answered(&hosts), [true, true]);
}

#[test]
fn clients_behind_one_wire_reach_the_server() {
    if !ready("clients_behind_one_wire_reach_the_server") {
        return;
    }
    let hosts = Hosts::with_clients(Link::of(3498), 3);
    for number in 1..=3 {
        for address in ["10.77.0.1", "fd77::1"] {
            let mut command = hosts.command(Host::client(number), "ping");
            let output = command.args(["-c", "1", "-W", "5", address]).output();
            let output = output.expect("cannot run ping");
            assert!(
                output.status.success(),
                "client {number} to {address}: {output:?}"
            );
        }
    }
}

#[test]
fn nothing_is_left_of_a_lab() {
    if !ready("nothing_is_left_of_a_lab") {
        return;
    }
    let hosts = Hosts::up(Link {
        mtu: 1500,
        wire: &["--delay", "1ms"],
    });
    let mut sleeper = hosts
        .command(Host::Server, "sleep")
        .arg("60")
        .spawn()
        .expect("cannot start a process");
    let names = [Host::Server, Host::Client].map(|host| hosts.namespace(host));
    drop(hosts);
    assert!(
        sleeper.wait().is_ok_and(|status| !status.success()),
        "a process of the lab lives on"
    );
    let output = Command::new("ip")
        .args(["netns", "list"])
        .output()
        .expect("cannot run ip");
    let left = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        names.iter().all(|name| !left.contains(name.as_str())),
        "left behind:\n{left}"
    );
}
