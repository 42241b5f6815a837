//! Traffic of other programs between the two hosts, which ours must leave alone.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::wire::random::Random;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::hosts::{Host, Hosts};

/// Bytes that one connection sends, and gets back.
const BYTES: usize = 4 << 20;

/// Longest silence of a connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs in a thread of its own on a host.
pub fn on_host<T: Send + 'static>(
    hosts: &Hosts,
    host: Host,
    body: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let path = format!("/run/netns/{}", hosts.namespace(host));
    std::thread::spawn(move || {
        let namespace = File::open(&path).expect("the namespace is there");
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("setns works for root");
        body()
    })
}

/// A TCP service on the server that sends back what it gets. Ends when dropped.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    address: SocketAddr,
}

impl Echo {
    /// Starts it.
    pub fn start(hosts: &Hosts) -> Self {
        let address = SocketAddr::from(([10, 77, 0, 1], 7000));
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let (ready, listening) = std::sync::mpsc::channel();
        let thread = on_host(hosts, Host::Server, move || {
            let listener = TcpListener::bind(address).expect("the port is free in a new namespace");
            listener
                .set_nonblocking(true)
                .expect("cannot set a listener non-blocking");
            ready.send(()).expect("the test waits");
            while !flag.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => serve(stream),
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        });
        listening.recv().expect("the echo service listens");
        Self {
            stop,
            thread: Some(thread),
            address,
        }
    }

    /// Sends some megabytes from the client and checks what comes back.
    ///
    /// # Panics
    /// When a byte is wrong or nothing moves for ten seconds.
    pub fn exchange(&self, hosts: &Hosts) {
        let address = self.address;
        on_host(hosts, Host::Client, move || exchange(address))
            .join()
            .expect("the TCP exchange failed");
    }

    /// Exchanges again and again until the returned guard is finished.
    pub fn exchange_on(&self, hosts: &Hosts) -> Background {
        let address = self.address;
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicU64::new(0));
        let (flag, count) = (Arc::clone(&stop), Arc::clone(&rounds));
        let thread = on_host(hosts, Host::Client, move || {
            while !flag.load(Ordering::Relaxed) {
                exchange(address);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Background {
            stop,
            rounds,
            thread,
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// TCP exchanges that go on beside something else.
#[derive(Debug)]
pub struct Background {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Background {
    /// Ends it and gives the number of whole exchanges.
    ///
    /// # Panics
    /// When one of them failed.
    pub fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the TCP exchange failed");
        self.rounds.load(Ordering::Relaxed)
    }
}

/// Sends back what comes, for one connection.
fn serve(mut stream: TcpStream) {
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// One connection: all bytes there and back.
fn exchange(address: SocketAddr) {
    let mut random = Random::new(11);
    let sent: Vec<u8> = (0..BYTES / 8)
        .flat_map(|_| random.bits().to_le_bytes())
        .collect();
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).expect("cannot connect");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("cannot set a timeout");
    let mut writer = stream.try_clone().expect("cannot share a stream");
    let data = sent.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&data).expect("cannot send");
        writer
            .shutdown(Shutdown::Write)
            .expect("cannot end sending");
    });
    let mut received = Vec::with_capacity(BYTES);
    stream
        .read_to_end(&mut received)
        .expect("nothing came back in time");
    writing.join().expect("sending failed");
    assert!(received == sent, "the bytes that came back differ");
}

/// Echo requests that [`ping`] sends.
const PINGS: u32 = 10;

/// Some ICMP echo requests from the client are all answered, over IPv4 and IPv6.
///
/// # Panics
/// When one is not.
pub fn ping(hosts: &Hosts) {
    for address in ["10.77.0.1", "fd77::1"] {
        let answered = pings_answered(hosts, PINGS, &["-s", "1000", address]);
        assert_eq!(answered, PINGS, "answers of {address}");
    }
}

/// How many of so many echo requests from the client are answered within two seconds.
///
/// Each is a run of `ping`: for the last of several it waits twice the longest round trip so far, which is nothing on a busy
/// machine.
pub fn pings_answered(hosts: &Hosts, count: u32, options: &[&str]) -> u32 {
    let answered = |_: &u32| {
        hosts
            .command(Host::Client, "ping")
            .args(["-c", "1", "-W", "2"])
            .args(options)
            .stdin(Stdio::null())
            .output()
            .expect("cannot run ping")
            .status
            .success()
    };
    (0..count).filter(answered).count() as u32
}
