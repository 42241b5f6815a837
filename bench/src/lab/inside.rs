//! The client library on a host, within this process.

use std::os::fd::AsFd;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use blk_client::{ConnectOptions, Connection, Datapath};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::hosts::{Host, Hosts};

/// Wakes a thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The plainest executor there is: files in place want no other.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Runs `work` with a connection from the first client to the server, in the client's network namespace.
///
/// # Panics
/// When there is no such connection, or `work` does.
pub fn on_client<T: Send>(hosts: &Hosts, work: impl AsyncFnOnce(&Connection) -> T + Send) -> T {
    let namespace = format!("/run/netns/{}", hosts.namespace(Host::Client));
    let outcome = std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            // The threads that this one starts are there too.
            let namespace = std::fs::File::open(namespace).expect("the namespace is there");
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("cannot enter the namespace");
            block_on(async {
                let options = ConnectOptions {
                    datapath: Datapath::Copy,
                    ..ConnectOptions::default()
                };
                let connection = Connection::open("10.77.0.1", &options).await;
                work(&connection.expect("a connection")).await
            })
        });
        worker.join()
    });
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
