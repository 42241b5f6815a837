//! Payloads land on their place in the receiver's frame, whatever VLAN tags switches put in and take out on the way.

use blk_proto::geometry::{announced_offset, l4_overhead};
use blk_proto::net::{Ecn, Path, VlanTag, Vlans, parse};
use blk_proto::session::{BlockMeta, Config, Parameters, Session};
use blk_proto::time::Time;
use blk_proto::wire::{self, Kind, PAYLOAD_OFFSET};
use proptest::prelude::*;
use zerocopy::IntoBytes;

const T0: Time = Time::from_nanos(1_000_000_000);

/// So many tags.
fn tagged(count: u16) -> Vlans {
    match count {
        0 => [None, None],
        1 => [Some(VlanTag::customer(7)), None],
        _ => [Some(VlanTag::service(100)), Some(VlanTag::customer(7))],
    }
}

/// One end: its session, and its packets as it sends them.
struct End {
    session: Session<Vec<u8>>,
    path: Path,
}

/// A session's configuration on a path whose packets arrive with its tags.
fn config(path: &Path) -> Config {
    let local = Parameters {
        payload_offset: announced_offset(PAYLOAD_OFFSET as u16, path.tags()),
        initial_credit: 10,
        ..Parameters::default()
    };
    Config {
        local,
        l4_overhead: l4_overhead(path.destination.is_ipv6()),
        ..Config::default()
    }
}

impl End {
    /// The next packet as a frame, as it is on this end's link.
    fn next(&mut self) -> Option<Vec<u8>> {
        use blk_proto::session::Transmit;
        let transmit = self.session.poll_transmit(T0, |_| true)?;
        let header = transmit.header();
        let mut bytes = header.as_bytes().to_vec();
        bytes.resize(usize::from(header.span.get()), 0);
        bytes.extend_from_slice(match &transmit {
            Transmit::Inline { payload, .. } => payload,
            Transmit::Block { block, .. } => block,
        });
        let mut frame = vec![0; self.path.header_len()];
        self.path.write_headers(&mut frame, bytes.len()).unwrap();
        frame.extend_from_slice(&bytes);
        Some(frame)
    }

    /// Takes a frame as it arrives. Where the payload lies in it, for a block or a probe.
    fn take(&mut self, frame: &[u8]) -> Option<usize> {
        let udp = parse(frame).unwrap();
        let packet = wire::open(udp.payload).unwrap();
        let at = udp.payload_offset + usize::from(packet.header.span.get());
        self.session
            .handle_packet(T0, &packet, Ecn::Capable0)
            .unwrap();
        matches!(packet.kind, Kind::Data | Kind::Probe).then_some(at)
    }
}

/// The frame with the tags that it has at the other end of the switch.
fn switched(frame: &[u8], vlans: Vlans) -> Vec<u8> {
    let udp = parse(frame).unwrap();
    let path = Path {
        source_mac: udp.source_mac,
        destination_mac: udp.destination_mac,
        vlans,
        source: udp.source,
        destination: udp.destination,
    };
    let mut out = vec![0; path.header_len()];
    path.write_headers(&mut out, udp.payload.len()).unwrap();
    out.extend_from_slice(udp.payload);
    out
}

/// Where blocks and probes of both directions land when the client's link has so many tags, and the server's so many.
fn landings(here: u16, there: u16, addresses: [&str; 2]) -> Vec<usize> {
    let [client, server] = addresses.map(|address| address.parse().unwrap());
    let path = Path {
        vlans: tagged(here),
        ..Path::new([2; 6], [4; 6], client, server)
    };
    let mut client = End {
        session: Session::connect(config(&path), 0x1122_3344, T0),
        path,
    };
    let hello = switched(&client.next().unwrap(), tagged(there));
    let udp = parse(&hello).unwrap();
    let path = Path::reply_to(&udp);
    let packet = wire::open(udp.payload).unwrap();
    let mut server = End {
        session: Session::accept(config(&path), 0x5566_7788, &packet, T0).unwrap(),
        path,
    };
    let reply = switched(&server.next().unwrap(), tagged(here));
    client.take(&reply);
    let mut landings = Vec::new();
    // The server sends blocks when the client has shown that it knows the session.
    let first = client.next().unwrap();
    landings.extend(server.take(&switched(&first, tagged(there))));
    for end in [&mut client, &mut server] {
        let payload = vec![7; 512];
        let meta = BlockMeta {
            transfer: 1,
            offset: 0,
            len: 512,
            crc: wire::payload_crc(&payload),
        };
        end.session.queue_block(meta, payload).unwrap();
    }
    for _ in 0..20 {
        if let Some(frame) = client.next() {
            landings.extend(server.take(&switched(&frame, tagged(there))));
        }
        if let Some(frame) = server.next() {
            landings.extend(client.take(&switched(&frame, tagged(here))));
        }
    }
    landings
}

proptest! {
    #[test]
    fn payloads_land_where_the_disk_takes_them(here in 0u16..=2, there in 0u16..=2, ipv6: bool) {
        let addresses = if ipv6 {
            ["[fd00:77::1]:40000", "[fd00:77::2]:9000"]
        } else {
            ["10.77.0.1:40000", "10.77.0.2:9000"]
        };
        let landings = landings(here, there, addresses);
        // A block and a probe each way.
        prop_assert!(landings.len() >= 4, "{landings:?}");
        prop_assert!(landings.iter().all(|&at| at == PAYLOAD_OFFSET), "{landings:?}");
    }
}
