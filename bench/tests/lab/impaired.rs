//! Files there and back on links that lose, reorder, duplicate and corrupt frames.

use super::support::client::blkcp;
use super::support::daemon::Daemon;
use super::support::hosts::{Hosts, Link};
use super::support::{Directory, files, ready};

fn there_and_back(test: &str, mtu: u32, size: u64, wire: &[&str]) {
    if !ready(test) {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let source = directory.join("file");
    files::write(&source, size, u64::from(mtu));
    let hosts = Hosts::up(Link { mtu, wire });
    let _daemon = Daemon::start(&hosts, &export, &directory);
    let path = |name: &str| {
        directory
            .join(name)
            .to_str()
            .expect("test files have plain paths")
            .to_owned()
    };
    let put = blkcp(&hosts, &directory, &[&path("file"), "10.77.0.1:data/file"]);
    put.ok();
    files::assert_same(&source, &export.join("file"));
    let got = blkcp(&hosts, &directory, &["10.77.0.1:data/file", &path("back")]);
    got.ok();
    files::assert_same(&source, &directory.join("back"));
    if wire.contains(&"--loss") {
        assert!(
            put.number("retransmitted") > 0,
            "the wire lost packets, and nothing was sent again"
        );
    }
}

#[test]
fn loss_and_reordering() {
    there_and_back(
        "loss_and_reordering",
        3498,
        256 << 20,
        &["--loss", "1%", "--reorder", "5%"],
    );
}

#[test]
fn loss_and_reordering_with_delay() {
    let wire = [
        "--loss",
        "1%",
        "--reorder",
        "5%",
        "--delay",
        "500us",
        "--jitter",
        "100us",
    ];
    there_and_back("loss_and_reordering_with_delay", 9000, 32 << 20, &wire);
}

#[test]
fn heavy_loss() {
    there_and_back("heavy_loss", 1500, 4 << 20, &["--loss", "10%"]);
}

#[test]
fn losses_in_bursts() {
    let wire = ["--burst-loss", "0.1%,20%", "--delay", "200us"];
    there_and_back("losses_in_bursts", 3498, 32 << 20, &wire);
}

#[test]
fn a_long_path() {
    let wire = ["--rate", "1gbit", "--queue", "4mb", "--delay", "50ms"];
    there_and_back("a_long_path", 3498, 96 << 20, &wire);
}

#[test]
fn a_short_queue() {
    let wire = ["--rate", "100mbit", "--queue", "10p", "--delay", "1ms"];
    there_and_back("a_short_queue", 3498, 16 << 20, &wire);
}

#[test]
fn congestion_marks() {
    let wire = [
        "--rate", "200mbit", "--queue", "1mb", "--mark", "50kb", "--delay", "1ms",
    ];
    there_and_back("congestion_marks", 3498, 32 << 20, &wire);
}

#[test]
fn duplicates_and_corruption() {
    there_and_back(
        "duplicates_and_corruption",
        1500,
        16 << 20,
        &["--duplicate", "5%", "--corrupt", "1%"],
    );
}
