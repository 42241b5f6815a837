//! Changes of links, addresses, routes and neighbours, as they happen.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

/// The groups of include/uapi/linux/rtnetlink.h: LINK, NEIGH, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE.
const GROUPS: [u32; 6] = [1, 3, 5, 7, 9, 11];

/// A subscription to what changes in the network namespace of the thread that made it.
///
/// It tells that something has changed, not what: who wants to know asks again, and so needs no model of the kernel's
/// tables that could differ from them, nor anything of messages that were lost. Its descriptor is readable when
/// something has changed. Needs no privileges.
pub struct Changes(Socket);

impl Changes {
    /// Subscribes. What changes from now on is told.
    ///
    /// # Errors
    /// The socket cannot be had.
    pub fn subscribe() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        Ok(Self(socket))
    }

    /// Whether anything has changed since the last call.
    ///
    /// # Errors
    /// The socket cannot be read.
    pub fn take(&self) -> io::Result<bool> {
        let mut changed = false;
        // Nothing is read but that there is a message; the rest of a longer one is thrown away.
        let mut buffer = [0; 256];
        loop {
            match self.0.recv(&mut &mut buffer[..], 0) {
                Ok(_) => changed = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // More than the socket's buffer holds.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
