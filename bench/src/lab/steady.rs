//! TCP connections of other programs that live as long as somebody watches them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::hosts::{Host, Hosts};
use super::traffic::on_host;
use crate::wire::random::Random;

/// Bytes of the messages of each connection: one as of a shell, one as of a file server.
const MESSAGES: [usize; 2] = [64, 256 << 10];

/// Pause between two messages.
const PAUSE: Duration = Duration::from_millis(2);

/// A connection that is silent for so long is lost.
const PATIENCE: Duration = Duration::from_secs(15);

/// What became of the connections.
#[derive(Debug, Clone, Copy)]
pub struct Steadiness {
    /// Messages that came back whole, on all connections.
    pub messages: u64,
    /// The longest that one took to come back.
    pub stall: Duration,
}

/// Connections from the client to the server, on which messages go to and fro without end.
#[derive(Debug)]
pub struct Steady {
    stop: Arc<AtomicBool>,
    connections: Vec<JoinHandle<Steadiness>>,
}

impl Steady {
    /// Connects.
    pub fn start(hosts: &Hosts) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let connections = MESSAGES.iter().zip(7001..).map(|(&bytes, port)| {
            let address = SocketAddr::from(([10, 77, 0, 1], port));
            let (ready, listening) = std::sync::mpsc::channel();
            // Ends when the client's end of the connection does.
            on_host(hosts, Host::Server, move || {
                let listener = TcpListener::bind(address).expect("the port is free");
                ready.send(()).expect("somebody waits");
                let (stream, _) = listener.accept().expect("somebody connects");
                send_back(stream, bytes);
            });
            listening.recv().expect("the server listens");
            let flag = Arc::clone(&stop);
            on_host(hosts, Host::Client, move || exchange(address, bytes, &flag))
        });
        Self {
            connections: connections.collect(),
            stop,
        }
    }

    /// Ends them.
    ///
    /// # Panics
    /// When a connection was lost, or bytes of it differ.
    pub fn finish(self) -> Steadiness {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.connections.into_iter().map(|connection| {
            let steadiness = connection.join().expect("a TCP connection was lost");
            assert!(steadiness.messages > 0, "nothing went to and fro");
            steadiness
        });
        ended
            .reduce(|one, other| Steadiness {
                messages: one.messages + other.messages,
                stall: one.stall.max(other.stall),
            })
            .expect("there are connections")
    }
}

/// Sends messages back until the other end has gone.
fn send_back(mut stream: TcpStream, bytes: usize) {
    let mut message = vec![0; bytes];
    while stream.read_exact(&mut message).is_ok() && stream.write_all(&message).is_ok() {}
}

/// Sends messages and checks what comes back, until told to stop.
fn exchange(address: SocketAddr, bytes: usize, stop: &AtomicBool) -> Steadiness {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).expect("cannot connect");
    stream.set_nodelay(true).expect("cannot set TCP_NODELAY");
    for result in [
        stream.set_read_timeout(Some(PATIENCE)),
        stream.set_write_timeout(Some(PATIENCE)),
    ] {
        result.expect("cannot set a timeout");
    }
    let mut random = Random::new(bytes as u64);
    let mut message: Vec<u8> = (0..bytes).map(|_| random.bits() as u8).collect();
    let mut back = vec![0; bytes];
    let mut steadiness = Steadiness {
        messages: 0,
        stall: Duration::ZERO,
    };
    while !stop.load(Ordering::Relaxed) {
        message[..8].copy_from_slice(&steadiness.messages.to_le_bytes());
        let sent = Instant::now();
        stream.write_all(&message).expect("cannot send");
        stream.read_exact(&mut back).expect("nothing came back");
        assert!(message == back, "the bytes that came back differ");
        steadiness.stall = steadiness.stall.max(sent.elapsed());
        steadiness.messages += 1;
        std::thread::sleep(PAUSE);
    }
    steadiness
}
