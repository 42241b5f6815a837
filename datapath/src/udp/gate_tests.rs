use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn networks(list: &[&str]) -> Vec<Network> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn limit(rate: u32, burst: u32) -> Limit {
    Limit::new(HandshakeLimit::new(rate, burst).unwrap())
}

const HELLO: u8 = Kind::Hello as u8;
const DATA: u8 = Kind::Data as u8;

#[test]
fn without_options_everybody_gets_in() {
    let gate = Gate::new(&[], None);
    for source in ["192.0.2.1", "fd00::1"] {
        let source = address(source);
        assert_eq!(gate.refuse_all(source, HEADER_LEN), None);
        for _ in 0..10_000 {
            assert_eq!(gate.refuse(source, HEADER_LEN, || HELLO), None);
        }
    }
}

#[test]
fn rules_change_while_the_gate_stands() {
    let gate = Gate::new(&networks(&["10.0.0.0/8"]), None);
    let [ten, eleven] = ["10.0.0.1", "11.0.0.1"].map(address);
    let passes = |source| gate.refuse_all(source, 1000).is_none();
    let greets = |source| gate.refuse(source, HEADER_LEN, || HELLO).is_none();
    assert_eq!([passes(ten), passes(eleven)], [true, false]);
    let limit = HandshakeLimit::new(1, 2).ok();
    gate.change(&networks(&["11.0.0.0/8"]), limit);
    assert_eq!([passes(ten), passes(eleven)], [false, true]);
    let greeted = [(); 3].map(|()| greets(eleven));
    assert_eq!(greeted, [true, true, false]);
    // Who has used up what he may send does not get it again.
    gate.change(&networks(&["11.0.0.0/8", "10.0.0.0/8"]), limit);
    assert_eq!([passes(ten), passes(eleven)], [true, true]);
    assert_eq!([greets(eleven), greets(ten)], [false, true]);
    gate.change(&[], None);
    assert!(passes(address("fd00::1")) && greets(eleven));
}

/// Who is in all lists never stands outside, whatever moment a packet meets.
#[test]
fn who_stays_on_the_list_gets_in_at_every_moment() {
    let lists = [
        networks(&["10.0.0.0/8", "192.0.2.0/24"]),
        networks(&["172.16.0.0/12", "10.1.0.0/16", "198.51.100.0/24"]),
    ];
    let gate = Gate::new(&lists[0], None);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let source = address("10.1.2.3");
            (0..200_000).all(|_| gate.refuse_all(source, 1000).is_none())
        });
        let mut turns = lists.iter().cycle();
        while !asking.is_finished() {
            gate.change(turns.next().unwrap(), None);
        }
        assert!(asking.join().unwrap());
    });
}

#[test]
fn only_the_allowed_networks_get_in() {
    let gate = Gate::new(
        &networks(&["10.0.0.0/8", "192.0.2.7", "fd00:77::/64", "fd00:77::/96"]),
        None,
    );
    let cases = [
        ("10.0.0.0", true),
        ("10.255.255.255", true),
        ("11.0.0.0", false),
        ("9.255.255.255", false),
        ("192.0.2.7", true),
        ("192.0.2.8", false),
        ("fd00:77::", true),
        ("fd00:77::ffff:ffff:ffff:ffff", true),
        ("fd00:77:0:1::", false),
        // The same bits as 10.0.0.0, and as an IPv4-mapped address: another family.
        ("::a00:0", false),
        ("::ffff:10.0.0.1", false),
    ];
    for (source, allowed) in cases {
        let refusal = (!allowed).then_some(Refusal::NotAllowed);
        assert_eq!(gate.refuse_all(address(source), 1000), refusal, "{source}");
    }
    let everything_else = Gate::new(&networks(&["::/0"]), None);
    assert_eq!(everything_else.refuse_all(address("ffff::1"), 1000), None);
    assert_eq!(
        everything_else.refuse_all(address("10.0.0.1"), 1000),
        Some(Refusal::NotAllowed)
    );
    // As in the XDP program, who is not allowed counts as that, also when it sends too little.
    assert_eq!(
        gate.refuse_all(address("11.0.0.0"), 1),
        Some(Refusal::NotAllowed)
    );
}

#[test]
fn short_datagrams_are_refused_unread() {
    let gate = Gate::new(&[], Some(HandshakeLimit::new(1, 1).unwrap()));
    let source = address("192.0.2.1");
    for len in [0, 1, HEADER_LEN - 1] {
        assert_eq!(gate.refuse_all(source, len), Some(Refusal::TooShort));
        let refusal = gate.refuse(source, len, || unreachable!());
        assert_eq!(refusal, Some(Refusal::TooShort));
    }
    assert_eq!(gate.refuse_all(source, HEADER_LEN), None);
    // None of them has taken the token.
    assert_eq!(gate.refuse(source, HEADER_LEN, || HELLO), None);
}

#[test]
fn only_handshakes_take_tokens() {
    let gate = Gate::new(&[], Some(HandshakeLimit::new(1, 2).unwrap()));
    let source = address("192.0.2.1");
    for _ in 0..100 {
        assert_eq!(gate.refuse(source, 1000, || DATA), None);
    }
    let said: Vec<_> = (0..4).map(|_| gate.refuse(source, 100, || HELLO)).collect();
    assert_eq!(said[..2], [None, None]);
    assert_eq!(said[2..], [Some(Refusal::HandshakeLimit); 2]);
    assert_eq!(gate.refuse(source, 1000, || DATA), None);
}

#[test]
fn an_ipv6_network_of_64_bits_is_one_source() {
    let limit = limit(1, 1);
    let now = Duration::from_secs(1);
    assert!(limit.take_token(address("fd00::1"), now));
    assert!(!limit.take_token(address("fd00::2"), now));
    assert!(limit.take_token(address("fd00:0:0:1::1"), now));
    assert!(limit.take_token(address("192.0.2.1"), now));
    assert!(limit.take_token(address("192.0.2.2"), now));
    assert!(!limit.take_token(address("192.0.2.1"), now));
}

#[test]
fn a_flood_of_sources_takes_no_memory_and_keeps_no_new_one_out() {
    let limit = limit(1, 4);
    let now = Duration::from_secs(1);
    let greedy = address("fd00::1");
    let taken = (0..10).filter(|_| limit.take_token(greedy, now)).count();
    assert_eq!(taken, 4);
    for number in 0..100_000 {
        let source = std::net::Ipv4Addr::from_bits(number);
        assert!(limit.take_token(source.into(), now), "{source}");
    }
    assert_eq!(limit.buckets.lock().unwrap().capacity(), SETS);
    // The others have fuller buckets, and are forgotten before it.
    assert!(!limit.take_token(greedy, now));
}

#[test]
fn of_a_full_set_the_fullest_bucket_is_forgotten() {
    let mut set = [Bucket::default(); WAYS];
    assert_eq!(set[fullest(&set)].full_at, 0);
    for (place, bucket) in set.iter_mut().enumerate() {
        bucket.full_at = 100 + (place as u64 + 3) % WAYS as u64;
    }
    assert_eq!(set[fullest(&set)].full_at, 100);
}

/// The plain token bucket: tokens in nanoseconds' worth, and when they were counted.
struct Plain {
    interval: u64,
    most: u64,
    sources: HashMap<u128, (u64, u64)>,
}

impl Plain {
    fn take(&mut self, source: u128, now: u64) -> bool {
        let (tokens, counted) = self.sources.entry(source).or_insert((self.most, now));
        *tokens = (*tokens + (now - *counted)).min(self.most);
        *counted = now;
        let enough = *tokens >= self.interval;
        if enough {
            *tokens -= self.interval;
        }
        enough
    }
}

proptest! {
    #[test]
    fn tokens_are_those_of_a_plain_bucket(
        rate in 1_u32..2000,
        burst in 1_u32..50,
        takes in proptest::collection::vec((0_u32..WAYS as u32, 0_u64..3_000_000), 1..400),
    ) {
        let limit = limit(rate, burst);
        let most = limit.burst + limit.interval;
        let mut plain = Plain { interval: limit.interval, most, sources: HashMap::new() };
        let mut now = 1;
        for (number, pause) in takes {
            now += pause;
            let source = std::net::Ipv4Addr::from_bits(number).into();
            let taken = limit.take_token(source, Duration::from_nanos(now));
            prop_assert_eq!(taken, plain.take(owner(source), now));
        }
    }

    #[test]
    fn a_list_is_what_its_networks_are(
        entries in proptest::collection::vec((any::<u32>(), 0_u8..=32), 0..40),
        asked in proptest::collection::vec(any::<u32>(), 1..40),
    ) {
        let masked = |address: u32, prefix: u8| {
            address & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
        };
        let networks: Vec<Network> = entries
            .iter()
            .map(|&(address, prefix)| {
                let address = std::net::Ipv4Addr::from_bits(masked(address, prefix));
                Network::new(address.into(), prefix).unwrap()
            })
            .collect();
        let allowed = Allowed::new(&networks);
        // Around the ends of the networks as well.
        let ends = networks.iter().flat_map(|network| {
            let (first, last) = range(*network);
            [first.wrapping_sub(1), first, last, last + 1].map(|number| number as u32)
        });
        for address in asked.into_iter().chain(ends) {
            let inside = entries
                .iter()
                .any(|&(other, prefix)| masked(address, prefix) == masked(other, prefix));
            let source = std::net::Ipv4Addr::from_bits(address).into();
            prop_assert_eq!(allowed.contains(source), inside, "{}", source);
        }
    }
}
