//! Where the control port is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Where it is unless another port is given.
pub const PORT: u16 = 7441;

/// `ADDR`, `ADDR:PORT`, or with IPv6 `ADDR`, `[ADDR]` or `[ADDR]:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control(pub SocketAddr);

impl FromStr for Control {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        let inner = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let address: Result<IpAddr, _> = match inner {
            Some(inner) => inner.parse().map(IpAddr::V6),
            None => text.parse(),
        };
        match address {
            Ok(address) => Ok(Self(SocketAddr::new(address, PORT))),
            Err(_) => Err("neither ADDR nor ADDR:PORT ([ADDR]:PORT of IPv6)".to_owned()),
        }
    }
}

impl fmt::Display for Control {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_port_and_brackets() {
        for (text, expected) in [
            ("10.0.0.1", "10.0.0.1:7441"),
            ("10.0.0.1:9", "10.0.0.1:9"),
            ("::1", "[::1]:7441"),
            ("fd77::1:7441", "[fd77::1:7441]:7441"),
            ("[::1]", "[::1]:7441"),
            ("[::1]:9", "[::1]:9"),
        ] {
            let parsed: Result<Control, _> = text.parse();
            assert_eq!(
                parsed.map(|control| control.to_string()),
                Ok(expected.to_owned())
            );
        }
        for wrong in ["", "host", "[10.0.0.1]", "[::1", "::1]", "10.0.0.1:99999"] {
            assert!(wrong.parse::<Control>().is_err(), "{wrong}");
        }
    }
}
