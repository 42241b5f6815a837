//! Finds out which of the server's workers the packets of a UDP socket get to, by a handshake that is taken back at once.
//!
//! A worker's own sessions say the same, but a worker costs 100 MiB and its thread; this costs a packet or two each way.

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use blk_proto::net::Ecn;
use blk_proto::session::{CloseCode, CloseReason, Config, ConnectionId, Session, Transmit};
use blk_proto::time::Time;
use blk_proto::wire;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvFlags, recv};
use rustix::rand::{GetRandomFlags, getrandom};
use zerocopy::IntoBytes;

/// Looks at timers at least so often.
const TICK: Duration = Duration::from_millis(10);

/// A handshake on a socket that is connected to the server.
struct Scout<'a> {
    socket: &'a UdpSocket,
    session: Session<()>,
    /// Where it got to.
    worker: Option<u32>,
    over: bool,
}

/// The server's worker that each of these sockets reaches; `None`: no answer within `patience`, or a refusal. They are
/// connected, and nobody else uses them meanwhile.
pub(crate) fn workers_reached(sockets: &[&UdpSocket], patience: Duration) -> Vec<Option<u32>> {
    let started = Instant::now();
    let now = || Time::from_nanos(started.elapsed().as_nanos() as u64 + 1);
    let mut scouts: Vec<Scout<'_>> = sockets
        .iter()
        .map(|socket| Scout::new(socket, now()))
        .collect();
    while started.elapsed() < patience && scouts.iter().any(|scout| !scout.over) {
        for scout in &mut scouts {
            scout.step(now());
        }
        wait(&scouts);
        for scout in &mut scouts {
            scout.listen(now());
        }
    }
    for scout in &mut scouts {
        scout.leave(now());
    }
    scouts.into_iter().map(|scout| scout.worker).collect()
}

impl<'a> Scout<'a> {
    fn new(socket: &'a UdpSocket, now: Time) -> Self {
        let config = Config {
            max_queued_blocks: 1,
            max_unacked_blocks: 64,
            max_window: 64,
            ..Config::default()
        };
        let mut id = [0; 4];
        // Without random bytes all have one id: each on its own port, they are still told apart.
        let _ = getrandom(&mut id, GetRandomFlags::empty());
        let id = u32::from_ne_bytes(id).max(1);
        Self {
            socket,
            session: Session::connect(config, id, now),
            worker: None,
            over: false,
        }
    }

    /// Sends what is due.
    fn step(&mut self, now: Time) {
        if self.over {
            return;
        }
        if self.session.poll_timeout().is_some_and(|due| due <= now) {
            self.session.handle_timeout(now);
        }
        self.send(now);
    }

    fn send(&mut self, now: Time) {
        while let Some(Transmit::Inline { header, payload }) =
            self.session.poll_transmit(now, |()| true)
        {
            // What is lost here is sent again, or was a farewell.
            let _ = self.socket.send(&[header.as_bytes(), payload].concat());
        }
    }

    /// Takes in what has come.
    fn listen(&mut self, now: Time) {
        let mut buffer = [0; 2048];
        while !self.over {
            let len = match recv(self.socket, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((len, _)) => len,
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => {
                    // The port is closed, say.
                    self.over = true;
                    return;
                }
            };
            let Ok(packet) = wire::open(&buffer[..len]) else {
                continue;
            };
            let _ = self.session.handle_packet(now, &packet, Ecn::default());
            if self.session.is_connected() {
                let worker = |id| ConnectionId::from_bits(id).worker();
                self.worker = self.session.peer_id().map(worker);
            }
            self.over = self.session.is_connected() || self.session.is_closed();
        }
    }

    /// Says goodbye, so that the server keeps nothing.
    fn leave(&mut self, now: Time) {
        self.session.close(CloseReason::Local(CloseCode::DONE));
        self.send(now);
    }
}

/// Waits a moment, or until something has come.
fn wait(scouts: &[Scout<'_>]) {
    let waiting = scouts.iter().filter(|scout| !scout.over);
    let mut watched: Vec<PollFd<'_>> = waiting
        .map(|scout| PollFd::from_borrowed_fd(scout.socket.as_fd(), PollFlags::IN))
        .collect();
    let tick = Timespec {
        tv_sec: 0,
        tv_nsec: TICK.as_nanos() as i64,
    };
    // An interrupted wait is as good as one that is over.
    let _ = poll(&mut watched, Some(&tick));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_there_is_no_worker() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(silent.local_addr().unwrap()).unwrap();
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap();
        // Its own address: what it sends comes back, and is no answer.
        closed.connect(closed.local_addr().unwrap()).unwrap();
        let reached = workers_reached(&[&socket, &closed], Duration::from_millis(50));
        assert_eq!(reached, [None, None]);
    }

    #[test]
    fn a_server_tells_its_worker() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server.local_addr().unwrap()).unwrap();
        let answering = std::thread::spawn(move || {
            let now = Time::from_nanos(1);
            let mut buffer = [0; 2048];
            let (len, from) = server.recv_from(&mut buffer).unwrap();
            let hello = wire::open(&buffer[..len]).unwrap();
            let id = ConnectionId::new(77, 5, 3).unwrap();
            let mut session =
                Session::<()>::accept(Config::default(), id.bits(), &hello, now).unwrap();
            let Some(Transmit::Inline { header, payload }) = session.poll_transmit(now, |()| true)
            else {
                panic!("no reply to a Hello");
            };
            let reply = [header.as_bytes(), payload].concat();
            server.send_to(&reply, from).unwrap();
            // The farewell.
            let (len, _) = server.recv_from(&mut buffer).unwrap();
            let packet = wire::open(&buffer[..len]).unwrap();
            session.handle_packet(now, &packet, Ecn::default()).unwrap();
            session.is_closed()
        });
        let reached = workers_reached(&[&socket], Duration::from_secs(20));
        assert_eq!(reached, [Some(5)]);
        assert!(answering.join().unwrap(), "the session was not closed");
    }
}
