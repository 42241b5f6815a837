//! Names that file systems allow and programs stumble over.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use blk_bench::wire::random::Random;

/// Each one is made unlike the others by a number behind it.
const NASTY: [&[u8]; 20] = [
    b"plain",
    b"two words",
    b" before",
    b"line\nbreak",
    b"tab\there",
    b"\xff\xfe not UTF-8",
    b"caf\xc3\xa9",
    b"caf\xe9",
    b"*",
    b"a?c",
    b"[set]",
    b"back\\slash",
    b"colon:name",
    b"-option",
    b"--delete",
    b".hidden",
    b"~tilde",
    b"quote\"'`$x",
    b"\x01\x1b[31mred",
    b"#hash;&|<>",
];

/// A name; no two numbers give the same.
pub fn name(random: &mut Random, number: u64) -> OsString {
    let mut bytes = NASTY[random.below(NASTY.len() as u64) as usize].to_vec();
    // A name of 255 bytes, the longest there is, now and then.
    if random.chance(0.03) {
        bytes.resize(255 - 8, b'x');
    }
    bytes.extend_from_slice(format!(" {number:07}").as_bytes());
    // One of the ends is where patterns and shells look.
    if random.chance(0.1) {
        bytes.rotate_right(8);
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn all_names_are_allowed_and_unlike() {
        let mut random = Random::new(1);
        let names: HashSet<_> = (0..2_000).map(|i| name(&mut random, i)).collect();
        assert_eq!(names.len(), 2_000);
        for name in names {
            let bytes = name.into_vec();
            assert!(!bytes.is_empty() && bytes.len() <= 255, "{bytes:?}");
            assert!(!bytes.contains(&b'/') && !bytes.contains(&0), "{bytes:?}");
        }
    }
}
