//! Whether a session's packets may share messages on their way to the kernel (`UDP_SEGMENT`, udp(7)).
//!
//! Software devices pass such a message on in one piece, and there are receivers that cannot take it: the XDP program in generic mode
//! sees one packet of up to 64 KiB with a single header. Single datagrams get through to the same receiver. The sender
//! cannot ask; it sees that packets which went together are lost, and not just some.

use crate::udp::Grouping;

/// Before so many packets went together, nothing can be said.
const LEAST: u64 = 16;
/// When more than one in so many is lost, they go one by one. No path on which a transfer gets on loses as many.
const SHARE: u64 = 4;

/// How a session's packets go; once they go alone, it stays so.
#[derive(Debug, Default)]
pub struct Company {
    alone: bool,
    /// Packets that the link got with others of the session in one turn, and so in a message as far as their lengths allow.
    together: u64,
}

impl Company {
    /// How its next packets go.
    pub fn grouping(&self) -> Grouping {
        match self.alone {
            true => Grouping::Alone,
            false => Grouping::Allowed,
        }
    }

    /// Takes note of so many packets that were sent in one turn.
    pub fn sent(&mut self, packets: u64) {
        if packets > 1 && !self.alone {
            self.together += packets;
        }
    }

    /// `lost`: packets of the session that were lost until now. Says whether they go alone from now on, when that is new.
    pub fn judge(&mut self, lost: u64) -> bool {
        let parts = !self.alone && self.together >= LEAST && lost * SHARE > self.together;
        self.alone |= parts;
        parts
    }

    /// Packets that went together.
    pub fn together(&self) -> u64 {
        self.together
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_a_quarter_of_sixteen_lost_parts_them_for_good() {
        let mut company = Company::default();
        company.sent(15);
        assert!(!company.judge(15), "too few to tell");
        company.sent(1);
        assert!(!company.judge(15), "one that went alone does not count");
        company.sent(5);
        assert_eq!(company.together(), 20);
        assert!(!company.judge(5), "a quarter");
        assert_eq!(company.grouping(), Grouping::Allowed);
        assert!(company.judge(6));
        assert_eq!(company.grouping(), Grouping::Alone);
        assert!(!company.judge(7), "told once");
        company.sent(100);
        assert!(!company.judge(0));
        assert_eq!(company.grouping(), Grouping::Alone);
    }

    #[test]
    fn losses_of_a_path_that_carries_messages_part_nothing() {
        let mut company = Company::default();
        for turn in 1..1000 {
            company.sent(50);
            assert!(!company.judge(turn * 10));
        }
        assert_eq!(company.grouping(), Grouping::Allowed);
    }
}
