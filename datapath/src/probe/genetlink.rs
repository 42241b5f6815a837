//! One exchange with a family of generic netlink (Documentation/userspace-api/netlink/intro.rst), synchronous.
//!
//! Each call opens a socket of its own, so it acts in the network namespace of the calling thread.

use std::io;

use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{Socket, SocketAddr};

/// include/uapi/linux/netlink.h.
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
/// Bits of an attribute's type that are not its number.
const NLA_FLAGS: u16 = 0xc000;
/// `struct nlmsghdr`, and `struct genlmsghdr` behind it.
const HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;
/// include/uapi/linux/genetlink.h: the family that knows the others.
const GENL_ID_CTRL: u16 = 0x10;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

/// What to ask for.
#[derive(Copy, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// One object.
    One,
    /// All objects.
    Dump,
}

/// The attributes of one answer: number and bytes.
pub(super) struct Answer(Vec<(u16, Vec<u8>)>);

impl Answer {
    /// An unsigned number of four or eight bytes (`nla_get_uint()`), or of two.
    pub(super) fn number(&self, kind: u16) -> Option<u64> {
        let (_, bytes) = self.0.iter().find(|(number, _)| *number == kind)?;
        match bytes.len() {
            2 => Some(u16::from_ne_bytes(bytes[..].try_into().ok()?).into()),
            4 => Some(u32::from_ne_bytes(bytes[..].try_into().ok()?).into()),
            8 => Some(u64::from_ne_bytes(bytes[..].try_into().ok()?)),
            _ => None,
        }
    }
}

/// The number of a family.
///
/// # Errors
/// [`io::ErrorKind::NotFound`]: this kernel has no such family.
pub(super) fn family(name: &str) -> io::Result<u16> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    let attribute = (CTRL_ATTR_FAMILY_NAME, &bytes[..]);
    let answers = call(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, Ask::One, attribute)?;
    answers
        .first()
        .and_then(|answer| answer.number(CTRL_ATTR_FAMILY_ID))
        .and_then(|number| u16::try_from(number).ok())
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Sends a command with one attribute and returns all answers.
///
/// # Errors
/// The kernel's error number, or that of the socket.
pub(super) fn call(
    family: u16,
    command: u8,
    ask: Ask,
    attribute: (u16, &[u8]),
) -> io::Result<Vec<Answer>> {
    let mut socket = Socket::new(NETLINK_GENERIC)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request(family, command, ask, attribute), 0)?;
    let mut answers = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        if add(&datagram, &mut answers)? {
            return Ok(answers);
        }
    }
}

/// The bytes of a request.
fn request(family: u16, command: u8, ask: Ask, (kind, value): (u16, &[u8])) -> Vec<u8> {
    let flags = NLM_F_REQUEST
        | match ask {
            Ask::One => NLM_F_ACK,
            Ask::Dump => NLM_F_DUMP,
        };
    let attribute = 4 + value.len();
    let length = HEADER + GENERIC_HEADER + attribute.next_multiple_of(4);
    let mut bytes = Vec::with_capacity(length);
    bytes.extend((length as u32).to_ne_bytes());
    bytes.extend(family.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(1u32.to_ne_bytes()); // sequence number
    bytes.extend(0u32.to_ne_bytes()); // port: the kernel fills it in
    bytes.extend([command, 1, 0, 0]); // version 1
    bytes.extend((attribute as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(length, 0);
    bytes
}

/// Adds the answers of one datagram; whether it was the last.
fn add(mut datagram: &[u8], answers: &mut Vec<Answer>) -> io::Result<bool> {
    let cut_off = || io::Error::from(io::ErrorKind::InvalidData);
    while !datagram.is_empty() {
        let length = number(datagram, 0, 4).ok_or_else(cut_off)? as usize;
        let message = datagram.get(HEADER..length).ok_or_else(cut_off)?;
        let kind = number(datagram, 4, 2).ok_or_else(cut_off)? as u16;
        match kind {
            NLMSG_ERROR | NLMSG_DONE => {
                // Zero: the acknowledgement, or the end of a dump.
                let code = number(message, 0, 4).unwrap_or(0) as i32;
                return match code {
                    0 => Ok(true),
                    code => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
                };
            }
            _ => answers.push(Answer(attributes(
                message.get(GENERIC_HEADER..).unwrap_or_default(),
            ))),
        }
        // The last message may lack its padding.
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Ok(false)
}

/// The attributes in some bytes; what is cut off is left out.
fn attributes(mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind)) = (number(bytes, 0, 2), number(bytes, 2, 2)) {
        let length = length as usize;
        let Some(value) = bytes.get(4..length) else {
            break;
        };
        found.push((kind as u16 & !NLA_FLAGS, value.to_vec()));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// A number of two or four bytes at a place.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + length)?;
    Some(match length {
        2 => u16::from_ne_bytes(bytes.try_into().ok()?).into(),
        _ => u32::from_ne_bytes(bytes.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer as the kernel writes it: attribute 1 of eight bytes, 2 of four, 3 of one.
    fn message(kind: u16) -> Vec<u8> {
        let mut bytes = request(kind, 1, Ask::One, (1, &7u64.to_ne_bytes()));
        for (kind, value) in [(2u16, &9u32.to_ne_bytes()[..]), (3, &[1])] {
            bytes.extend((4 + value.len() as u16).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        let length = bytes.len() as u32;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    fn end(code: i32) -> Vec<u8> {
        let mut bytes = message(NLMSG_ERROR);
        bytes[16..20].copy_from_slice(&code.to_ne_bytes());
        bytes
    }

    #[test]
    fn answers_are_taken_apart() {
        let mut answers = Vec::new();
        let datagram = [message(0x20), message(0x20), end(0)].concat();
        assert!(add(&datagram, &mut answers).unwrap());
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[1].number(1), Some(7));
        assert_eq!(answers[1].number(2), Some(9));
        assert_eq!(answers[1].number(3), None, "one byte is no number here");
        assert!(!add(&message(0x20), &mut answers).unwrap(), "more comes");
    }

    #[test]
    fn a_refusal_is_an_error_number() {
        let error = add(&end(-libc::ENOENT), &mut Vec::new()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic() {
        let good = message(0x20);
        for length in 0..good.len() {
            let mut answers = Vec::new();
            let result = add(&good[..length], &mut answers);
            assert_eq!(result.is_ok(), length == 0, "{length}");
        }
        let mut zero_length = good.clone();
        zero_length[..4].fill(0);
        assert!(add(&zero_length, &mut Vec::new()).is_err());
        assert!(
            attributes(&[0; 7]).is_empty(),
            "an attribute shorter than its header"
        );
    }

    #[test]
    fn the_kernel_knows_its_own_family() {
        assert_eq!(family("nlctrl").unwrap(), GENL_ID_CTRL);
        let error = family("blk-none").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
