//! A peer that seals whatever it likes.

use super::*;
use proptest::prelude::*;

/// Numbers near the edges, where arithmetic goes wrong.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..80,
        Just(MAX_PACKET_NUMBER),
        Just(MAX_PACKET_NUMBER + 1),
        Just(i64::MAX as u64),
        Just(u64::MAX),
        Just(u64::from(u32::MAX)),
        Just((1 << 20) - 1),
        any::<u64>(),
    ]
}

fn ack_payload() -> impl Strategy<Value = Vec<u8>> {
    let ranges = proptest::collection::vec((0u32..4, 0u32..70), 0..6);
    (number(), number(), any::<u32>(), ranges).prop_map(|(largest, credit, delay, ranges)| {
        let mut payload = largest.to_le_bytes().to_vec();
        payload.extend(credit.to_le_bytes());
        payload.extend(delay.to_le_bytes());
        payload.extend((ranges.len() as u32).to_le_bytes());
        for (gap, len) in ranges {
            payload.extend(gap.to_le_bytes());
            payload.extend(len.to_le_bytes());
        }
        payload
    })
}

/// Of a Retry, and of a Reset, for the sessions here or not.
fn answer_payload() -> impl Strategy<Value = Vec<u8>> {
    let id = prop_oneof![Just(11u32), Just(22u32), any::<u32>()];
    let cookie = proptest::collection::vec(any::<u8>(), 0..200);
    (id, 0u32..12, number(), cookie).prop_map(|(id, kind, number, cookie)| {
        let mut payload = id.to_le_bytes().to_vec();
        payload.extend(kind.to_le_bytes());
        payload.extend(number.to_le_bytes());
        if kind % 2 == 0 {
            payload.extend(cookie);
        }
        payload
    })
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        ack_payload(),
        answer_payload(),
        proptest::collection::vec(any::<u8>(), 0..140),
        proptest::collection::vec(0u8..2, 0..140),
    ]
}

fn packet() -> impl Strategy<Value = (u8, [u64; 3], u32, Vec<u8>)> {
    let numbers = [number(), number(), number()];
    (1u8..=10, numbers, any::<u32>(), payload())
}

fn sealed(to: u32, kind: u8, numbers: [u64; 3], transfer: u32, payload: &[u8]) -> Vec<u8> {
    let kind = Kind::from_byte(kind).unwrap();
    let is_addressed = !matches!(kind, Kind::Hello | Kind::Reset);
    let mut header = Header::new(kind, if is_addressed { to } else { 0 });
    header.packet_number = U64::new(numbers[0]);
    header.block_number = U64::new(numbers[1]);
    header.offset = U64::new(numbers[2]);
    header.transfer = U32::new(transfer);
    header.payload_len = U16::new(payload.len() as u16);
    wire::seal(&mut header, wire::payload_crc(payload));
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn nothing_that_a_peer_seals_breaks_a_session(
        packets in proptest::collection::vec(packet(), 1..60),
        stage in 0u8..3,
    ) {
        let mut pair = Pair::new(config(16), config(16));
        let mut greeting = Side::new(Session::connect(config(16), 22, T0));
        let mut accepted = {
            let mut client = Side::new(Session::connect(config(16), 11, T0));
            let hello = client.send(T0).unwrap();
            Side::new(Session::accept(config(16), 22, &wire::open(&hello).unwrap(), T0).unwrap())
        };
        let victim = match stage {
            0 => &mut pair.server,
            1 => &mut greeting,
            _ => &mut accepted,
        };
        let (mut now, mut given) = (pair.now, 0);
        for (kind, numbers, transfer, payload) in packets {
            while victim.session.is_connected() && given < 40 {
                victim.put(1, given);
                given += 1;
            }
            let bytes = sealed(22, kind, numbers, transfer, &payload);
            let open = !victim.session.is_closed();
            let result = victim.take(now, &bytes);
            prop_assert!(result.is_ok() || (open && victim.session.is_closed()));
            victim.send_all(now);
            now += Duration::from_micros(700);
            victim.session.handle_timeout(now);
            if !victim.received.is_empty() {
                victim.session.release_credit(1);
            }
        }
        victim.session.close(CloseReason::Local(CloseCode::DONE));
        let events = victim.drain_events();
        let released = events.iter().filter(|e| matches!(e, Event::Released { .. })).count();
        prop_assert_eq!(released as u64, given, "each block comes back once");
        prop_assert!(matches!(events.last(), Some(Event::Closed(_))));
    }
}
