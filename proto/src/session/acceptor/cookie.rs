//! Cookies: what proves, to a server that keeps nothing, that a client received a packet at its address.
//!
//! ```text
//!   0                       8                                16-byte tag                      24
//!   │ second of its making  │ SipHash-2-4-128(key, second, source address, port, client's session id) │
//! ```
//!
//! SipHash is made for this: a keyed hash of short inputs that who does not have the key can neither compute nor predict,
//! at some 50 ns a cookie, without tables or wide registers; Linux keys its TCP SYN cookies and fast-open cookies with it.
//! The 128-bit variant leaves nothing to guess: one try in 2^128 passes. A cryptographic hash such as BLAKE3 would do
//! as well, but costs more per Hello, which is what a flood multiplies.
//!
//! The key changes every [`KEY_PERIOD`] seconds. Each one is derived from the secret and the number of its period, so the
//! one before is at hand when a cookie was made with it; the key that hashes outside data is never the secret itself.

use core::hash::Hasher;
use core::hint::black_box;
use std::net::{IpAddr, SocketAddr};

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::session::handshake::COOKIE_LEN;
use crate::time::Time;

/// For so many seconds after its making a cookie is good: longer than a client goes on asking.
pub(super) const LIFETIME: u64 = 10;
/// A key is used for so many seconds.
const KEY_PERIOD: u64 = 600;
const SECOND: u64 = 1_000_000_000;
const TIME_LEN: usize = 8;
const TAG_LEN: usize = 16;
const _: () = assert!(TIME_LEN + TAG_LEN == COOKIE_LEN);

/// Makes and checks cookies.
pub(super) struct CookieMaker {
    /// Derives the keys.
    master: [u8; 16],
    /// Goes into each derivation.
    salt: [u8; 16],
}

impl core::fmt::Debug for CookieMaker {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("CookieMaker(secret)")
    }
}

impl CookieMaker {
    pub(super) fn new(secret: &[u8; 32]) -> Self {
        let (mut master, mut salt) = ([0; 16], [0; 16]);
        master.copy_from_slice(&secret[..16]);
        salt.copy_from_slice(&secret[16..]);
        Self { master, salt }
    }

    /// A cookie for the client `id` at `source`.
    pub(super) fn make(&self, now: Time, source: SocketAddr, id: u32) -> [u8; COOKIE_LEN] {
        let second = now.as_nanos() / SECOND;
        let mut cookie = [0; COOKIE_LEN];
        cookie[..TIME_LEN].copy_from_slice(&second.to_le_bytes());
        cookie[TIME_LEN..].copy_from_slice(&self.tag(second, source, id));
        cookie
    }

    /// Whether this is a cookie that was made for this client at this address, not long ago.
    pub(super) fn is_good(&self, now: Time, source: SocketAddr, id: u32, cookie: &[u8]) -> bool {
        let Ok(cookie) = <&[u8; COOKIE_LEN]>::try_from(cookie) else {
            return false;
        };
        let mut second = [0; TIME_LEN];
        second.copy_from_slice(&cookie[..TIME_LEN]);
        let second = u64::from_le_bytes(second);
        let age = (now.as_nanos() / SECOND).checked_sub(second);
        if age.is_none_or(|age| age > LIFETIME) {
            return false;
        }
        is_equal(&self.tag(second, source, id), &cookie[TIME_LEN..])
    }

    fn tag(&self, second: u64, source: SocketAddr, id: u32) -> [u8; TAG_LEN] {
        let mut hasher = SipHasher24::new_with_key(&self.key(second / KEY_PERIOD));
        hasher.write(&second.to_le_bytes());
        hasher.write(&id.to_le_bytes());
        hasher.write(&source.port().to_le_bytes());
        // The lengths differ, so addresses of the two families are told apart.
        match source.ip() {
            IpAddr::V4(address) => hasher.write(&address.octets()),
            IpAddr::V6(address) => hasher.write(&address.octets()),
        }
        hasher.finish128().as_bytes()
    }

    /// The key of a period.
    fn key(&self, period: u64) -> [u8; 16] {
        let mut hasher = SipHasher24::new_with_key(&self.master);
        hasher.write(&self.salt);
        hasher.write(&period.to_le_bytes());
        hasher.finish128().as_bytes()
    }
}

/// Compares in a time that does not depend on where the difference is.
fn is_equal(ours: &[u8; TAG_LEN], theirs: &[u8]) -> bool {
    let difference = ours
        .iter()
        .zip(theirs)
        .fold(0, |all, (a, b)| black_box(all | (a ^ b)));
    theirs.len() == TAG_LEN && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use proptest::prelude::*;

    const NOW: Time = Time::from_nanos(100 * SECOND + 7);

    fn maker() -> CookieMaker {
        CookieMaker::new(&core::array::from_fn(|at| at as u8))
    }

    fn source() -> SocketAddr {
        "192.0.2.1:4000".parse().unwrap()
    }

    #[test]
    fn a_cookie_is_good_for_its_client_for_a_while() {
        let maker = maker();
        let cookie = maker.make(NOW, source(), 5);
        for (seconds, good) in [(0, true), (LIFETIME - 1, true), (LIFETIME + 1, false)] {
            let later = NOW + Duration::from_secs(seconds);
            assert_eq!(maker.is_good(later, source(), 5, &cookie), good);
        }
        let before = Time::from_nanos(99 * SECOND);
        assert!(!maker.is_good(before, source(), 5, &cookie));
        assert!(!maker.is_good(NOW, source(), 6, &cookie), "another client");
        for other in [
            "192.0.2.2:4000",
            "192.0.2.1:4001",
            "[::ffff:192.0.2.1]:4000",
        ] {
            assert!(!maker.is_good(NOW, other.parse().unwrap(), 5, &cookie));
        }
        assert!(!CookieMaker::new(&[9; 32]).is_good(NOW, source(), 5, &cookie));
    }

    #[test]
    fn a_cookie_of_the_key_before_is_still_good() {
        let maker = maker();
        let last = Time::from_nanos((3 * KEY_PERIOD - 1) * SECOND);
        let cookie = maker.make(last, source(), 5);
        let later = last + Duration::from_secs(5);
        assert_ne!(maker.key(2), maker.key(3));
        assert!(maker.is_good(later, source(), 5, &cookie));
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", maker()), "CookieMaker(secret)");
    }

    proptest! {
        #[test]
        fn a_changed_cookie_is_worth_nothing(at in 0..COOKIE_LEN, flip in 1u8..=255) {
            let maker = maker();
            let mut cookie = maker.make(NOW, source(), 5);
            cookie[at] ^= flip;
            prop_assert!(!maker.is_good(NOW, source(), 5, &cookie));
        }

        #[test]
        fn other_bytes_are_worth_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(!maker().is_good(NOW, source(), 5, &bytes));
        }
    }
}
