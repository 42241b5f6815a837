use super::*;
use proptest::prelude::*;

/// Bytes of a sealed packet.
fn packet(kind: Kind, span: u16, payload: &[u8]) -> Vec<u8> {
    let mut header = Header::new(kind, 0x0403_0201);
    header.span = U16::new(span);
    header.packet_number = U64::new(7);
    header.transfer = U32::new(9);
    header.payload_len = U16::new(payload.len() as u16);
    header.block_number = U64::new(11);
    header.offset = U64::new(4096);
    seal(&mut header, payload_crc(payload));
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(usize::from(span), 0);
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn sealed_packets_open() {
    for (span, payload) in [
        (56, &b""[..]),
        (56, b"x"),
        (86, b"hello world"),
        (255, &[7; 3584]),
        (470, &[7; 3584]),
    ] {
        let bytes = packet(Kind::Data, span, payload);
        let packet = open(&bytes).unwrap();
        assert_eq!(packet.kind, Kind::Data);
        assert_eq!(packet.payload, payload);
        assert_eq!(packet.payload_crc, crc32fast::hash(payload));
        assert_eq!(packet.header.offset.get(), 4096);
        assert_eq!(packet.header.session.get(), 0x0403_0201);
    }
}

#[test]
fn the_crc_is_that_of_payload_and_header_in_one() {
    let bytes = packet(Kind::Data, 56, b"payload");
    let mut whole = b"payload".to_vec();
    whole.extend_from_slice(&bytes[..40]);
    whole.extend_from_slice(&[0; 16]);
    assert_eq!(open(&bytes).unwrap().header.crc(), crc32fast::hash(&whole));
}

#[test]
fn padding_is_ignored() {
    let mut bytes = packet(Kind::Data, 86, b"payload");
    bytes[56..86].fill(0xff);
    assert!(open(&bytes).is_ok());
}

#[test]
fn each_fault_has_its_error() {
    let good = packet(Kind::Data, 60, b"abc");
    let broken = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        open(&bytes).unwrap_err()
    };
    assert_eq!(
        open(&good[..55]).unwrap_err(),
        WireError::TooShort { len: 55 }
    );
    assert_eq!(
        broken(0, 9),
        WireError::UnsupportedVersion {
            version: 9,
            session: 0
        }
    );
    assert_eq!(broken(1, 0), WireError::UnknownKind(0));
    assert_eq!(broken(1, 11), WireError::UnknownKind(11));
    assert_eq!(broken(2, 4), WireError::UnknownFlags(4));
    assert_eq!(broken(22, 55), WireError::BadSpan(55));
    for kind in [
        Kind::Hello,
        Kind::Control,
        Kind::Ack,
        Kind::Close,
        Kind::Reset,
    ] {
        let padded = packet(kind, 60, b"abc");
        assert_eq!(
            open(&padded).unwrap_err(),
            WireError::BadSpan(60),
            "{kind:?}"
        );
    }
    assert!(open(&packet(Kind::Probe, 60, b"abc")).is_ok());
    assert_eq!(
        open(&good[..62]).unwrap_err(),
        WireError::BadLength {
            declared: 63,
            actual: 62
        }
    );
    assert_eq!(broken(55, 1), WireError::ReservedNotZero);
    assert!(matches!(broken(62, b'd'), WireError::BadChecksum { .. }));
    assert!(matches!(
        broken(2, FLAG_KEY_PHASE),
        WireError::BadChecksum { .. }
    ));
}

#[test]
fn hello_of_another_version_names_its_sender() {
    let mut bytes = packet(Kind::Hello, 56, &[0xaa; 64]);
    bytes[0] = 3;
    bytes[56..60].copy_from_slice(&77u32.to_le_bytes());
    assert_eq!(
        open(&bytes).unwrap_err(),
        WireError::UnsupportedVersion {
            version: 3,
            session: 77
        }
    );
    assert_eq!(
        open(&bytes[..71]).unwrap_err(),
        WireError::UnsupportedVersion {
            version: 3,
            session: 0
        },
        "an answer would be longer than the question"
    );
}

#[test]
fn a_refusal_is_readable_whatever_its_version() {
    let mut header = Header::new(Kind::Refuse, 5);
    header.payload_len = U16::new(16);
    header.version = 200;
    seal(&mut header, payload_crc(&[4; 16]));
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(&[4; 16]);
    assert_eq!(bytes.len(), REFUSE_LEN);
    assert_eq!((bytes[3], &bytes[22..24]), (56, &[0, 0][..]));
    assert_eq!(open(&bytes).unwrap().kind, Kind::Refuse);
    bytes[22] = 56;
    assert_eq!(open(&bytes).unwrap_err(), WireError::BadSpan(56));
}

proptest! {
    #[test]
    fn any_changed_byte_is_noticed(
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        span in 56u16..100,
        at in any::<prop::sample::Index>(),
        flip in 1u8..=255,
    ) {
        let mut bytes = packet(Kind::Data, span, &payload);
        let covered = HEADER_LEN + payload.len();
        let at = at.index(covered);
        // Skip the padding: it is not covered.
        let at = if at < HEADER_LEN { at } else { at - HEADER_LEN + usize::from(span) };
        bytes[at] ^= flip;
        prop_assert!(open(&bytes).is_err());
    }

    #[test]
    fn any_truncation_is_noticed(payload in proptest::collection::vec(any::<u8>(), 0..300), cut in 1usize..400) {
        let bytes = packet(Kind::Data, 86, &payload);
        prop_assert!(open(&bytes[..bytes.len().saturating_sub(cut)]).is_err());
    }

    #[test]
    fn random_bytes_are_refused_without_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), dress in any::<bool>()) {
        if dress && bytes.len() >= HEADER_LEN {
            // Get past the cheap checks, to the checksum.
            let len = bytes.len() - HEADER_LEN;
            bytes[..3].copy_from_slice(&[VERSION, 5, 0]);
            bytes[20..22].copy_from_slice(&(len as u16).to_le_bytes());
            bytes[22..24].copy_from_slice(&(HEADER_LEN as u16).to_le_bytes());
            bytes[44..56].fill(0);
        }
        prop_assert!(open(&bytes).is_err());
    }
}
