//! What simulated hosts say to each other: the protocol of a small put and a small get.
//!
//! ```text
//!   client                                   server
//!   Open ───────────────────────────────────► makes a temporary file
//!        ◄─────────────────────────── Ready ──
//!   blocks ═════════════════════════════════► to the disk
//!   Commit, when all are acknowledged ──────► waits for the writes, syncs, gives it its name
//!        ◄─────────────────────── Committed ──
//!
//!   Get ────────────────────────────────────► looks the file up
//!        ◄────────────────── Found, Missing ──
//!   Read ───────────────────────────────────►
//!        ◄════════════════════════════ blocks
//!        ◄──────────────────────────── Done ── when all are acknowledged
//! ```
//!
//! Every message carries its number and bytes that depend on it, so that loss, doubling and mixing are noticed.

use super::content::Contents;
use super::invariants::Broken;

/// A message.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Client: blocks of this file will come.
    Open {
        /// Number of the transfer.
        transfer: u32,
        /// What it will contain.
        contents: Contents,
        /// Its size in bytes.
        size: u64,
    },
    /// Server, to Open: they may.
    Ready(u32),
    /// Client: all blocks are acknowledged, make it durable.
    Commit(u32),
    /// Server, to Commit: it is.
    Committed(u32),
    /// Client: what is this file of its own?
    Get {
        /// Number of the transfer.
        transfer: u32,
        /// The file.
        file: u32,
    },
    /// Server, to Get: this.
    Found {
        /// Number of the transfer.
        transfer: u32,
        /// Its contents.
        contents: Contents,
        /// Its size in bytes.
        size: u64,
    },
    /// Server, to Get: there is none.
    Missing(u32),
    /// Client: send it.
    Read(u32),
    /// Server, to Read: all blocks are acknowledged.
    Done(u32),
    /// Client: forget this transfer.
    Cancel(u32),
    /// Either: nothing in particular.
    Noise,
}

/// Number, tag, transfer, contents, size.
const HEAD: usize = 8 + 1 + 4 + 12 + 8;

impl Message {
    const fn fields(self) -> (u8, u32, Contents, u64) {
        const NONE: Contents = Contents {
            client: 0,
            file: 0,
            version: 0,
        };
        match self {
            Self::Open {
                transfer,
                contents,
                size,
            } => (1, transfer, contents, size),
            Self::Ready(transfer) => (2, transfer, NONE, 0),
            Self::Commit(transfer) => (3, transfer, NONE, 0),
            Self::Committed(transfer) => (4, transfer, NONE, 0),
            Self::Get { transfer, file } => (5, transfer, Contents { file, ..NONE }, 0),
            Self::Found {
                transfer,
                contents,
                size,
            } => (6, transfer, contents, size),
            Self::Missing(transfer) => (7, transfer, NONE, 0),
            Self::Read(transfer) => (8, transfer, NONE, 0),
            Self::Done(transfer) => (9, transfer, NONE, 0),
            Self::Cancel(transfer) => (10, transfer, NONE, 0),
            Self::Noise => (11, 0, NONE, 0),
        }
    }

    const fn from_fields(tag: u8, transfer: u32, contents: Contents, size: u64) -> Option<Self> {
        Some(match tag {
            1 => Self::Open {
                transfer,
                contents,
                size,
            },
            2 => Self::Ready(transfer),
            3 => Self::Commit(transfer),
            4 => Self::Committed(transfer),
            5 => Self::Get {
                transfer,
                file: contents.file,
            },
            6 => Self::Found {
                transfer,
                contents,
                size,
            },
            7 => Self::Missing(transfer),
            8 => Self::Read(transfer),
            9 => Self::Done(transfer),
            10 => Self::Cancel(transfer),
            11 => Self::Noise,
            _ => return None,
        })
    }

    /// The message with this number in its direction, and `filler` bytes more.
    #[must_use]
    pub fn encode(self, number: u64, filler: usize) -> Vec<u8> {
        let (tag, transfer, contents, size) = self.fields();
        let mut bytes = Vec::with_capacity(HEAD + filler);
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.push(tag);
        for field in [transfer, contents.client, contents.file, contents.version] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&size.to_le_bytes());
        bytes.resize(HEAD + filler, 0);
        filler_of(number).fill(0, &mut bytes[HEAD..]);
        bytes
    }

    /// Reads a message that must be the one with number `expected`; `scratch` is memory to work in.
    ///
    /// # Errors
    /// It is another one, or its bytes are wrong.
    pub fn decode(bytes: &[u8], expected: u64, scratch: &mut Vec<u8>) -> Result<Self, Broken> {
        let wrong = || Broken::MessageBytes(expected);
        let (number, rest) = bytes.split_first_chunk::<8>().ok_or_else(wrong)?;
        let found = u64::from_le_bytes(*number);
        if found != expected {
            return Err(Broken::MessageOrder { expected, found });
        }
        let (tag, rest) = rest.split_first().ok_or_else(wrong)?;
        let (fields, rest) = rest.split_first_chunk::<16>().ok_or_else(wrong)?;
        let field = |at: usize| {
            u32::from_le_bytes([fields[at], fields[at + 1], fields[at + 2], fields[at + 3]])
        };
        let (size, filler) = rest.split_first_chunk::<8>().ok_or_else(wrong)?;
        if !filler_of(number_of(*number)).matches(0, filler, scratch) {
            return Err(wrong());
        }
        let contents = Contents {
            client: field(4),
            file: field(8),
            version: field(12),
        };
        Self::from_fields(*tag, field(0), contents, u64::from_le_bytes(*size)).ok_or_else(wrong)
    }
}

const fn number_of(bytes: [u8; 8]) -> u64 {
    u64::from_le_bytes(bytes)
}

const fn filler_of(number: u64) -> Contents {
    Contents {
        client: u32::MAX,
        file: (number >> 32) as u32,
        version: number as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENTS: Contents = Contents {
        client: 3,
        file: 2,
        version: 1,
    };

    #[test]
    fn messages_survive() {
        let mut scratch = Vec::new();
        let all = [
            Message::Open {
                transfer: 1,
                contents: CONTENTS,
                size: 1 << 40,
            },
            Message::Ready(1),
            Message::Commit(2),
            Message::Committed(3),
            Message::Get {
                transfer: 4,
                file: 9,
            },
            Message::Found {
                transfer: 5,
                contents: CONTENTS,
                size: 0,
            },
            Message::Missing(6),
            Message::Read(7),
            Message::Done(8),
            Message::Cancel(9),
            Message::Noise,
        ];
        for (number, message) in (0u64..).zip(all) {
            let bytes = message.encode(number, number as usize * 100);
            assert_eq!(Message::decode(&bytes, number, &mut scratch), Ok(message));
        }
    }

    #[test]
    fn other_messages_and_other_bytes_are_noticed() {
        let mut scratch = Vec::new();
        let mut bytes = Message::Noise.encode(5, 50);
        let order = Message::decode(&bytes, 4, &mut scratch).unwrap_err();
        assert!(matches!(
            order,
            Broken::MessageOrder {
                expected: 4,
                found: 5
            }
        ));
        bytes[HEAD + 49] ^= 1;
        let wrong = Message::decode(&bytes, 5, &mut scratch).unwrap_err();
        assert_eq!(wrong, Broken::MessageBytes(5));
        assert!(Message::decode(&bytes[..20], 5, &mut scratch).is_err());
    }
}
