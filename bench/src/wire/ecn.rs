//! Explicit congestion notification in a frame's IP header (RFC 3168): the two low bits of the traffic class.

/// EtherTypes.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: [u16; 2] = [0x8100, 0x88a8];

/// The code point "congestion experienced", and the mask of all four.
const CE: u8 = 0b11;

/// Marks a frame whose sender understands ECN (ECT(0) or ECT(1)) as having met congestion, with the checksum of an IPv4
/// header put right. False when it was not: not IP, not ECN-capable. A frame that is marked already stays so: true.
pub fn mark(frame: &mut [u8]) -> bool {
    match ip_header(frame) {
        Some((IPV4, ip)) => mark_v4(ip),
        Some((_, ip)) => mark_v6(ip),
        None => false,
    }
}

/// Bytes of the IP packet in a frame, Ethernet header and VLAN tags not counted.
pub fn packet_len(frame: &[u8]) -> usize {
    frame.len() - network_start(frame).map_or(frame.len().min(14), |(_, start)| start)
}

/// EtherType and start of what the Ethernet header carries, behind any VLAN tags.
fn network_start(frame: &[u8]) -> Option<(u16, usize)> {
    let mut at = 12;
    loop {
        let field = frame.get(at..at + 2)?;
        let ether_type = u16::from_be_bytes([field[0], field[1]]);
        if !VLAN.contains(&ether_type) {
            return Some((ether_type, at + 2));
        }
        at += 4;
    }
}

fn ip_header(frame: &mut [u8]) -> Option<(u16, &mut [u8])> {
    let (ether_type, start) = network_start(frame)?;
    let shortest = match ether_type {
        IPV4 => 20,
        IPV6 => 40,
        _ => return None,
    };
    let ip = frame.get_mut(start..)?;
    let version = ip.first()? >> 4;
    let right = version == if ether_type == IPV4 { 4 } else { 6 };
    (right && ip.len() >= shortest).then_some((ether_type, ip))
}

fn mark_v4(ip: &mut [u8]) -> bool {
    if ip[1] & CE == 0 {
        return false;
    }
    let old = u16::from_be_bytes([ip[0], ip[1]]);
    ip[1] |= CE;
    let new = u16::from_be_bytes([ip[0], ip[1]]);
    // RFC 1624, equation 3: HC' = ~(~HC + ~m + m').
    let checksum = u16::from_be_bytes([ip[10], ip[11]]);
    let mut sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    ip[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    true
}

fn mark_v6(ip: &mut [u8]) -> bool {
    // Version (4 bits), traffic class (8), flow label (20): the class's low bits are bits 4 and 5 of the second byte.
    if (ip[1] >> 4) & CE == 0 {
        return false;
    }
    ip[1] |= CE << 4;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(header: &[u8]) -> u16 {
        let mut sum: u32 = header
            .chunks(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    fn v4(class: u8, id: u16, tags: usize) -> Vec<u8> {
        let mut frame = vec![0x02; 12];
        for _ in 0..tags {
            frame.extend([0x81, 0x00, 0x00, 0x05]);
        }
        frame.extend([0x08, 0x00]);
        let mut ip = vec![0x45, class, 0, 48, 0, 0, 0x40, 0, 64, 17, 0, 0];
        ip[4..6].copy_from_slice(&id.to_be_bytes());
        ip.extend([10, 77, 0, 2, 10, 77, 0, 1]);
        let checksum = !sum(&ip);
        ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        frame.extend(ip);
        frame.extend([7; 28]);
        frame
    }

    #[test]
    fn ipv4_is_marked_and_its_checksum_stays_right() {
        for id in (0..=u16::MAX).step_by(251) {
            for (class, tags) in [(0b01, 0), (0b10, 0), (0b1011_1010, 1), (0b11, 2)] {
                let mut frame = v4(class, id, tags);
                assert!(mark(&mut frame));
                let ip = &frame[14 + 4 * tags..][..20];
                assert_eq!(ip[1], class | 0b11);
                assert_eq!(sum(ip), 0xffff, "checksum, id {id}");
            }
        }
    }

    #[test]
    fn ipv6_is_marked() {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0x20]);
        frame.resize(14 + 60, 0);
        assert!(mark(&mut frame));
        assert_eq!(frame[14..16], [0x60, 0x30]);
    }

    #[test]
    fn others_are_left_alone() {
        let mut frames = vec![v4(0, 1, 0), v4(0b1010_1000, 1, 0), vec![], vec![1; 13]];
        frames.push(v4(0b10, 1, 0)[..20].to_vec());
        let mut arp = v4(0b10, 1, 0);
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        frames.push(arp);
        for mut frame in frames {
            let before = frame.clone();
            assert!(!mark(&mut frame), "{before:x?}");
            assert_eq!(frame, before);
        }
    }

    #[test]
    fn the_packet_is_what_follows_the_ethernet_header() {
        assert_eq!(packet_len(&v4(0, 1, 0)), 48);
        assert_eq!(packet_len(&v4(0, 1, 2)), 48);
        assert_eq!(packet_len(&[0; 9]), 0);
    }
}
