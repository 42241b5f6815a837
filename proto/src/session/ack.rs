//! Acknowledgements: how they are encoded, and when a receiver sends one.
//!
//! ```text
//!   0           8            16         20       22  24            32
//!   │ largest   │ max_blocks │ delay ns │ ranges │ 0 │ ce_packets  │ gap │ length │ gap │ length │ …
//!   └──────────────────────────────────────────────────────────────┘ └ 4 ┴ 4 ─────┘
//! ```
//!
//! Ranges run downwards from `largest`; the first has gap 0, the gap of the others is the count of packets missing
//! between them. No ranges: nothing has arrived yet, and only `max_blocks` counts.

use core::time::Duration;

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::MAX_PACKET_NUMBER;
use super::ranges::{RangeSet, Run};
use crate::net::Ecn;
use crate::time::Time;

/// Most ranges in one Ack; a receiver that sees more gaps reports the newest.
pub(super) const MAX_RANGES: usize = 64;

/// In order, every so many packets are acknowledged, unless their sender wants more.
const INTERVAL: u32 = 64;
/// While packets are missing, every so many, or as many as the sender wants if that is less.
const INTERVAL_WITH_GAPS: u32 = 16;
/// An Ack is not delayed for less than this, in nanoseconds: else the timer, and not the count, would decide.
const LEAST_DELAY: u64 = 100_000;
/// A gap counts as recent for so many packets.
const GAP_MEMORY: u32 = 256;

#[derive(Copy, Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Head {
    largest: U64,
    max_blocks: U64,
    delay: U32,
    ranges: U16,
    reserved: U16,
    ce_packets: U64,
}

#[derive(Copy, Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Range {
    gap: U32,
    len: U32,
}

const _: () = assert!(size_of::<Head>() == 32 && size_of::<Range>() == 8);

/// Longest encoded Ack in bytes.
pub(super) const MAX_ACK_LEN: usize = size_of::<Head>() + MAX_RANGES * size_of::<Range>();

/// A decoded Ack; its ranges are known to be well-formed.
#[derive(Debug)]
pub(super) struct Ack<'a> {
    /// Largest acknowledged packet number; `None` if there is none.
    pub(super) largest: Option<u64>,
    /// Blocks that the peer takes, all told.
    pub(super) max_blocks: u64,
    /// Nanoseconds between the arrival of `largest` and this Ack.
    pub(super) delay: u64,
    /// Packets that arrived marked with "congestion experienced", all told.
    pub(super) ce_packets: u64,
    ranges: &'a [Range],
}

impl<'a> Ack<'a> {
    /// `None` if the payload is not a well-formed Ack.
    pub(super) fn decode(payload: &'a [u8]) -> Option<Self> {
        let (head, rest) = Head::ref_from_prefix(payload).ok()?;
        let count = usize::from(head.ranges.get());
        if head.reserved.get() != 0 || count > MAX_RANGES {
            return None;
        }
        let ranges = <[Range]>::ref_from_bytes_with_elems(rest, count).ok()?;
        let largest = head.largest.get();
        if largest > MAX_PACKET_NUMBER || (count == 0 && largest != 0) {
            return None;
        }
        let mut end = largest + 1;
        for (index, range) in ranges.iter().enumerate() {
            let (gap, len) = (u64::from(range.gap.get()), u64::from(range.len.get()));
            if (gap == 0) != (index == 0) || len == 0 {
                return None;
            }
            end = end.checked_sub(gap)?.checked_sub(len)?;
        }
        Some(Self {
            largest: (count > 0).then_some(largest),
            max_blocks: head.max_blocks.get(),
            delay: u64::from(head.delay.get()),
            ce_packets: head.ce_packets.get(),
            ranges,
        })
    }

    /// The acknowledged packet numbers, newest first.
    pub(super) fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        let mut end = self.largest.map_or(0, |largest| largest + 1);
        self.ranges.iter().map(move |range| {
            end -= u64::from(range.gap.get());
            let start = end - u64::from(range.len.get());
            let run = Run::new(start, end);
            end = start;
            run
        })
    }
}

/// Writes an Ack over `buffer`, for the newest [`MAX_RANGES`] runs of these ascending ones.
pub(super) fn encode(
    runs: &[Run],
    delay: u64,
    max_blocks: u64,
    ce_packets: u64,
    buffer: &mut Vec<u8>,
) {
    buffer.clear();
    buffer.resize(size_of::<Head>(), 0);
    let mut end = runs.last().map_or(0, |run| run.end);
    let mut count = 0u16;
    for run in runs.iter().rev().take(MAX_RANGES) {
        let Ok(gap) = u32::try_from(end - run.end) else {
            break;
        };
        // Of a longer run, only the newest part; the rest was acknowledged long ago.
        let len = u32::try_from(run.end - run.start).unwrap_or(u32::MAX);
        let (gap, len) = (U32::new(gap), U32::new(len));
        buffer.extend_from_slice(Range { gap, len }.as_bytes());
        count += 1;
        end = run.start;
        if len.get() == u32::MAX {
            break;
        }
    }
    let head = Head {
        largest: U64::new(runs.last().map_or(0, |run| run.end - 1)),
        max_blocks: U64::new(max_blocks),
        delay: U32::new(u32::try_from(delay).unwrap_or(u32::MAX)),
        ranges: U16::new(count),
        reserved: U16::ZERO,
        ce_packets: U64::new(ce_packets),
    };
    buffer[..size_of::<Head>()].copy_from_slice(head.as_bytes());
}

/// What the sender of a packet wants to hear about it.
#[derive(Copy, Clone, Debug)]
pub(super) struct Request {
    /// An Ack after so many packets; 0: whatever the receiver thinks best.
    pub(super) interval: u8,
    /// An Ack at once.
    pub(super) hurry: bool,
}

/// What has arrived, and when to say so.
///
/// An Ack is due after as many packets as the sender asked for, or a quarter of the round trip (at most `max_delay`),
/// whichever is first; at the first packet out of order, but while gaps persist only every [`INTERVAL_WITH_GAPS`]
/// packets; and at once if the sender wants it.
#[derive(Debug)]
pub(super) struct Acknowledger {
    received: RangeSet,
    ce_packets: u64,
    largest_at: Time,
    /// Packets since the last Ack.
    pending: u32,
    /// Packets since an Ack was last sent with a gap in it.
    since_gap_ack: u32,
    /// Packets for which a gap still counts as recent.
    gap_memory: u32,
    due: bool,
    deadline: Option<Time>,
    delay: Duration,
    max_delay: Duration,
}

impl Acknowledger {
    pub(super) fn new(max_delay: Duration) -> Self {
        Self {
            received: RangeSet::new(MAX_RANGES),
            ce_packets: 0,
            largest_at: Time::default(),
            pending: 0,
            since_gap_ack: INTERVAL_WITH_GAPS,
            gap_memory: 0,
            due: false,
            deadline: None,
            delay: max_delay,
            max_delay,
        }
    }

    /// The round trip, in nanoseconds, is known anew.
    pub(super) fn set_rtt(&mut self, rtt: u64) {
        let delay = Duration::from_nanos((rtt / 4).max(LEAST_DELAY));
        self.delay = delay.min(self.max_delay);
    }

    /// Tells the sizes of what is kept, and their limits ([`super::Session::footprint`]).
    #[cfg(feature = "sim")]
    pub(super) fn footprint(&self, note: &mut impl FnMut(&'static str, usize, usize)) {
        note(
            "runs of received packets",
            self.received.runs().len(),
            MAX_RANGES,
        );
    }

    /// Whether this packet has arrived before, or is too old to tell.
    pub(super) fn is_duplicate(&self, number: u64) -> bool {
        self.received.contains(number)
    }

    /// Takes note of a packet that is no duplicate.
    pub(super) fn on_packet(&mut self, now: Time, number: u64, ecn: Ecn, request: Request) {
        self.ce_packets += u64::from(ecn == Ecn::Congested);
        let expected = self.received.end();
        self.received.insert_one(number);
        if number >= expected {
            self.largest_at = now;
        }
        self.pending += 1;
        self.since_gap_ack = self.since_gap_ack.saturating_add(1);
        let mut interval = match request.interval {
            0 => INTERVAL,
            wanted => u32::from(wanted),
        };
        if number != expected {
            self.gap_memory = GAP_MEMORY;
        }
        if self.gap_memory > 0 {
            self.gap_memory -= 1;
            interval = interval.min(INTERVAL_WITH_GAPS);
        }
        let gap = number != expected && self.since_gap_ack >= interval;
        self.due |= gap || request.hurry || self.pending >= interval;
        if self.deadline.is_none() {
            self.deadline = Some(now + self.delay);
        }
    }

    pub(super) fn is_due(&self, now: Time) -> bool {
        self.due || self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// When the next Ack is due, if packets wait for one.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Writes an Ack over `buffer`, and takes it as sent.
    pub(super) fn write(&mut self, now: Time, max_blocks: u64, buffer: &mut Vec<u8>) {
        let delay = now.as_nanos().saturating_sub(self.largest_at.as_nanos());
        encode(
            self.received.runs(),
            delay,
            max_blocks,
            self.ce_packets,
            buffer,
        );
        if self.gap_memory > 0 {
            self.since_gap_ack = 0;
        }
        self.pending = 0;
        self.due = false;
        self.deadline = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T0: Time = Time::from_nanos(1_000_000);
    const LATER: Request = Request {
        interval: 0,
        hurry: false,
    };
    const NOW: Request = Request {
        interval: 0,
        hurry: true,
    };

    fn acknowledger() -> Acknowledger {
        Acknowledger::new(Duration::from_millis(1))
    }

    #[test]
    fn an_ack_every_64_packets_in_order() {
        let mut acks = acknowledger();
        for number in 0..63 {
            acks.on_packet(T0, number, Ecn::Capable0, LATER);
            assert!(!acks.is_due(T0));
        }
        acks.on_packet(T0, 63, Ecn::Capable0, LATER);
        assert!(acks.is_due(T0));
        let mut buffer = Vec::new();
        acks.write(T0 + Duration::from_nanos(7), 99, &mut buffer);
        let ack = Ack::decode(&buffer).unwrap();
        assert_eq!((ack.largest, ack.max_blocks, ack.delay), (Some(63), 99, 7));
        assert_eq!(ack.runs().collect::<Vec<_>>(), [Run::new(0, 64)]);
        assert!(!acks.is_due(T0 + Duration::from_secs(1)));
    }

    #[test]
    fn an_ack_after_the_delay() {
        let mut acks = acknowledger();
        acks.on_packet(T0, 0, Ecn::Capable0, LATER);
        let deadline = acks.deadline().unwrap();
        assert_eq!(deadline, T0 + Duration::from_millis(1));
        assert!(!acks.is_due(T0) && acks.is_due(deadline));
    }

    #[test]
    fn a_ping_is_answered_at_once() {
        let mut acks = acknowledger();
        acks.on_packet(T0, 0, Ecn::Capable0, NOW);
        assert!(acks.is_due(T0));
    }

    #[test]
    fn gaps_hurry_but_not_without_limit() {
        let (mut acks, mut buffer, mut sent) = (acknowledger(), Vec::new(), 0);
        acks.on_packet(T0, 0, Ecn::Capable0, LATER);
        acks.on_packet(T0, 2, Ecn::Capable0, LATER);
        assert!(acks.is_due(T0), "the first gap is news");
        for number in (2..1000).map(|n| 2 * n) {
            if acks.is_due(T0) {
                sent += 1;
                acks.write(T0, 0, &mut buffer);
            }
            acks.on_packet(T0, number, Ecn::Capable0, LATER);
        }
        assert!((60..=64).contains(&sent), "{sent} acks for 1000 packets");
        assert!(buffer.len() <= MAX_ACK_LEN);
    }

    #[test]
    fn malformed_acks_are_refused() {
        let mut good = Vec::new();
        encode(&[Run::new(0, 3), Run::new(5, 9)], 1, 2, 3, &mut good);
        assert!(Ack::decode(&good).is_some());
        let broken = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Ack::decode(&bytes).is_none()
        };
        assert!(broken(20, 3), "more ranges than bytes");
        assert!(broken(20, 1), "fewer");
        assert!(broken(22, 1), "reserved");
        assert!(broken(7, 0xff), "largest out of range");
        assert!(broken(32, 1), "first gap");
        assert!(broken(36, 0), "empty range");
        assert!(broken(40, 0), "no gap");
        assert!(broken(44, 4), "below zero");
        assert!(Ack::decode(&good[..31]).is_none());
    }

    #[test]
    fn an_ack_of_nothing_carries_credit() {
        let mut buffer = Vec::new();
        encode(&[], 0, 77, 0, &mut buffer);
        let ack = Ack::decode(&buffer).unwrap();
        assert_eq!((ack.largest, ack.max_blocks), (None, 77));
        assert_eq!(ack.runs().count(), 0);
    }

    #[test]
    fn numbers_too_far_apart_for_the_format_are_left_out() {
        let mut buffer = Vec::new();
        encode(
            &[Run::new(0, 1), Run::new(1 << 40, (1 << 40) + 2)],
            0,
            0,
            0,
            &mut buffer,
        );
        let ack = Ack::decode(&buffer).unwrap();
        assert_eq!(
            ack.runs().collect::<Vec<_>>(),
            [Run::new(1 << 40, (1 << 40) + 2)]
        );
        encode(&[Run::new(0, 1 << 40)], 0, 0, 0, &mut buffer);
        let ack = Ack::decode(&buffer).unwrap();
        assert_eq!(
            ack.runs().collect::<Vec<_>>(),
            [Run::new((1 << 40) - u64::from(u32::MAX), 1 << 40)]
        );
    }

    proptest! {
        #[test]
        fn runs_survive_the_wire(lens in proptest::collection::vec((1u64..100, 1u64..100), 0..100), delay: u32, credit: u64, marked: u64) {
            let mut at = 0;
            let runs: Vec<Run> = lens.iter().map(|(gap, len)| {
                let run = Run::new(at + gap, at + gap + len);
                at = run.end;
                run
            }).collect();
            let mut buffer = Vec::new();
            encode(&runs, u64::from(delay), credit, marked, &mut buffer);
            prop_assert!(buffer.len() <= MAX_ACK_LEN);
            let ack = Ack::decode(&buffer).unwrap();
            prop_assert_eq!((ack.delay, ack.max_blocks), (u64::from(delay), credit));
            prop_assert_eq!(ack.ce_packets, marked);
            let newest: Vec<Run> = runs.into_iter().rev().take(MAX_RANGES).collect();
            prop_assert_eq!(ack.runs().collect::<Vec<_>>(), newest);
        }

        #[test]
        fn random_bytes_do_not_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..120), dress: bool) {
            if dress && bytes.len() >= 32 {
                let count = (bytes.len() - 32) / 8;
                bytes.truncate(32 + count * 8);
                bytes[20..24].copy_from_slice(&(count as u32).to_le_bytes());
            }
            if let Some(ack) = Ack::decode(&bytes) {
                for run in ack.runs() {
                    prop_assert!(run.start < run.end);
                }
            }
        }
    }
}
