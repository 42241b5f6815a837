//! Whether a session's packets may share messages on their way to the kernel (`UDP_SEGMENT`, udp(7)).
//!
//! Software devices pass such a message on in one piece, and there are receivers that cannot take it: the XDP program in generic mode
//! sees one packet of up to 64 KiB with a single header. Single datagrams get through to the same receiver. The sender
//! cannot ask. So it watches what becomes of its messages, one at a time:
//!
//! ```text
//!              MESSAGES in a row, of which nothing arrived
//!   Together ─────────────────────────────────────────────► Alone ──┐ after `wait`, TRIAL packets may share a message:
//!      ▲                                                      │ ▲   │ nothing of it arrives; `wait` doubles
//!      └────────────── something of that message arrives ─────┘ └───┘
//! ```
//!
//! A packet counts as lost when something sent after it has arrived. So each message in the row was lost on a path that carried
//! something else by then: an outage costs one message of the row, however many packets it takes. Where a message is split before
//! something drops of it, a full queue lets some of its packets through, too.
//!
//! Where nothing splits it, it is dropped whole: by the queue of a software device (veth, tap), and by a full receive buffer behind one.
//! There, MESSAGES in a row may be lost by overload alone, and the packets part though the receiver could take them together. The sender
//! cannot tell these cases apart. It costs speed until a trial gets through: groups are tried again after `wait`, in either case.

use core::ops::Range;
use core::time::Duration;

use blk_proto::session::Watched;
use blk_proto::time::Time;
use blk_proto::wire::{Header, Kind};

use crate::udp::{Grouping, group, segments_max};

/// So many messages of which nothing arrives part the packets. A path that drops every fifth packet by chance loses two packets in one
/// of 25 cases, and six such messages in a row in one of 2 * 10^8. (Where every fifth message is dropped whole, it is one of 15625.)
const MESSAGES: u32 = 6;
/// Packets that may share a message when it is tried again: enough for a message when an acknowledgement goes first, and not many to lose.
const TRIAL: usize = 4;
/// Time without messages of several after the packets parted for the first time.
const FIRST_WAIT: Duration = Duration::from_secs(4);
/// Longest time between two trials.
const LONGEST_WAIT: Duration = Duration::from_secs(256);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many messages in a row did not arrive.
    Together { lost: u32 },
    /// Messages are tried again then.
    Alone { until: Time },
}

/// What a session's packets do from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// They go one by one.
    Part,
    /// They go in messages of several again.
    Join,
}

/// A packet of this turn.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// `None`: nothing tells whether it arrived, or it may be too long for the path.
    number: Option<u64>,
    /// Bytes of UDP payload.
    len: usize,
}

/// How a session's packets go.
#[derive(Debug)]
pub struct Company {
    state: State,
    /// How long they go alone the next time.
    wait: Duration,
    /// Packets of the message whose fate is not known yet.
    awaited: Option<u64>,
    /// A message of this turn is to be watched.
    wanted: bool,
    /// This turn's packets, when one is.
    turn: Vec<Sent>,
}

impl Default for Company {
    fn default() -> Self {
        Self {
            state: State::Together { lost: 0 },
            wait: FIRST_WAIT,
            awaited: None,
            wanted: false,
            turn: Vec::new(),
        }
    }
}

impl Company {
    /// Before the session's packets of a turn; `watched` is what it knows of those that [`Self::end_turn`] named last.
    pub fn begin_turn(&mut self, now: Time, watched: Watched) -> Option<Change> {
        let change = self.judge(now, watched);
        let is_time = match self.state {
            State::Together { .. } => true,
            State::Alone { until } => until <= now,
        };
        self.wanted = is_time && self.awaited.is_none();
        self.turn.clear();
        change
    }

    /// How its next packet goes.
    pub fn grouping(&self) -> Grouping {
        match self.state {
            State::Together { .. } => Grouping::Allowed,
            State::Alone { .. } if self.wanted && self.turn.len() < TRIAL => Grouping::Allowed,
            State::Alone { .. } => Grouping::Alone,
        }
    }

    /// Takes note of a packet that the link got.
    #[inline]
    pub fn sent(&mut self, header: &Header) {
        if !self.wanted {
            return;
        }
        let tells = [Kind::Data, Kind::Control].map(|kind| kind as u8);
        let number = header.packet_number.get();
        self.turn.push(Sent {
            number: tells.contains(&header.kind).then_some(number),
            len: usize::from(header.span.get()) + usize::from(header.payload_len.get()),
        });
    }

    /// After the packets of a turn: which ones the session is to watch from now on, instead of those before. `None`: as before.
    pub fn end_turn(&mut self) -> Option<impl Iterator<Item = u64> + '_> {
        let message = match self.wanted {
            true => self.message(),
            false => 0..0,
        };
        let numbers = self.turn[message].iter().filter_map(|sent| sent.number);
        let packets = numbers.clone().count() as u64;
        if packets == 0 {
            return None;
        }
        self.awaited = Some(packets);
        Some(numbers)
    }

    /// Where in this turn the first message is that has several packets of which is told whether they arrived.
    fn message(&self) -> Range<usize> {
        let most = match self.state {
            State::Together { .. } => usize::MAX,
            State::Alone { .. } => TRIAL,
        };
        let turn = &self.turn[..self.turn.len().min(most)];
        let mut start = 0;
        while start < turn.len() {
            let rest = &turn[start..];
            let end = start + group(segments_max(), rest.iter().map(|sent| ((), sent.len)));
            if turn[start..end]
                .iter()
                .filter(|sent| sent.number.is_some())
                .count()
                > 1
            {
                return start..end;
            }
            start = end;
        }
        0..0
    }

    fn judge(&mut self, now: Time, watched: Watched) -> Option<Change> {
        if watched.arrived + watched.lost < self.awaited? {
            return None;
        }
        self.awaited = None;
        if watched.arrived > 0 {
            let was = core::mem::replace(&mut self.state, State::Together { lost: 0 });
            return matches!(was, State::Alone { .. }).then_some(Change::Join);
        }
        if let State::Together { lost } = &mut self.state
            && *lost + 1 < MESSAGES
        {
            *lost += 1;
            return None;
        }
        let until = now + self.wait;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        let was = core::mem::replace(&mut self.state, State::Alone { until });
        matches!(was, State::Together { .. }).then_some(Change::Part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: u16 = 1024;

    /// A session's packets on a path that does with them as the test says.
    struct Test {
        company: Company,
        now: Time,
        next: u64,
        watched: Watched,
        /// Of the message of the last turn.
        awaited: u64,
    }

    impl Test {
        fn new() -> Self {
            Self {
                company: Company::default(),
                now: Time::from_nanos(1),
                next: 0,
                watched: Watched::default(),
                awaited: 0,
            }
        }

        fn wait(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }

        /// Sends packets of these kinds and payload lengths; how each went.
        fn turn(&mut self, packets: &[(Kind, u16)]) -> (Option<Change>, Vec<Grouping>) {
            let change = self.company.begin_turn(self.now, self.watched);
            let mut went = Vec::new();
            for &(kind, len) in packets {
                went.push(self.company.grouping());
                let mut header = Header::new(kind, 5);
                header.packet_number = self.next.into();
                header.payload_len = len.into();
                self.company.sent(&header);
                self.next += 1;
            }
            if let Some(message) = self.company.end_turn() {
                self.awaited = message.count() as u64;
                self.watched = Watched::default();
            }
            (change, went)
        }

        /// What became of the message that is watched.
        fn fate(&mut self, arrived: u64) {
            self.watched.arrived += arrived;
            self.watched.lost += self.awaited - arrived;
            self.awaited = 0;
        }

        fn blocks(&mut self, count: usize) -> (Option<Change>, Vec<Grouping>) {
            self.turn(&vec![(Kind::Data, LONG); count])
        }

        /// So many messages of which nothing arrives.
        fn lose(&mut self, messages: u32) {
            for _ in 0..messages {
                assert_eq!(self.blocks(20).0, None);
                assert_eq!(self.awaited, 20);
                self.fate(0);
            }
        }

        /// Whether packets of this turn may share a message.
        fn shares(&mut self) -> bool {
            self.blocks(20).1.contains(&Grouping::Allowed)
        }
    }

    #[test]
    fn messages_of_which_nothing_arrives_part_the_packets() {
        let mut test = Test::new();
        test.lose(MESSAGES);
        let (change, went) = test.blocks(20);
        assert_eq!(change, Some(Change::Part));
        assert_eq!(went, [Grouping::Alone; 20]);
        assert_eq!(test.awaited, 0, "nothing to watch");
        assert_eq!(test.blocks(20).0, None, "told once");
    }

    #[test]
    fn a_single_packet_of_a_message_that_arrives_keeps_them_together() {
        let mut test = Test::new();
        for _ in 0..100 {
            test.lose(MESSAGES - 1);
            assert_eq!(test.blocks(20).0, None);
            test.fate(1);
        }
        assert_eq!(test.blocks(20), (None, vec![Grouping::Allowed; 20]));
    }

    #[test]
    fn an_outage_counts_as_one_message_however_much_it_costs() {
        let mut test = Test::new();
        for _ in 0..1000 {
            assert_eq!(test.blocks(50), (None, vec![Grouping::Allowed; 50]));
        }
        assert_eq!(test.awaited, 50, "the first one's");
        test.fate(0);
        test.lose(MESSAGES - 2);
        assert!(test.shares());
    }

    #[test]
    fn nothing_is_said_before_all_of_a_message_is_known() {
        let mut test = Test::new();
        test.lose(MESSAGES - 1);
        test.blocks(20);
        test.watched.lost += 19;
        assert_eq!(test.blocks(20).0, None);
        test.watched.lost += 1;
        assert_eq!(test.blocks(20).0, Some(Change::Part));
    }

    #[test]
    fn a_packet_that_is_lost_and_then_arrives_counts_once() {
        let mut test = Test::new();
        test.lose(MESSAGES - 1);
        test.blocks(20);
        let told = |arrived, lost| Watched { arrived, lost };
        test.watched = told(0, 10);
        assert_eq!(test.blocks(20).0, None);
        test.watched = told(10, 0);
        test.blocks(20);
        assert_eq!(test.awaited, 20, "ten are open: no other message yet");
        assert!(test.company.awaited.is_some());
        test.watched = told(10, 10);
        test.blocks(20);
        test.fate(0);
        assert_eq!(test.blocks(20).0, None, "the first of a new row");
    }

    #[test]
    fn packets_that_go_alone_say_nothing() {
        let mut test = Test::new();
        for packets in [
            &[(Kind::Data, LONG)][..],
            // A longer one begins a message of its own.
            &[(Kind::Control, 0), (Kind::Data, LONG)],
            // Nobody acknowledges the one, and a probe may be too long.
            &[(Kind::Data, LONG), (Kind::Ack, 8)],
            &[(Kind::Probe, 3072), (Kind::Control, 0)],
        ] {
            test.turn(packets);
            assert_eq!(test.awaited, 0, "{packets:?}");
        }
        let mixed = [
            (Kind::Ack, 8),
            (Kind::Data, LONG),
            (Kind::Data, LONG),
            (Kind::Control, 0),
            (Kind::Control, 0),
        ];
        let mut company = Company::default();
        company.begin_turn(test.now, Watched::default());
        for (number, (kind, len)) in mixed.into_iter().enumerate() {
            let mut header = Header::new(kind, 5);
            header.packet_number = (number as u64).into();
            header.payload_len = len.into();
            company.sent(&header);
        }
        let watched: Vec<u64> = company.end_turn().unwrap().collect();
        assert_eq!(watched, [1, 2, 3], "the last one is a message of its own");
    }

    #[test]
    fn messages_are_tried_again_ever_more_rarely() {
        let mut test = Test::new();
        test.lose(MESSAGES);
        test.blocks(20);
        let mut wait = FIRST_WAIT.as_secs();
        for _ in 0..10 {
            test.wait(wait - 1);
            assert!(!test.shares(), "{wait}");
            test.wait(1);
            let (_, went) = test.blocks(20);
            assert_eq!(went[..TRIAL], [Grouping::Allowed; TRIAL], "{wait}");
            assert_eq!(went[TRIAL..], [Grouping::Alone; 20 - TRIAL]);
            assert_eq!(test.awaited, TRIAL as u64);
            assert!(!test.shares(), "the outcome is awaited");
            test.fate(0);
            assert_eq!(test.blocks(20), (None, vec![Grouping::Alone; 20]));
            wait = (wait * 2).min(LONGEST_WAIT.as_secs());
        }
    }

    #[test]
    fn a_trial_that_arrives_joins_them_again() {
        let mut test = Test::new();
        test.lose(MESSAGES);
        test.blocks(20);
        test.wait(FIRST_WAIT.as_secs());
        assert_eq!(test.blocks(1).1, [Grouping::Allowed]);
        assert_eq!(test.awaited, 0, "one is no message of several");
        test.blocks(20);
        test.fate(2);
        assert_eq!(
            test.blocks(20),
            (Some(Change::Join), vec![Grouping::Allowed; 20])
        );
        test.fate(20);
        test.lose(MESSAGES);
        assert_eq!(test.blocks(20).0, Some(Change::Part));
        test.wait(FIRST_WAIT.as_secs());
        assert!(!test.shares(), "the second time it takes longer");
        test.wait(FIRST_WAIT.as_secs());
        assert!(test.shares());
    }
}
