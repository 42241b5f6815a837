//! The addresses of a host, which are tried one after the other.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use crate::error::ClientError;

/// All addresses of a host, in the resolver's order of preference; at least one.
pub fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ClientError> {
    let no_such_host = |reason: String| ClientError::NoSuchHost {
        host: host.to_owned(),
        reason,
    };
    let addresses: Vec<SocketAddr> = (host, port)
        .to_socket_addrs()
        .map_err(|error| no_such_host(error.to_string()))?
        .collect();
    if addresses.is_empty() {
        return Err(no_such_host("the name has no address".to_owned()));
    }
    Ok(addresses)
}

/// A link-local address means nothing without its link, which packets of a session do not carry.
pub fn refuse_link_local(remote: SocketAddr) -> Result<(), ClientError> {
    match remote.ip() {
        IpAddr::V6(address) if address.is_unicast_link_local() => {
            Err(ClientError::LinkLocal(remote))
        }
        _ => Ok(()),
    }
}

/// Of two failures to connect the one that says more: the attempt that got further. The earlier one when both got as
/// far: the resolver prefers its address.
pub fn more_telling(first: Option<ClientError>, second: ClientError) -> ClientError {
    match first {
        Some(first) if progress_of(&first) >= progress_of(&second) => first,
        _ => second,
    }
}

/// How far the attempt got that ended with this error.
fn progress_of(error: &ClientError) -> u8 {
    match error {
        ClientError::LinkLocal(_) => 0,
        ClientError::Route { .. } => 1,
        ClientError::Neighbour { .. } => 2,
        ClientError::Lost { .. } => 4,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blk_datapath::net::RouteError;

    use crate::error::ConnectionLost;

    fn remote() -> SocketAddr {
        "192.0.2.1:7440".parse().unwrap()
    }

    fn no_route() -> ClientError {
        ClientError::Route {
            remote: remote(),
            source: RouteError::Unreachable(remote().ip()),
        }
    }

    fn closed_port() -> ClientError {
        ClientError::Lost {
            remote: remote(),
            source: ConnectionLost::PortClosed,
        }
    }

    #[test]
    fn the_attempt_that_got_further_says_more() {
        for (first, second) in [(no_route(), closed_port()), (closed_port(), no_route())] {
            let told = more_telling(Some(first), second);
            assert!(matches!(told, ClientError::Lost { .. }), "{told}");
        }
        let only = more_telling(None, no_route());
        assert!(matches!(only, ClientError::Route { .. }));
        let other = ClientError::Lost {
            remote: remote(),
            source: ConnectionLost::NoAnswer,
        };
        let told = more_telling(Some(closed_port()), other);
        assert_eq!(told.to_string(), closed_port().to_string());
    }

    #[test]
    fn link_local_addresses_are_refused() {
        let there = "[fe80::1]:7440".parse().unwrap();
        let refused = refuse_link_local(there);
        assert!(matches!(refused, Err(ClientError::LinkLocal(address)) if address == there));
        for fine in ["[fd00::1]:1", "[::1]:1", "169.254.0.1:1"] {
            assert!(refuse_link_local(fine.parse().unwrap()).is_ok(), "{fine}");
        }
    }

    #[test]
    fn an_address_resolves_to_itself() {
        assert_eq!(resolve("192.0.2.1", 7440).unwrap(), [remote()]);
    }
}
