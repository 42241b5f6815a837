//! Several clients on one link.

use super::support::client::start_on;
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::tcp::TcpTransfer;
use super::support::trace::{Trace, overlap};
use super::support::{Directory, files, ready};

/// Bytes that are not yet, or no more, the transfer.
const MARGIN: u64 = 1 << 20;

/// A server behind a narrow link, and its clients.
struct Scene {
    _daemon: Daemon,
    hosts: Hosts,
    export: std::path::PathBuf,
    directory: Directory,
}

impl Scene {
    fn new(clients: u32, wire: &[&str]) -> Self {
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        let trace = directory.join("trace");
        let trace = trace.to_str().expect("a plain path");
        let link = Link {
            mtu: 3498,
            wire: &[wire, &["--trace", trace]].concat(),
        };
        let hosts = Hosts::with_clients(link, clients);
        Self {
            _daemon: Daemon::start(&hosts, &export, &directory),
            hosts,
            export,
            directory,
        }
    }

    fn file(&self, size: u64) -> String {
        let path = self.directory.join("file");
        files::write(&path, size, 1);
        path.to_str().expect("a plain path").to_owned()
    }

    /// All clients put the same file at once. Every copy is whole.
    fn put_all(&self, clients: u32, size: u64) {
        let source = self.file(size);
        let target = |number: u32| format!("file-{number}");
        let copies: Vec<_> = (1..=clients)
            .map(|number| {
                let remote = format!("10.77.0.1:data/{}", target(number));
                let words = [source.as_str(), &remote];
                start_on(&self.hosts, Host::client(number), &self.directory, &words)
            })
            .collect();
        for copy in copies {
            copy.outcome().ok();
        }
        for number in 1..=clients {
            files::assert_same(source.as_ref(), &self.export.join(target(number)));
        }
    }

    fn trace(&self) -> Trace {
        Trace::read(&self.directory.join("trace"))
    }
}

#[test]
fn thirty_two_clients_at_once() {
    if !ready("thirty_two_clients_at_once") {
        return;
    }
    let wire = ["--rate", "1gbit", "--queue", "500kb", "--delay", "50us"];
    let scene = Scene::new(32, &wire);
    scene.put_all(32, 4 << 20);
}

#[test]
fn two_clients_share_a_link() {
    if !ready("two_clients_share_a_link") {
        return;
    }
    let wire = ["--rate", "200mbit", "--queue", "250kb", "--delay", "1ms"];
    let scene = Scene::new(2, &wire);
    scene.put_all(2, 64 << 20);
    let trace = scene.trace();
    let sent = [1, 2].map(|number| trace.of(Host::client(number)));
    let spans = [0, 1].map(|i| sent[i].span(MARGIN).expect("both sent"));
    let (from, to) = overlap(&spans).expect("both sent at once");
    let shares = [0, 1].map(|i| sent[i].bytes(from, to));
    println!("shares of {from}..{to} ms: {shares:?}");
    let least = shares[0].min(shares[1]) as f64 / (shares[0] + shares[1]) as f64;
    assert!(
        least > 0.15,
        "one got {:.0} % only: {shares:?}",
        100.0 * least
    );
}

#[test]
fn beside_tcp_neither_starves() {
    if !ready("beside_tcp_neither_starves") {
        return;
    }
    let wire = ["--rate", "200mbit", "--queue", "250kb", "--delay", "5ms"];
    let scene = Scene::new(2, &wire);
    let source = scene.file(96 << 20);
    let tcp = TcpTransfer::start(&scene.hosts, Host::client(2), "cubic");
    let words = [source.as_str(), "10.77.0.1:data/file"];
    start_on(&scene.hosts, Host::Client, &scene.directory, &words)
        .outcome()
        .ok();
    drop(tcp);
    files::assert_same(source.as_ref(), &scene.export.join("file"));
    let trace = scene.trace();
    let (from, to) = trace.of(Host::Client).span(MARGIN).expect("blkcp sent");
    let shares = [1, 2].map(|number| trace.of(Host::client(number)).bytes(from, to));
    println!("blkcp and TCP in {from}..{to} ms: {shares:?}");
    let least = shares[0].min(shares[1]) as f64 / (shares[0] + shares[1]) as f64;
    assert!(
        least > 0.05,
        "one got {:.0} % only: {shares:?}",
        100.0 * least
    );
}
