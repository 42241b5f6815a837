//! Tells by which queue of an interface packets came in that the kernel took: a UDP socket does not.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use blk_proto::net::parse;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};

use super::Interface;
use super::ethtool::driver;

/// `ETH_P_ALL` of include/uapi/linux/if_ether.h.
const ALL_PROTOCOLS: u16 = 3;
/// `PACKET_HOST` of include/uapi/linux/if_packet.h: to this host, not one that it sends.
const TO_THIS_HOST: u32 = 0;
/// Longer packets are not looked at: a tap is there for answers to handshakes.
const LENGTH_MAX: u32 = 512;

/// A packet socket that gets a copy of the short UDP packets that come in by one queue of an interface.
#[derive(Debug)]
pub struct QueueTap {
    socket: OwnedFd,
}

impl QueueTap {
    /// Begins to listen to a queue of an interface. Takes CAP_NET_RAW.
    pub fn open(interface: &Interface, queue: u32) -> io::Result<Self> {
        let veth = driver(&interface.name).is_some_and(|driver| driver.name == "veth");
        Self::open_numbered(interface.index, queue_mapping(queue, veth))
    }

    fn open_numbered(interface: u32, mapping: u32) -> io::Result<Self> {
        let protocol = u32::from(ALL_PROTOCOLS.to_be());
        let socket = socket_with(
            AddressFamily::PACKET,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            std::num::NonZeroU32::new(protocol).map(Protocol::from_raw),
        )?;
        attach(&socket, &filter(interface, mapping))?;
        let tap = Self { socket };
        // What came before the filter.
        tap.udp_ports();
        Ok(tap)
    }

    /// The destination ports of the UDP packets that have come by the queue since the last call.
    pub fn udp_ports(&self) -> Vec<u16> {
        let mut ports = Vec::new();
        let mut buffer = [0; LENGTH_MAX as usize];
        loop {
            match recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((len, _)) => {
                    let packet = parse(&buffer[..len]);
                    ports.extend(packet.map(|packet| packet.destination.port()));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return ports,
            }
        }
    }
}

/// An instruction of classic BPF (include/uapi/linux/filter.h).
fn instruction(code: u32, jump_true: u8, jump_false: u8, operand: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: jump_true,
        jf: jump_false,
        k: operand,
    }
}

/// How a packet says that it came by a queue, its `queue_mapping`: skb_record_rx_queue() in include/linux/skbuff.h counts from 1.
/// veth has not called that since Linux 5.18, and leaves what the sender chose the same queue by, counted from 0.
fn queue_mapping(queue: u32, veth: bool) -> u32 {
    queue.saturating_add(u32::from(!veth))
}

/// Lets in whole what is UDP without extension headers, short, for this host, and came by a queue.
fn filter(interface: u32, queue_mapping: u32) -> [libc::sock_filter; 17] {
    const REFUSE: usize = 16;
    const IPV4: u32 = libc::ETH_P_IP as u32;
    const IPV6: u32 = libc::ETH_P_IPV6 as u32;
    let load = |field: i32| {
        let operand = (libc::SKF_AD_OFF + field) as u32;
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, operand)
    };
    let load_ip_byte = |at: i32| {
        let operand = (libc::SKF_NET_OFF + at) as u32;
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, operand)
    };
    let skip_unless = |value: u32, skipped: u8| {
        let code = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        instruction(code, 0, skipped, value)
    };
    let refuse_unless = |at: usize, value: u32| skip_unless(value, (REFUSE - at - 1) as u8);
    let give = |len: u32| instruction(libc::BPF_RET | libc::BPF_K, 0, 0, len);
    [
        load(libc::SKF_AD_IFINDEX),
        refuse_unless(1, interface),
        load(libc::SKF_AD_QUEUE),
        refuse_unless(3, queue_mapping),
        load(libc::SKF_AD_PKTTYPE),
        refuse_unless(5, TO_THIS_HOST),
        load(libc::SKF_AD_PROTOCOL),
        skip_unless(IPV4, 2),
        // The protocol of an IPv4 header (RFC 791), the next header of an IPv6 one (RFC 8200).
        load_ip_byte(9),
        instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0, 2),
        refuse_unless(10, IPV6),
        load_ip_byte(6),
        refuse_unless(12, libc::IPPROTO_UDP as u32),
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0, 0, 0),
        instruction(
            libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K,
            1,
            0,
            LENGTH_MAX,
        ),
        give(LENGTH_MAX),
        give(0),
    ]
}

/// Has the kernel run a filter on what comes to a socket (`SO_ATTACH_FILTER`, socket(7)).
fn attach(socket: &impl AsFd, filter: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        // The kernel only reads it.
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel reads one `sock_fprog`, and by it `len` instructions of `filter`, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn packets_of_a_queue_are_told_from_others() {
        // The loopback does not say by which queue packets come, which is 0.
        let lo = Interface::by_name("lo").unwrap().index;
        let taps = match (
            QueueTap::open_numbered(lo, 0),
            QueueTap::open_numbered(lo, 1),
        ) {
            (Ok(none), Ok(first)) => [none, first],
            (Err(error), _) | (_, Err(error)) => {
                assert!(!rustix::process::geteuid().is_root(), "{error}");
                return eprintln!("SKIPPED: packets_of_a_queue_are_told_from_others: {error}");
            }
        };
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let receiver = UdpSocket::bind(address).unwrap();
            let sender = UdpSocket::bind(address).unwrap();
            let there = receiver.local_addr().unwrap();
            sender.send_to(&[0; LENGTH_MAX as usize], there).unwrap();
            sender.send_to(b"short", there).unwrap();
            receiver.recv(&mut [0; 1024]).unwrap();
            receiver.recv(&mut [0; 1024]).unwrap();
            let came = |tap: &QueueTap| {
                let ports = tap.udp_ports();
                ports.iter().filter(|&&port| port == there.port()).count()
            };
            let came = taps.each_ref().map(came);
            assert_eq!(came, [1, 0], "the short one, once: {address}");
        }
    }

    #[test]
    fn queues_are_counted_from_one_but_on_veth() {
        assert_eq!(queue_mapping(3, false), 4);
        assert_eq!(queue_mapping(3, true), 3);
    }
}
