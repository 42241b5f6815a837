//! The sockets of a port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::net::sockopt::{
    set_ipv6_v6only, set_socket_recv_buffer_size, set_socket_recv_buffer_size_force,
    set_socket_reuseport, set_socket_send_buffer_size, set_socket_send_buffer_size_force,
    socket_recv_buffer_size, socket_send_buffer_size,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

use super::error::UdpError;
use super::gate::Gate;
use super::sys;
use crate::worker::{Companion, bind_patiently};

/// Bytes of data that may wait in the receive buffer, as far as the kernel allows: it must take the windows of all sessions
/// while the worker is busy elsewhere. It doubles the value, for its own structures.
const RECEIVE_BUFFER: usize = 64 << 20;
/// The same for sending: some messages.
const SEND_BUFFER: usize = 8 << 20;

/// ECT(0) in an IP header, as the headers of AF_XDP packets have it.
const ECT_0: i32 = 2;

/// The sockets through which one worker sends and receives: one that is connected, or one for each family.
#[derive(Debug)]
pub struct UdpPort {
    pub(super) sockets: Vec<Socket>,
    pub(super) gate: Option<Arc<Gate>>,
    port: u16,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) socket: UdpSocket,
    pub(super) ipv6: bool,
    /// Local and remote address of a connected one.
    pub(super) connected: Option<(SocketAddr, SocketAddr)>,
    /// Buffers as the kernel counts them.
    pub(super) receive_buffer: usize,
    pub(super) send_buffer: usize,
}

impl UdpPort {
    /// `count` ports with the same number, on all addresses of the host, for packets that come by the interface of this
    /// index; `None`: by any. The kernel keeps each flow on one of them, as long as all of them are there (`SO_REUSEPORT`).
    ///
    /// # Errors
    /// Somebody has the port, or the kernel lacks something.
    pub fn listen(port: u16, interface: Option<u32>, count: usize) -> Result<Vec<Self>, UdpError> {
        // Another program of this user could join the group, or have one; a plain socket shows that. Not kept: it would take
        // packets.
        let (port, families) = bind_patiently(|| free_families(port, interface))
            .map_err(|source| bind_error(port, source))?;
        (0..count.max(1))
            .map(|_| {
                let sockets = families
                    .iter()
                    .map(|&ipv6| Socket::listen(ipv6, port, interface))
                    .collect::<Result<_, _>>()?;
                Ok(Self {
                    sockets,
                    gate: None,
                    port,
                })
            })
            .collect()
    }

    /// A port beside the companion of AF_XDP sockets, which goes on reserving it: for the packets that come by the interface of this
    /// index and reach none of these sockets. The kernel prefers sockets that are bound to the interface.
    ///
    /// # Errors
    /// The kernel lacks something.
    pub fn beside(companion: &Companion, interface: u32) -> Result<Self, UdpError> {
        let port = companion.port();
        let opened = companion.share(|| {
            let sockets = [true, false].map(|ipv6| Socket::listen(ipv6, port, Some(interface)));
            match sockets {
                [Ok(v6), Ok(v4)] => Ok(vec![v6, v4]),
                // A kernel without IPv6.
                [_, Ok(v4)] => Ok(vec![v4]),
                [_, Err(error)] => Err(error),
            }
        });
        let sockets = opened.map_err(|source| UdpError::Open { source })??;
        Ok(Self {
            sockets,
            gate: None,
            port,
        })
    }

    /// A port of its own, connected to the other end: the kernel picks source address and port.
    ///
    /// # Errors
    /// There is no way to that address, or the kernel lacks something.
    pub fn connect(remote: SocketAddr) -> Result<Self, UdpError> {
        let any = any(remote.is_ipv6());
        let open = |source| UdpError::Open { source };
        let socket = UdpSocket::bind((any, 0)).map_err(open)?;
        socket.connect(remote).map_err(open)?;
        let local = socket.local_addr().map_err(open)?;
        let socket = Socket::new(socket, remote.is_ipv6(), Some((local, remote)))?;
        Ok(Self {
            sockets: vec![socket],
            gate: None,
            port: local.port(),
        })
    }

    /// The same port, where only what `gate` lets through is received.
    #[must_use]
    pub fn guarded_by(mut self, gate: Arc<Gate>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The socket of a connected port, for who sends by it before a worker does.
    pub fn connected(&self) -> Option<&UdpSocket> {
        let socket = self.sockets.first()?;
        socket.connected.map(|_| &socket.socket)
    }

    /// This end's address, where there is one.
    pub fn local(&self) -> Option<SocketAddr> {
        self.sockets.first()?.connected.map(|(local, _)| local)
    }
}

impl Socket {
    fn listen(ipv6: bool, port: u16, interface: Option<u32>) -> Result<Self, UdpError> {
        let socket = open(ipv6, interface, true).map_err(|source| UdpError::Open { source })?;
        bind(&socket, &SocketAddr::new(any(ipv6), port))
            .map_err(|error| bind_error(port, error.into()))?;
        Self::new(socket, ipv6, None)
    }

    fn new(
        socket: UdpSocket,
        ipv6: bool,
        connected: Option<(SocketAddr, SocketAddr)>,
    ) -> Result<Self, UdpError> {
        for &(option, level, name, value) in options(ipv6) {
            sys::set_option(socket.as_fd(), level, name, value)
                .map_err(|source| UdpError::Option { option, source })?;
        }
        if ipv6 {
            accept_zero_checksums(socket.as_fd()).map_err(|source| UdpError::Option {
                option: "UDP_NO_CHECK6_RX",
                source,
            })?;
        }
        let fd = &socket;
        raise_receive_buffer(fd);
        if let Err(error) = set_socket_send_buffer_size_force(fd, SEND_BUFFER)
            .or_else(|_| set_socket_send_buffer_size(fd, SEND_BUFFER))
        {
            tracing::debug!(%error, "SO_SNDBUF not raised");
        }
        Ok(Self {
            receive_buffer: socket_recv_buffer_size(fd).unwrap_or(0),
            send_buffer: socket_send_buffer_size(fd).unwrap_or(0),
            socket,
            ipv6,
            connected,
        })
    }
}

/// Has an IPv6 socket take datagrams without a UDP checksum, as AF_XDP senders leave that of blocks: it drops them unless it is
/// told (RFC 6935, section 5; udp(7), `UDP_NO_CHECK6_RX`).
pub(crate) fn accept_zero_checksums(socket: BorrowedFd<'_>) -> io::Result<()> {
    sys::set_option(socket, libc::SOL_UDP, libc::UDP_NO_CHECK6_RX, 1)
}

/// Raises the receive buffer as far as the kernel allows.
pub(crate) fn raise_receive_buffer(socket: &UdpSocket) {
    if let Err(error) = set_socket_recv_buffer_size_force(socket, RECEIVE_BUFFER)
        .or_else(|_| set_socket_recv_buffer_size(socket, RECEIVE_BUFFER))
    {
        tracing::debug!(%error, "SO_RCVBUF not raised");
    }
}

/// Every address.
fn any(ipv6: bool) -> IpAddr {
    if ipv6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    }
}

/// The families that this host has, each with `port` free; `port` 0: one that is.
fn free_families(port: u16, interface: Option<u32>) -> io::Result<(u16, Vec<bool>)> {
    let mut port = port;
    let (mut families, mut probes) = (Vec::new(), Vec::new());
    for ipv6 in [false, true] {
        let probe = match open(ipv6, interface, false) {
            Ok(probe) => probe,
            // A host without this family.
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => continue,
            Err(error) => return Err(error),
        };
        match bind(&probe, &SocketAddr::new(any(ipv6), port)) {
            Ok(()) => {}
            Err(rustix::io::Errno::ADDRNOTAVAIL) => continue,
            Err(error) => return Err(error.into()),
        }
        port = probe.local_addr()?.port();
        families.push(ipv6);
        probes.push(probe);
    }
    Ok((port, families))
}

/// A socket of one family alone.
fn open(ipv6: bool, interface: Option<u32>, shared: bool) -> io::Result<UdpSocket> {
    let family = if ipv6 {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let socket = socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    if ipv6 {
        set_ipv6_v6only(&socket, true)?;
    }
    if let Some(index) = interface {
        // Somebody without privileges may bind a socket that was not bound to another before (Linux 5.7).
        let fd = socket.as_fd();
        sys::set_option(fd, libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, index as i32)?;
    }
    if shared {
        set_socket_reuseport(&socket, true)?;
    }
    Ok(socket.into())
}

fn bind_error(port: u16, source: io::Error) -> UdpError {
    if source.kind() == io::ErrorKind::AddrInUse {
        UdpError::InUse(port)
    } else {
        UdpError::Open { source }
    }
}

type SocketOption = (&'static str, i32, i32, i32);

/// What a socket of the link needs. "Don't fragment" as in the headers of AF_XDP packets, whatever the kernel believes of
/// the path: the session finds out itself what gets through.
fn options(ipv6: bool) -> &'static [SocketOption] {
    const UDP_GRO: SocketOption = ("UDP_GRO", libc::SOL_UDP, libc::UDP_GRO, 1);
    if ipv6 {
        &[
            UDP_GRO,
            (
                "IPV6_RECVPKTINFO",
                libc::IPPROTO_IPV6,
                libc::IPV6_RECVPKTINFO,
                1,
            ),
            (
                "IPV6_RECVTCLASS",
                libc::IPPROTO_IPV6,
                libc::IPV6_RECVTCLASS,
                1,
            ),
            ("IPV6_TCLASS", libc::IPPROTO_IPV6, libc::IPV6_TCLASS, ECT_0),
            (
                "IPV6_MTU_DISCOVER",
                libc::IPPROTO_IPV6,
                libc::IPV6_MTU_DISCOVER,
                libc::IPV6_PMTUDISC_PROBE,
            ),
            ("IPV6_DONTFRAG", libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1),
        ]
    } else {
        &[
            UDP_GRO,
            ("IP_PKTINFO", libc::IPPROTO_IP, libc::IP_PKTINFO, 1),
            ("IP_RECVTOS", libc::IPPROTO_IP, libc::IP_RECVTOS, 1),
            ("IP_TOS", libc::IPPROTO_IP, libc::IP_TOS, ECT_0),
            (
                "IP_MTU_DISCOVER",
                libc::IPPROTO_IP,
                libc::IP_MTU_DISCOVER,
                libc::IP_PMTUDISC_PROBE,
            ),
        ]
    }
}
