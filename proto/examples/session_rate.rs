//! How many packets a second each side of a session handles on one core, without any network.
//!
//! ```text
//! cargo run --release -p blk-proto --example session_rate
//! ```
//!
//! Two sessions exchange blocks in virtual time: 256 packets, 50 us, Acks back, 50 us, and so on. Real time is taken
//! separately for the sender (making and sealing packets, taking in Acks) and for the receiver (opening and taking in
//! packets, making Acks). The payload is the same memory each time, so its CRC is that of data in the cache; the
//! figures with an empty payload show the session alone.

use blk_proto::net::Ecn;
use std::hint::black_box;
use std::time::{Duration, Instant};

use blk_proto::session::{BlockMeta, Config, Event, Parameters, Session, Transmit};
use blk_proto::time::Time;
use blk_proto::wire;
use zerocopy::IntoBytes;

const BLOCKS: u64 = 2_000_000;
const BATCH: usize = 256;
const HALF_TRIP: Duration = Duration::from_micros(50);

struct Rate {
    session: Session<u32>,
    busy: Duration,
}

impl Rate {
    fn time<T>(&mut self, work: impl FnOnce(&mut Session<u32>) -> T) -> T {
        let start = Instant::now();
        let result = work(&mut self.session);
        self.busy += start.elapsed();
        result
    }
}

fn config(credit: u64) -> Config {
    Config {
        local: Parameters {
            initial_credit: credit,
            ..Parameters::default()
        },
        ..Config::default()
    }
}

/// The bytes of all packets that a session wants to send, at most `BATCH`, one after the other with their lengths.
fn collect(session: &mut Session<u32>, now: Time, payload: &[u8], out: &mut Packets) {
    out.clear();
    while out.len() < BATCH {
        let Some(transmit) = session.poll_transmit(now, |_| true) else {
            break;
        };
        out.push(&transmit, payload);
    }
}

/// Packets in flat memory, written as a NIC driver would: headers in front of payloads that are already there.
struct Packets {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Packets {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn push(&mut self, transmit: &Transmit<'_, u32>, payload: &[u8]) {
        let header = transmit.header();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.resize(
            self.bytes.len() + usize::from(header.span.get()) - wire::HEADER_LEN,
            0,
        );
        self.bytes.extend_from_slice(match transmit {
            Transmit::Inline { payload, .. } => payload,
            Transmit::Block { .. } => payload,
        });
        self.ends.push(self.bytes.len());
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, &end)| &self.bytes[start..end])
    }
}

fn handle(session: &mut Session<u32>, now: Time, packets: &Packets) -> u64 {
    let mut blocks = 0;
    for bytes in packets.iter() {
        let packet = wire::open(bytes).expect("the packet was just made");
        let taken = session
            .handle_packet(now, &packet, Ecn::Capable0)
            .expect("the peer keeps the rules");
        blocks += u64::from(taken.is_some());
    }
    blocks
}

/// Sender and receiver of a session, after the handshake.
fn connect() -> (Rate, Rate, Time) {
    let now = Time::from_nanos(1);
    let mut sender = Session::connect(config(0), 1, now);
    let (mut out, mut back) = (
        Packets {
            bytes: vec![],
            ends: vec![],
        },
        Packets {
            bytes: vec![],
            ends: vec![],
        },
    );
    collect(&mut sender, now, &[], &mut out);
    let hello = out
        .iter()
        .next()
        .map(wire::open)
        .expect("a Hello")
        .expect("whole");
    let mut receiver = Session::accept(config(8192), 2, &hello, now).expect("acceptable");
    collect(&mut receiver, now, &[], &mut back);
    handle(&mut sender, now, &back);
    let rate = |session| Rate {
        session,
        busy: Duration::ZERO,
    };
    (rate(sender), rate(receiver), now)
}

fn measure(payload_len: usize, lose_every: u64) {
    let (mut sender, mut receiver, mut now) = connect();
    let payload = vec![0xa5; payload_len];
    let meta = BlockMeta {
        transfer: 1,
        offset: 0,
        len: payload_len as u16,
        crc: wire::payload_crc(&payload),
    };
    let mut packets = Packets {
        bytes: Vec::with_capacity(BATCH * 4096),
        ends: Vec::with_capacity(BATCH),
    };
    let mut acks = Packets {
        bytes: Vec::with_capacity(BATCH * 1024),
        ends: Vec::with_capacity(BATCH),
    };
    let (mut queued, mut released, mut sent, mut counter) = (0, 0, 0u64, 0u64);
    while released < BLOCKS {
        sender.time(|session| {
            while queued < BLOCKS && session.queue_block(meta, 0).is_ok() {
                queued += 1;
            }
        });
        // Writing the payload would be the NIC's work: not counted.
        packets.clear();
        let mut spent = Duration::ZERO;
        let start = Instant::now();
        while packets.len() < BATCH {
            let Some(transmit) = sender.session.poll_transmit(now, |_| true) else {
                break;
            };
            let pause = Instant::now();
            counter += 1;
            if lose_every == 0 || counter % lose_every != 0 {
                packets.push(black_box(&transmit), &payload);
            }
            spent += pause.elapsed();
        }
        sender.busy += start.elapsed().saturating_sub(spent);
        sent += packets.len() as u64;
        now += HALF_TRIP;
        receiver.time(|session| {
            let blocks = handle(session, now, &packets);
            session.release_credit(blocks);
            session.handle_timeout(now);
            collect(session, now, &[], &mut acks);
        });
        now += HALF_TRIP;
        sender.time(|session| {
            handle(session, now, &acks);
            session.handle_timeout(now);
            while let Some(event) = session.poll_event() {
                released += u64::from(matches!(event, Event::Released { acked: true, .. }));
            }
        });
    }
    let rate = |busy: Duration| sent as f64 / busy.as_secs_f64() / 1e6;
    println!(
        "{payload_len:>4} bytes, {:>6} lost: sender {:5.2} M packets/s, receiver {:5.2} M packets/s, {} acks, {} retransmitted",
        if lose_every == 0 {
            "none".into()
        } else {
            format!("1/{lose_every}")
        },
        rate(sender.busy),
        rate(receiver.busy),
        receiver.session.stats().acks_sent,
        sender.session.stats().retransmitted,
    );
}

fn main() {
    for (payload_len, lose_every) in [(1, 0), (1024, 0), (3584, 0), (1, 1000), (1, 100)] {
        measure(payload_len, lose_every);
    }
}
