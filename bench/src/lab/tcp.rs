//! A TCP transfer from a client to the server that goes on until it is stopped, to share a link with.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::sockopt::set_tcp_congestion;

use super::hosts::{Host, Hosts};
use super::traffic::on_host;

/// Where the server listens.
const PORT: u16 = 7001;

/// Longest silence of the connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running transfer. Ends when dropped.
#[derive(Debug)]
pub struct TcpTransfer {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl TcpTransfer {
    /// Starts one from `client` with a congestion control of the kernel (`cubic`, `reno`).
    ///
    /// # Panics
    /// When the server cannot be reached, or the kernel does not have that control.
    pub fn start(hosts: &Hosts, client: Host, control: &'static str) -> Self {
        let address = SocketAddr::from(([10, 77, 0, 1], PORT));
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, listening) = std::sync::mpsc::channel();
        let server = on_host(hosts, Host::Server, move || {
            let listener = TcpListener::bind(address).expect("the port is free in a new namespace");
            ready.send(()).expect("the starter waits");
            if let Ok((stream, _)) = listener.accept() {
                swallow(stream);
            }
        });
        listening.recv().expect("the TCP sink listens");
        let flag = Arc::clone(&stop);
        let (ready, connected) = std::sync::mpsc::channel();
        let sender = on_host(hosts, client, move || {
            let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("cannot connect");
            set_tcp_congestion(&stream, control).expect("cannot choose the congestion control");
            ready.send(()).expect("the starter waits");
            pour(stream, &flag);
        });
        connected.recv().expect("the TCP transfer did not start");
        Self {
            stop,
            threads: vec![sender, server],
        }
    }
}

impl Drop for TcpTransfer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Sends zeros until it shall stop.
fn pour(mut stream: TcpStream, stop: &AtomicBool) {
    let _ = stream.set_write_timeout(Some(PATIENCE));
    let zeros = vec![0; 256 << 10];
    while !stop.load(Ordering::Relaxed) && stream.write_all(&zeros).is_ok() {}
}

/// Reads until the end.
fn swallow(mut stream: TcpStream) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut buffer = vec![0; 256 << 10];
    while matches!(stream.read(&mut buffer), Ok(1..)) {}
}
