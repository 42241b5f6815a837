//! What the program has counted.

use std::fmt;
use std::ops::AddAssign;

use crate::abi::Verdict;

/// Packets by what the program did with them, since it was loaded.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Given to an AF_XDP socket. The kernel may still drop one: no free frame, or a socket bound to
    /// another queue than its slot's; the socket's own statistics tell.
    pub redirected: u64,
    /// To the port of a service, but without a socket in its slot: passed to the kernel.
    pub no_socket: u64,
    /// Not UDP, or to ports that nobody has claimed on their queue: passed to the kernel.
    pub not_ours: u64,
    /// Fragments of UDP datagrams, to whatever port: passed to the kernel.
    pub fragments: u64,
    /// UDP behind IPv6 extension headers that are not followed (more than four, more than 128 bytes, a route that
    /// does not end here), to whatever port: passed to the kernel.
    pub options: u64,
    /// With truncated or contradictory headers: passed to the kernel.
    pub malformed: u64,
    /// To the port of a service from a source that the allow-list does not let in: dropped.
    pub not_allowed: u64,
    /// To a claimed port, shorter than the protocol's header: dropped.
    pub too_short: u64,
    /// Handshake packets of sources that have sent too many: dropped.
    pub handshakes_limited: u64,
    /// To the port of a service, but without a socket in its slot: given to the kernel on another CPU. What that CPU's
    /// queue has no room for is dropped there.
    pub kernel_cpu: u64,
}

impl Counters {
    /// Those that `count` tells for each verdict.
    pub(crate) fn by(mut count: impl FnMut(Verdict) -> u64) -> Self {
        let mut counters = Self::default();
        for verdict in Verdict::ALL {
            *counters.of_mut(verdict) = count(verdict);
        }
        counters
    }

    /// Name and value of each, in the order of their numbers in the program.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let mut counters = *self;
        let named = Verdict::ALL.map(|verdict| (verdict.name(), *counters.of_mut(verdict)));
        named.into_iter()
    }

    const fn of_mut(&mut self, verdict: Verdict) -> &mut u64 {
        match verdict {
            Verdict::Redirected => &mut self.redirected,
            Verdict::NoSocket => &mut self.no_socket,
            Verdict::NotOurs => &mut self.not_ours,
            Verdict::Fragment => &mut self.fragments,
            Verdict::Options => &mut self.options,
            Verdict::Malformed => &mut self.malformed,
            Verdict::NotAllowed => &mut self.not_allowed,
            Verdict::TooShort => &mut self.too_short,
            Verdict::HandshakeLimit => &mut self.handshakes_limited,
            Verdict::KernelCpu => &mut self.kernel_cpu,
        }
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, mut other: Self) {
        for verdict in Verdict::ALL {
            *self.of_mut(verdict) += *other.of_mut(verdict);
        }
    }
}

impl fmt::Display for Counters {
    /// `NAME=VALUE` for each, with spaces in between.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.named().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{name}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verdict_has_a_counter_and_a_name_of_its_own() {
        let mut counters = Counters::by(|verdict| 1 << verdict as u32);
        let told: Vec<_> = counters.named().collect();
        assert_eq!(told.len(), Verdict::COUNT as usize);
        for (number, (_, value)) in told.iter().enumerate() {
            assert_eq!(*value, 1 << number);
        }
        // The names are those of the fields, as the derived Debug says.
        let debug = format!("{counters:?}");
        for (name, value) in told {
            assert!(debug.contains(&format!(" {name}: {value}")), "{name}");
        }
        counters += counters;
        assert_eq!((counters.redirected, counters.kernel_cpu), (2, 1024));
        let text = Counters::default().to_string();
        assert!(text.starts_with("redirected=0 no_socket=0 "), "{text}");
    }
}
