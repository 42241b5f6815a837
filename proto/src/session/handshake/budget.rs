//! How many bytes may go to an address that nobody has proved to be the client's.

/// Factor between what has come from an address and what may go there (RFC 9000, section 8.1).
const AMPLIFICATION: u64 = 3;

/// Keeps a server from being used to send more to a forged address than came from it.
///
/// All bytes are those of UDP payloads.
#[derive(Copy, Clone, Debug)]
pub(in crate::session) struct AddressBudget {
    /// The peer has shown that it receives at its address: anything may go there.
    validated: bool,
    received: u64,
    sent: u64,
}

impl AddressBudget {
    /// Of an address that is known to be right: the one that a client chose to greet.
    pub(in crate::session) const VALIDATED: Self = Self {
        validated: true,
        received: 0,
        sent: 0,
    };
    /// Of an address that a packet named as its source.
    pub(in crate::session) const UNPROVEN: Self = Self {
        validated: false,
        ..Self::VALIDATED
    };

    pub(in crate::session) const fn is_validated(&self) -> bool {
        self.validated
    }

    pub(in crate::session) fn validate(&mut self) {
        self.validated = true;
    }

    /// So many bytes have come from the address.
    pub(in crate::session) fn on_received(&mut self, bytes: usize) {
        self.received = self.received.saturating_add(bytes as u64);
    }

    /// Whether so many bytes may go there now. If so, they count as sent.
    pub(in crate::session) fn spend(&mut self, bytes: usize) -> bool {
        let sent = self.sent.saturating_add(bytes as u64);
        let may = self.validated || sent <= self.received.saturating_mul(AMPLIFICATION);
        if may {
            self.sent = sent;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_more_than_three_times_what_came_goes_out(
            steps in proptest::collection::vec((any::<bool>(), 0usize..10_000), 0..100),
        ) {
            let mut budget = AddressBudget::UNPROVEN;
            let (mut received, mut sent) = (0, 0);
            for (incoming, bytes) in steps {
                if incoming {
                    budget.on_received(bytes);
                    received += bytes;
                } else if budget.spend(bytes) {
                    sent += bytes;
                } else {
                    prop_assert!(sent + bytes > 3 * received, "refused without need");
                }
                prop_assert!(sent <= 3 * received);
            }
            budget.validate();
            prop_assert!(budget.spend(usize::MAX));
        }
    }
}
