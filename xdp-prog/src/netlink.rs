//! One exchange with the kernel's routing netlink (rtnetlink(7)), synchronous.
//!
//! Each call opens a socket of its own, so it acts in the network namespace of the calling thread, and
//! concurrent calls cannot see each other's answers. Nothing here is on the data path.

use std::io;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// How often a dump that the kernel's tables changed under is taken again.
const DUMP_ATTEMPTS: u32 = 8;

/// Why an exchange with rtnetlink failed.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel answered the request with an error number.
    #[error("the kernel refused a netlink request: {0}")]
    Refused(#[source] io::Error),
    /// The socket could not be opened, written or read.
    #[error("netlink socket: {0}")]
    Socket(#[source] io::Error),
    /// The answer could not be decoded.
    #[error("netlink answer not understood: {0}")]
    Decode(String),
    /// The tables changed during every attempt to dump them.
    #[error("the kernel's table kept changing while it was read; try again")]
    Interrupted,
}

impl NetlinkError {
    /// The error number with which the kernel refused the request, if it did.
    #[must_use]
    pub fn refusal(&self) -> Option<i32> {
        match self {
            Self::Refused(error) => error.raw_os_error(),
            _ => None,
        }
    }
}

/// Sends a request for one object and returns the answers.
///
/// # Errors
/// [`NetlinkError`]; for an object that does not exist [`NetlinkError::Refused`], mostly with `ENODEV`,
/// `ENOENT` or `ENETUNREACH`.
pub fn request(message: RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
    exchange(message, NLM_F_ACK)?.ok_or(NetlinkError::Interrupted)
}

/// Sends a request that changes an object, or creates it when there is none. Needs CAP_NET_ADMIN.
///
/// # Errors
/// [`NetlinkError`]; [`NetlinkError::Refused`] with `EPERM` without the capability.
pub fn create(message: RouteNetlinkMessage) -> Result<(), NetlinkError> {
    exchange(message, NLM_F_ACK | NLM_F_CREATE).map(drop)
}

/// Sends a dump request and returns every object of the answer.
///
/// # Errors
/// [`NetlinkError`].
pub fn dump(message: &RouteNetlinkMessage) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
    for _ in 0..DUMP_ATTEMPTS {
        if let Some(answers) = exchange(message.clone(), NLM_F_DUMP)? {
            return Ok(answers);
        }
    }
    Err(NetlinkError::Interrupted)
}

/// One request and all its answers, or `None` when a dump was interrupted and is inconsistent.
fn exchange(
    message: RouteNetlinkMessage,
    flags: u16,
) -> Result<Option<Vec<RouteNetlinkMessage>>, NetlinkError> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = 1;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let mut socket = Socket::new(NETLINK_ROUTE).map_err(NetlinkError::Socket)?;
    socket.bind_auto().map_err(NetlinkError::Socket)?;
    let kernel = SocketAddr::new(0, 0);
    socket.connect(&kernel).map_err(NetlinkError::Socket)?;
    socket.send(&bytes, 0).map_err(NetlinkError::Socket)?;

    let mut answers = Answers::default();
    while !answers.complete {
        let (datagram, _) = socket.recv_from_full().map_err(NetlinkError::Socket)?;
        answers.add(&datagram)?;
    }
    Ok((!answers.interrupted).then_some(answers.messages))
}

/// What has been received of an answer.
#[derive(Default)]
struct Answers {
    messages: Vec<RouteNetlinkMessage>,
    complete: bool,
    interrupted: bool,
}

impl Answers {
    /// Adds the messages of one datagram.
    fn add(&mut self, mut datagram: &[u8]) -> Result<(), NetlinkError> {
        while !self.complete && !datagram.is_empty() {
            let message = NetlinkMessage::deserialize(datagram)
                .map_err(|error| NetlinkError::Decode(error.to_string()))?;
            // Messages are padded to four bytes (NLMSG_ALIGN); the last one may lack the padding.
            let len = (message.header.length as usize).next_multiple_of(4);
            datagram = datagram.get(len..).unwrap_or_default();
            self.interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => self.messages.push(inner),
                NetlinkPayload::Done(_) => self.complete = true,
                // An error without a code is the acknowledgement that was asked for.
                NetlinkPayload::Error(error) if error.code.is_none() => self.complete = true,
                NetlinkPayload::Error(error) => return Err(NetlinkError::Refused(error.to_io())),
                NetlinkPayload::Overrun(_) => self.interrupted = true,
                _ => {}
            }
        }
        Ok(())
    }
}
