//! Addresses that an allow-list entry stands for.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IPv4 or IPv6 network: an address and the number of its leading bits that count (RFC 4632).
///
/// Written `10.0.0.0/8`, `fd00:77::/64`, or as a single address without a prefix length.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Not a network.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NetworkError {
    /// Not an IP address in front of the slash.
    #[error("{0:?} is no network: write 10.0.0.0/8, fd00:77::/64, or a single IP address")]
    Syntax(String),
    /// The prefix is longer than the address, or no number.
    #[error("prefix length {prefix:?}: for {address} it is a number from 0 to {most}")]
    Prefix {
        /// The address.
        address: IpAddr,
        /// What stands behind the slash.
        prefix: String,
        /// Bits of such an address.
        most: u8,
    },
    /// The address has bits behind its prefix: the network, or the prefix, is mistaken.
    #[error("{address}/{prefix} has bits beyond its prefix: write {network}, or a longer prefix")]
    HostBits {
        /// The address.
        address: IpAddr,
        /// The prefix length.
        prefix: u8,
        /// The network that the address is in.
        network: Network,
    },
}

impl Network {
    /// The network of all addresses that share the first `prefix` bits with `address`, whose other bits are 0. An
    /// IPv4-mapped IPv6 network is taken for the IPv4 one, since that is what the packets are.
    ///
    /// # Errors
    /// [`NetworkError`] when the prefix is too long, or bits behind it are set.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self, NetworkError> {
        let most = bits(address);
        if prefix > most {
            let prefix = prefix.to_string();
            return Err(NetworkError::Prefix {
                address,
                prefix,
                most,
            });
        }
        let network = Self {
            address: masked(address, prefix),
            prefix,
        };
        if network.address != address {
            return Err(NetworkError::HostBits {
                address,
                prefix,
                network,
            });
        }
        Ok(match address.to_canonical() {
            IpAddr::V4(short) if address.is_ipv6() && prefix >= 96 => Self {
                address: short.into(),
                prefix: prefix - 96,
            },
            _ => network,
        })
    }

    /// The network's first address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// How many leading bits count.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        self.prefix
    }
}

/// Bits of an address.
const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The address with all bits behind the prefix, which is not longer than it, cleared.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let shift = u32::from(bits(address) - prefix);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(shift).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(shift).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

impl From<IpAddr> for Network {
    /// The network of this address alone.
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self {
            address,
            prefix: bits(address),
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| NetworkError::Syntax(text.to_owned()))?;
        let Some(prefix) = prefix else {
            return Ok(address.into());
        };
        let number = prefix.parse().map_err(|_| NetworkError::Prefix {
            address,
            prefix: prefix.to_owned(),
            most: bits(address),
        })?;
        Self::new(address, number)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn networks_read_as_they_are_written() {
        for text in [
            "10.0.0.0/8",
            "0.0.0.0/0",
            "10.1.2.3/32",
            "::/0",
            "fd00:77::/64",
            "fd00::1/128",
        ] {
            assert_eq!(network(text).to_string(), text);
        }
        assert_eq!(network("10.1.2.3").to_string(), "10.1.2.3/32");
        assert_eq!(network("fd00::1").to_string(), "fd00::1/128");
        assert_eq!(network("::ffff:10.0.0.0/104"), network("10.0.0.0/8"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
    }

    #[test]
    fn what_is_no_network_is_refused_with_a_hint() {
        let refused = |text: &str| text.parse::<Network>().unwrap_err();
        for text in ["", "/8", "host", "10.0.0/8", "10.0.0.0.0/8", "fd00::/64/1x"] {
            let error = refused(text);
            let known = matches!(error, NetworkError::Syntax(_) | NetworkError::Prefix { .. });
            assert!(known, "{text}: {error:?}");
        }
        for text in ["10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "::/129"] {
            let error = refused(text);
            assert!(matches!(error, NetworkError::Prefix { .. }), "{text}");
        }
        let error = refused("10.1.0.1/8");
        assert!(matches!(error, NetworkError::HostBits { .. }), "{error:?}");
        assert!(error.to_string().contains("10.0.0.0/8"), "{error}");
        assert!(refused("fd00::1/64").to_string().contains("fd00::/64"));
        assert!(refused("10.0.0.1/0").to_string().contains("0.0.0.0/0"));
    }
}
