//! A session as a flow: its sender always has a block to send, its receiver always has room.

use std::time::Duration;

use blk_proto::net::Ecn;
use blk_proto::session::{BlockMeta, Config, Congestion, Event, Parameters, Session, Transmit};
use blk_proto::time::Time;
use blk_proto::wire;
use zerocopy::IntoBytes;

use crate::world::Host;

/// Blocks that a receiver can hold.
pub const CREDIT: u64 = 1 << 14;
static ZEROS: [u8; 8192] = [0; 8192];

pub struct End {
    session: Session<()>,
    /// Length of the blocks that it sends, if it does.
    len: Option<u16>,
    delivered: u64,
}

fn bytes(transmit: &Transmit<'_, ()>) -> Vec<u8> {
    let header = transmit.header();
    let (span, len) = (
        usize::from(header.span.get()),
        usize::from(header.payload_len.get()),
    );
    let mut bytes = Vec::with_capacity(span + len);
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(span, 0);
    match transmit {
        Transmit::Inline { payload, .. } => bytes.extend_from_slice(payload),
        Transmit::Block { .. } => bytes.extend_from_slice(&ZEROS[..len]),
    }
    bytes
}

fn block(len: u16) -> BlockMeta {
    BlockMeta {
        transfer: 1,
        offset: 0,
        len,
        crc: wire::payload_crc(&ZEROS[..usize::from(len)]),
    }
}

/// Sender and receiver that have greeted each other, with blocks of at most `len` bytes. The receiver begins with a window
/// of `window_floor` blocks.
pub fn flow(
    id: u32,
    congestion: Congestion,
    now: Time,
    rtt: Duration,
    len: u16,
    window_floor: u64,
) -> (Box<dyn Host>, Box<dyn Host>) {
    let config = |initial_credit| Config {
        local: Parameters {
            initial_credit,
            max_payload: 8192,
            ..Parameters::default()
        },
        congestion,
        max_window: CREDIT,
        window_floor,
        ..Config::default()
    };
    let start = Time::from_nanos(now.as_nanos() - rtt.as_nanos() as u64);
    let mut sender = Session::connect(config(0), 2 * id + 1, start);
    let hello = bytes(&sender.poll_transmit(start, |_| true).expect("a Hello"));
    let hello = wire::open(&hello).expect("whole");
    let mut receiver =
        Session::accept(config(window_floor), 2 * id + 2, &hello, now).expect("acceptable");
    receiver.set_window(CREDIT);
    let reply = bytes(&receiver.poll_transmit(now, |_| true).expect("a reply"));
    let reply = wire::open(&reply).expect("whole");
    sender
        .handle_packet(now, &reply, Ecn::Capable0)
        .expect("a good reply");
    let end = |session, len| {
        Box::new(End {
            session,
            len,
            delivered: 0,
        })
    };
    (end(sender, Some(len)), end(receiver, None))
}

impl Host for End {
    fn receive(&mut self, now: Time, packet: &[u8], ecn: Ecn) {
        let packet = wire::open(packet).expect("whole");
        let taken = self
            .session
            .handle_packet(now, &packet, ecn)
            .expect("no violation");
        if let Some(meta) = taken {
            self.delivered += u64::from(meta.len);
            self.session.release_credit(1);
        }
    }

    fn poll(&mut self, now: Time) -> Option<(Vec<u8>, u64)> {
        if let Some(len) = self.len
            && self.session.queue_space() > 64
        {
            let block = block(len.min(self.session.max_block()));
            while self.session.queue_block(block, ()).is_ok() {}
        }
        let packet = bytes(&self.session.poll_transmit(now, |()| true)?);
        let len = packet.len() as u64;
        Some((packet, len))
    }

    fn handle_timeout(&mut self, now: Time) {
        self.session.handle_timeout(now);
        while let Some(event) = self.session.poll_event() {
            assert!(!matches!(event, Event::Closed(_)), "{event:?}");
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.session.poll_timeout()
    }

    fn delivered(&self) -> u64 {
        self.delivered
    }

    fn describe(&self) -> String {
        let s = self.session.stats();
        format!(
            "cwnd {} KB, srtt {:?}, min {:?}, sent {}, lost {}, spurious {}, acks {}, probes {}",
            s.cwnd >> 10,
            s.srtt,
            s.min_rtt,
            s.packets_sent,
            s.lost,
            s.spurious,
            s.acks_received,
            s.probes
        )
    }
}
