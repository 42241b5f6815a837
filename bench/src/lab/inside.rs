//! The client library on a host, within this process.

use std::os::fd::AsFd;

pub use blk_client::blocking::block_on;
use blk_client::{ConnectOptions, Connection, Datapath};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::hosts::{Host, Hosts};

/// Runs `work` on a thread that is in the first client's network namespace, as are the threads that it starts.
///
/// # Panics
/// When there is no such namespace, or `work` does.
pub fn in_client<T: Send>(hosts: &Hosts, work: impl FnOnce() -> T + Send) -> T {
    let namespace = format!("/run/netns/{}", hosts.namespace(Host::Client));
    let outcome = std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let namespace = std::fs::File::open(namespace).expect("the namespace is there");
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("cannot enter the namespace");
            work()
        });
        worker.join()
    });
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs `work` with a connection from the first client to the server, in the client's network namespace.
///
/// # Panics
/// When there is no such connection, or `work` does.
pub fn on_client<T: Send>(hosts: &Hosts, work: impl AsyncFnOnce(&Connection) -> T + Send) -> T {
    in_client(hosts, || {
        block_on(async {
            let options = ConnectOptions {
                datapath: Datapath::Copy,
                ..ConnectOptions::default()
            };
            let connection = Connection::open("10.77.0.1", &options).await;
            work(&connection.expect("a connection")).await
        })
    })
}
