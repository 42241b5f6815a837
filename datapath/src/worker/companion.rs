//! The ordinary UDP socket behind a protocol port.
//!
//! It reserves the port, so that no other program of the host gets it while the XDP program takes its packets away;
//! and the kernel tells it what an AF_XDP socket never hears: that the other end's port is closed (ICMP).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use blk_proto::net::Path;
use rustix::net::sockopt::{set_ipv6_v6only, set_socket_recv_buffer_size, set_socket_reuseport};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

use crate::udp::{accept_zero_checksums, raise_receive_buffer};
use crate::umem::PACKET_MAX;

/// Why a port could not be reserved.
#[derive(Debug, thiserror::Error)]
pub enum CompanionError {
    /// The port is taken.
    #[error(
        "UDP port {0} is already in use on this host: stop the program that has it, or choose another with --port"
    )]
    InUse(u16),
    /// Anything else.
    #[error("cannot reserve UDP port {port}: {source}")]
    Io {
        /// The port asked for; 0 means any.
        port: u16,
        /// What the kernel said.
        source: io::Error,
    },
}

/// So long a port that is taken is asked for again, and so often.
const PORT_PATIENCE: Duration = Duration::from_secs(2);
const PORT_RETRY: Duration = Duration::from_millis(20);

/// Datagrams that are read at once: who sends more, by fragments or over another interface, does not keep the worker from the
/// rest.
const DATAGRAMS: usize = 64;

/// The reserved port.
#[derive(Debug)]
pub struct Companion {
    socket: UdpSocket,
    /// Has the port of a connected one on all other addresses.
    _everywhere: Option<UdpSocket>,
    port: u16,
    /// From the other end to here, when it is connected.
    path: Option<Path>,
}

/// What a companion still has to tell.
#[derive(Debug)]
pub(super) enum Heard {
    /// Nothing.
    Nothing,
    /// More datagrams.
    More,
    /// The kernel heard this about the port.
    Error(io::Error),
}

impl Companion {
    /// Reserves `port` on all addresses of the host.
    pub fn listen(port: u16) -> Result<Self, CompanionError> {
        let socket = bind_patiently(|| bind_everywhere(port))
            .map_err(|source| reservation_error(port, source))?;
        Self::new(socket, None, port)
    }

    /// Reserves a port, on all addresses of the host as well: the XDP program does not look at addresses. Of these `source` is
    /// connected to the other end, so that the kernel reports its closed port.
    pub fn connect(source: IpAddr, remote: SocketAddr) -> Result<Self, CompanionError> {
        let fail = |source| reservation_error(0, source);
        let everywhere = bind_everywhere(0).map_err(fail)?;
        let port = everywhere.local_addr().map_err(fail)?.port();
        // Nobody reads it: what is sent to other addresses shall not pile up. The kernel makes it the least there is.
        if let Err(error) = set_socket_recv_buffer_size(&everywhere, 0) {
            tracing::debug!(%error, "SO_RCVBUF not lowered");
        }
        let socket = shared(&everywhere, || bind_beside(source, port))
            .and_then(|opened| opened)
            .map_err(fail)?;
        socket.connect(remote).map_err(fail)?;
        Self::new(socket, Some(everywhere), port)
    }

    /// Lets `open` bind other sockets of this user to the port, of those with `SO_REUSEPORT`.
    pub(crate) fn share<T>(&self, open: impl FnOnce() -> T) -> io::Result<T> {
        shared(&self.socket, open)
    }

    fn new(
        socket: UdpSocket,
        everywhere: Option<UdpSocket>,
        port: u16,
    ) -> Result<Self, CompanionError> {
        let fail = |source| CompanionError::Io { port, source };
        socket.set_nonblocking(true).map_err(fail)?;
        let local = socket.local_addr().map_err(fail)?;
        if local.is_ipv6() {
            accept_zero_checksums(socket.as_fd()).map_err(fail)?;
        }
        let port = local.port();
        let path = socket.peer_addr().ok().map(|remote| {
            // What misses the AF_XDP socket comes here, a whole window of it when the receiver hash will have it so.
            raise_receive_buffer(&socket);
            Path::new([0; 6], [0; 6], remote, local)
        });
        Ok(Self {
            socket,
            _everywhere: everywhere,
            port,
            path,
        })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The socket that is connected to the other end, for what shall be asked before a worker has the port.
    pub fn connected(&self) -> Option<&UdpSocket> {
        self.path.is_some().then_some(&self.socket)
    }

    /// Reads some of what the socket has. Datagrams that got here came on another queue of the interface than its AF_XDP
    /// socket's, or before that was there: a receiver hash, or the sender's queue, decides that. Those of a connected socket
    /// go to `take`, as packets on this path; the others get here again by themselves. An error is what the kernel heard about
    /// the port, and comes before datagrams.
    pub(super) fn listen_in(&self, mut take: impl FnMut(&Path, &[u8])) -> Heard {
        let mut buffer = [0; PACKET_MAX];
        for _ in 0..DATAGRAMS {
            match self.socket.recv(&mut buffer) {
                Ok(len) => {
                    tracing::debug!(port = self.port, "a datagram missed the XDP program");
                    if let Some(path) = &self.path {
                        take(path, &buffer[..len]);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::Nothing,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Heard::Error(error),
            }
        }
        Heard::More
    }
}

impl AsRawFd for Companion {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Tries to take a port until it can be had, or has been in use for some time. Of a process that was killed a moment ago the
/// kernel closes the sockets that its io_uring polled later than the rest (`io_ring_exit_work` in io_uring/io_uring.c).
pub(crate) fn bind_patiently<T>(mut bind: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let started = Instant::now();
    loop {
        match bind() {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && started.elapsed() < PORT_PATIENCE =>
            {
                std::thread::sleep(PORT_RETRY);
            }
            outcome => return outcome,
        }
    }
}

/// Lets `open` bind sockets with `SO_REUSEPORT` to the port of this one, and nobody after that.
fn shared<T>(socket: &UdpSocket, open: impl FnOnce() -> T) -> io::Result<T> {
    set_socket_reuseport(socket, true)?;
    let opened = open();
    set_socket_reuseport(socket, false)?;
    Ok(opened)
}

/// A socket on `address` alone, where one of this process has the port on all.
fn bind_beside(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = open(address.is_ipv6())?;
    set_socket_reuseport(&socket, true)?;
    bind(&socket, &SocketAddr::new(address, port))?;
    set_socket_reuseport(&socket, false)?;
    Ok(socket)
}

/// A socket on all addresses of both families: an IPv6 socket takes IPv4 as well, where it is told so, whatever
/// net.ipv6.bindv6only says. A host without IPv6 gets one for IPv4.
fn bind_everywhere(port: u16) -> io::Result<UdpSocket> {
    let both = || {
        let socket = open(true)?;
        set_ipv6_v6only(&socket, false)?;
        let any = Ipv6Addr::UNSPECIFIED;
        bind(&socket, &SocketAddr::new(any.into(), port))?;
        Ok(socket)
    };
    match both() {
        Err(error) if is_without_ipv6(&error) => {
            let socket = open(false)?;
            let any = Ipv4Addr::UNSPECIFIED;
            bind(&socket, &SocketAddr::new(any.into(), port))?;
            Ok(socket)
        }
        outcome => outcome,
    }
}

/// Whether the kernel has no IPv6 (`EAFNOSUPPORT`), or it is switched off.
fn is_without_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

fn open(ipv6: bool) -> io::Result<UdpSocket> {
    let family = match ipv6 {
        true => AddressFamily::INET6,
        false => AddressFamily::INET,
    };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(socket.into())
}

fn reservation_error(port: u16, source: io::Error) -> CompanionError {
    if source.kind() == io::ErrorKind::AddrInUse {
        CompanionError::InUse(port)
    } else {
        CompanionError::Io { port, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::udp::tests::{send_without_checksum, sender_without_checksums};
    use rustix::net::sockopt::socket_recv_buffer_size;

    #[test]
    fn a_port_is_reserved_once() {
        let first = Companion::listen(0).unwrap();
        let second = Companion::listen(first.port());
        assert!(matches!(second, Err(CompanionError::InUse(port)) if port == first.port()));
    }

    /// Whether somebody gets this port on an address, with and without asking to share it.
    fn can_be_had(address: &str, port: u16) -> bool {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        [false, true].into_iter().any(|share| {
            let socket = open(address.is_ipv6()).unwrap();
            set_socket_reuseport(&socket, share).unwrap();
            match bind(&socket, &address) {
                Ok(()) => true,
                Err(rustix::io::Errno::ADDRINUSE) => false,
                Err(error) => panic!("{address}: {error}"),
            }
        })
    }

    #[test]
    fn a_port_is_reserved_on_all_addresses_of_both_families() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let remote = server.local_addr().unwrap();
        let kinds: [&dyn Fn() -> Companion; 2] = [&|| Companion::listen(0).unwrap(), &|| {
            Companion::connect(remote.ip(), remote).unwrap()
        }];
        let addresses = ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::"];
        for reserve in kinds {
            let companion = reserve();
            for address in addresses {
                assert!(!can_be_had(address, companion.port()), "{address}");
            }
            drop(companion);
            // What was given back, a test beside this one may get at once, but hardly each time.
            let is_given_back = || {
                let port = reserve().port();
                addresses.iter().all(|address| can_be_had(address, port))
            };
            assert!((0..20).any(|_| is_given_back()));
        }
    }

    #[test]
    fn only_a_host_without_ipv6_does_without() {
        let error = io::Error::from_raw_os_error;
        assert!(is_without_ipv6(&error(libc::EAFNOSUPPORT)));
        assert!(is_without_ipv6(&error(libc::EADDRNOTAVAIL)));
        for other in [libc::EADDRINUSE, libc::EACCES, libc::EMFILE] {
            assert!(!is_without_ipv6(&error(other)));
        }
    }

    #[test]
    fn an_ipv6_socket_in_the_way_is_not_passed_by() {
        let taken = open(true).unwrap();
        set_ipv6_v6only(&taken, true).unwrap();
        bind(&taken, &SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        // IPv4 alone could be had.
        let reserved = Companion::listen(port);
        assert!(matches!(reserved, Err(CompanionError::InUse(in_use)) if in_use == port));
    }

    #[test]
    fn a_port_that_is_given_back_in_a_moment_is_waited_for() {
        let first = UdpSocket::bind("[::]:0").or_else(|_| UdpSocket::bind("0.0.0.0:0"));
        let first = first.unwrap();
        let port = first.local_addr().unwrap().port();
        let leaving = std::thread::spawn(move || {
            std::thread::sleep(5 * PORT_RETRY);
            drop(first);
        });
        assert_eq!(Companion::listen(port).unwrap().port(), port);
        leaving.join().unwrap();
    }

    #[test]
    fn a_flood_is_read_in_portions() {
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let remote = sender.local_addr().unwrap();
        let companion = Companion::connect(remote.ip(), remote).unwrap();
        let address = companion.socket.local_addr().unwrap();
        for _ in 0..=DATAGRAMS {
            sender.send_to(b"noise", address).unwrap();
        }
        let mut taken = 0;
        let heard = companion.listen_in(|_, datagram| taken += datagram.len());
        assert!(matches!(heard, Heard::More), "{heard:?}");
        assert_eq!(taken, 5 * DATAGRAMS);
        assert_eq!(companion.socket.recv(&mut [0; 64]).unwrap(), 5);
        let rest = companion.socket.recv(&mut [0; 64]);
        assert_eq!(rest.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn datagrams_of_the_other_end_are_handed_on() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let remote = server.local_addr().unwrap();
        let companion = Companion::connect(remote.ip(), remote).unwrap();
        let local = SocketAddr::new(remote.ip(), companion.port());
        for number in 0..DATAGRAMS as u8 + 3 {
            server.send_to(&[number; 5], local).unwrap();
        }
        let mut came = Vec::new();
        let mut listen = || {
            companion.listen_in(|path, payload| {
                assert_eq!((path.source, path.destination), (remote, local));
                came.push(payload[0]);
            })
        };
        assert!(matches!(listen(), Heard::More));
        assert!(matches!(listen(), Heard::Nothing));
        assert!(came.into_iter().eq(0..DATAGRAMS as u8 + 3));
    }

    #[test]
    fn blocks_of_af_xdp_over_ipv6_are_handed_on() {
        let sender = sender_without_checksums();
        let remote = sender.local_addr().unwrap();
        let companion = Companion::connect(remote.ip(), remote).unwrap();
        let local = SocketAddr::new(remote.ip(), companion.port());
        send_without_checksum(&sender, b"block", local);
        let mut came = Vec::new();
        companion.listen_in(|_, payload| came.extend_from_slice(payload));
        assert_eq!(came, b"block");
    }

    #[test]
    fn a_window_of_packets_has_room() {
        const BYTES: usize = 512 << 10;
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let remote = sender.local_addr().unwrap();
        let companion = Companion::connect(remote.ip(), remote).unwrap();
        let ordinary = socket_recv_buffer_size(&sender).unwrap();
        let raised = socket_recv_buffer_size(&companion.socket).unwrap();
        if rustix::process::geteuid().is_root() {
            assert!(raised > BYTES, "{raised}");
        }
        assert!(raised >= ordinary, "{raised} {ordinary}");
    }

    #[test]
    fn a_closed_port_is_heard_of() {
        let closed = {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.local_addr().unwrap()
        };
        let companion = Companion::connect(closed.ip(), closed).unwrap();
        companion.socket.send(b"anyone?").unwrap();
        let mut heard = None;
        for _ in 0..200 {
            if let Heard::Error(error) = companion.listen_in(|_, _| ()) {
                heard = Some(error);
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(
            heard.map(|error| error.kind()),
            Some(io::ErrorKind::ConnectionRefused)
        );
    }
}
