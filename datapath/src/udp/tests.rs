use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use super::{UdpPort, sys};

/// A socket from `::1` whose datagrams have no UDP checksum, as blocks from AF_XDP have none.
pub(crate) fn sender_without_checksums() -> UdpSocket {
    let socket = UdpSocket::bind("[::1]:0").expect("this host has IPv6");
    sys::set_option(socket.as_fd(), libc::SOL_UDP, libc::UDP_NO_CHECK6_TX, 1).unwrap();
    socket
}

/// Sends a datagram without a checksum to `remote`, after one to a plain socket, which must not get it.
pub(crate) fn send_without_checksum(sender: &UdpSocket, payload: &[u8], remote: SocketAddr) {
    let strict = UdpSocket::bind("[::1]:0").unwrap();
    strict.set_nonblocking(true).unwrap();
    sender
        .send_to(payload, strict.local_addr().unwrap())
        .unwrap();
    sender.send_to(payload, remote).unwrap();
    let refused = strict.recv(&mut [0; 8]).map_err(|error| error.kind());
    assert_eq!(refused, Err(io::ErrorKind::WouldBlock), "it has a checksum");
}

#[test]
fn ipv6_datagrams_without_checksum_are_received() {
    let sender = sender_without_checksums();
    let ports = [
        UdpPort::connect(sender.local_addr().unwrap()).unwrap(),
        UdpPort::listen(0, None, 1).unwrap().remove(0),
    ];
    for port in ports {
        let socket = port.sockets.iter().find(|socket| socket.ipv6).unwrap();
        let remote = SocketAddr::new("::1".parse().unwrap(), port.port());
        send_without_checksum(&sender, b"block", remote);
        let mut buffer = [0; 8];
        assert_eq!(socket.socket.recv(&mut buffer).unwrap(), 5);
        assert_eq!(buffer[..5], *b"block");
    }
}
