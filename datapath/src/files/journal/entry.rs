//! One entry of a journal: eight bytes that say of one piece whether it is there, and its checksum.
//!
//! ```text
//!   63            34 33   32 31             0
//!  │ check, 30 bits │ state │ CRC32 of piece │      little-endian; all zeros: not there
//! ```
//!
//! The check is over all else that the entry means: the journal, the piece, the state, the checksum, and for a state that
//! holds in one boot only, the boot. So an entry that was torn, that stood in another place or journal before, or that was
//! made before the machine lost what it had not put to the disk, is no entry.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// Bytes of an entry: one aligned word, which neither a copy into the page cache nor a sector of a disk tears.
pub(in crate::files) const ENTRY_LEN: u64 = 8;

/// Names one journal; random.
pub(in crate::files) type JournalId = [u8; 16];

/// Names one run of the kernel, from its start to its end.
pub(in crate::files) type BootId = [u8; 16];

/// What is known of a piece that was written.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(in crate::files) enum State {
    /// The kernel has it: a crash of this program does not take it back, one of the machine may.
    Written = 1,
    /// It is durable.
    Synced = 2,
}

const CHECK_BITS: u32 = 30;

/// Makes and reads the entries of one journal.
#[derive(Copy, Clone, Debug)]
pub(in crate::files) struct Entries {
    pub(in crate::files) journal: JournalId,
    pub(in crate::files) boot: BootId,
}

impl Entries {
    pub(in crate::files) fn encode(&self, piece: u64, crc: u32, state: State) -> u64 {
        let low = u64::from(crc) | (state as u64) << 32;
        low | self.check(piece, low, state) << 34
    }

    /// State and checksum of a piece, if its entry is one.
    pub(in crate::files) fn decode(&self, piece: u64, word: u64) -> Option<(State, u32)> {
        let crc = word as u32;
        let state = match word >> 32 & 3 {
            1 => State::Written,
            2 => State::Synced,
            _ => return None,
        };
        (self.encode(piece, crc, state) == word).then_some((state, crc))
    }

    fn check(&self, piece: u64, low: u64, state: State) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.journal);
        hasher.write_u64(piece);
        hasher.write_u64(low);
        if state == State::Written {
            hasher.write(&self.boot);
        }
        hasher.finish() & ((1 << CHECK_BITS) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ENTRIES: Entries = Entries {
        journal: [7; 16],
        boot: [9; 16],
    };

    #[test]
    fn what_a_new_table_holds_is_no_entry() {
        for piece in 0..1000 {
            assert_eq!(ENTRIES.decode(piece, 0), None);
            assert_eq!(ENTRIES.decode(piece, u64::MAX), None);
        }
    }

    #[test]
    fn another_boot_knows_only_what_is_durable() {
        let after = Entries {
            boot: [10; 16],
            ..ENTRIES
        };
        let written = ENTRIES.encode(5, 77, State::Written);
        let synced = ENTRIES.encode(5, 77, State::Synced);
        assert_eq!(ENTRIES.decode(5, written), Some((State::Written, 77)));
        assert_eq!(after.decode(5, written), None);
        assert_eq!(after.decode(5, synced), Some((State::Synced, 77)));
    }

    proptest! {
        #[test]
        fn an_entry_holds_for_its_piece_and_journal_only(piece: u64, crc: u32, bit in 0u32..64, other: u64) {
            for state in [State::Written, State::Synced] {
                let word = ENTRIES.encode(piece, crc, state);
                prop_assert_eq!(ENTRIES.decode(piece, word), Some((state, crc)));
                prop_assert_eq!(ENTRIES.decode(piece, word ^ 1 << bit), None);
                let elsewhere = Entries { journal: [8; 16], ..ENTRIES };
                prop_assert_eq!(elsewhere.decode(piece, word), None);
                if other != piece {
                    prop_assert_eq!(ENTRIES.decode(other, word), None);
                }
            }
        }
    }
}
