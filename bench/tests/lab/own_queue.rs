//! Flows over AF_XDP find ports whose packets come by their own queue, where ports decide by which queue packets come.

use super::flows::flow_values;
use super::support::client::{Outcome, start_over};
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::{Directory, files, ready};

const SIZE: u64 = 64 << 20;
/// Each port misses its queue by half: that none of so many copies does by chance is one in a thousand.
const COPIES: usize = 10;
/// Packets of a session whose queue is right that may come by another all the same: none, but for answers to ports that were tried.
const STRAYS_MAX: u64 = 64;

/// Strays of each flow.
fn strays(outcome: &Outcome) -> Vec<u64> {
    let flows = flow_values(outcome, ["queue", "strays"]);
    flows.into_iter().map(|[_, strays]| strays).collect()
}

#[test]
fn ports_are_found_whose_packets_come_by_the_flow_s_queue() {
    if !ready("ports_are_found_whose_packets_come_by_the_flow_s_queue") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let hosts = Hosts::up(Link {
        mtu: 3498,
        wire: &["--queues", "2"],
    });
    // The kernel chooses the queue of what a UDP socket sends by addresses and ports, as a card does for what it receives.
    let interface = Host::Server.interface();
    let daemon = Daemon::start_over(&hosts, interface, "udp", &export, &directory);
    let source = export.join("file");
    files::write(&source, SIZE, 3);
    let back = directory.join("back");
    for number in 0..COPIES {
        let host = ["10.77.0.1", "[fd77::1]"][number % 2];
        let from = format!("{host}:data/file");
        let words = ["--flows", "1", &from, back.to_str().expect("a plain path")];
        let get = start_over(&hosts, Host::Client, "copy", &directory, &words).outcome();
        get.ok();
        files::assert_same(&source, &back);
        std::fs::remove_file(&back).expect("cannot remove a file");
        let strays = strays(&get);
        assert!(
            strays.iter().all(|&strays| strays <= STRAYS_MAX),
            "{host}: {strays:?}"
        );
    }
    drop(daemon);
}
