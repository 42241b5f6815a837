//! The bytes of simulated files: a function of the file and the offset, so that any piece of any block can be made and
//! checked without keeping files in memory.

use super::random::mix;

/// Bytes that one word of content covers.
const WORD: u64 = 8;

/// Which contents: one version of one client's file. Each attempt to put a file has contents of its own, so bytes that
/// stray from an earlier attempt into a later one are wrong.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Contents {
    /// Whose file.
    pub client: u32,
    /// Which of its files.
    pub file: u32,
    /// Counts the attempts to put it.
    pub version: u32,
}

impl core::fmt::Display for Contents {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self {
            client,
            file,
            version,
        } = self;
        write!(f, "file {file} of client {client} (version {version})")
    }
}

impl Contents {
    const fn key(self) -> u64 {
        mix(((self.client as u64) << 48) ^ ((self.file as u64) << 24) ^ self.version as u64)
    }

    /// Writes the bytes from file offset `offset` on over `out`.
    pub fn fill(self, offset: u64, out: &mut [u8]) {
        let key = self.key();
        let mut at = offset / WORD;
        let skip = (offset % WORD) as usize;
        let mut rest = out;
        if skip > 0 {
            let bytes = word(key, at);
            let len = rest.len().min(bytes.len() - skip);
            let (head, tail) = rest.split_at_mut(len);
            head.copy_from_slice(&bytes[skip..skip + len]);
            rest = tail;
            at += 1;
        }
        for chunk in rest.chunks_mut(WORD as usize) {
            chunk.copy_from_slice(&word(key, at)[..chunk.len()]);
            at += 1;
        }
    }

    /// Whether these are the bytes from file offset `offset` on; `scratch` is memory to work in.
    #[must_use]
    pub fn matches(self, offset: u64, bytes: &[u8], scratch: &mut Vec<u8>) -> bool {
        scratch.clear();
        scratch.resize(bytes.len(), 0);
        self.fill(offset, scratch);
        bytes == scratch.as_slice()
    }
}

const fn word(key: u64, at: u64) -> [u8; WORD as usize] {
    mix(key.wrapping_add(at.wrapping_mul(0x9e37_79b9_7f4a_7c15))).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: Contents = Contents {
        client: 1,
        file: 2,
        version: 3,
    };

    #[test]
    fn pieces_are_parts_of_the_whole() {
        let mut whole = [0; 100];
        FILE.fill(0, &mut whole);
        let mut scratch = Vec::new();
        for start in 0..40 {
            for end in start..100 {
                assert!(FILE.matches(start as u64, &whole[start..end], &mut scratch));
            }
        }
        assert!(!FILE.matches(1, &whole[..50], &mut scratch));
    }

    #[test]
    fn versions_differ() {
        let (mut one, mut other) = ([0; 16], [0; 16]);
        FILE.fill(0, &mut one);
        Contents { version: 4, ..FILE }.fill(0, &mut other);
        assert_ne!(one, other);
    }
}
