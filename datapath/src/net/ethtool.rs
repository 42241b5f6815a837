//! Questions to a driver, by the ethtool ioctl: who it is, and how many queues it has. [`crate::probe`] asks more.
//!
//! Not from /sys/class/net: that shows the network namespace it was mounted in, not the caller's.

use std::ffi::{CStr, c_char};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// `SIOCETHTOOL` of include/uapi/linux/sockios.h.
const SIOCETHTOOL: libc::c_ulong = 0x8946;
/// `ETHTOOL_GDRVINFO` of include/uapi/linux/ethtool.h.
const GET_DRIVER: u32 = 0x03;
/// `ETHTOOL_GCHANNELS` of include/uapi/linux/ethtool.h.
const GET_CHANNELS: u32 = 0x3c;

/// `struct ethtool_drvinfo` of include/uapi/linux/ethtool.h.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [c_char; 32],
    version: [c_char; 32],
    firmware: [c_char; 32],
    bus: [c_char; 32],
    expansion_rom: [c_char; 32],
    reserved: [c_char; 12],
    private_flags: u32,
    statistics: u32,
    test_info: u32,
    eeprom_dump: u32,
    register_dump: u32,
}

const _: () = assert!(size_of::<DriverInfo>() == 196);

/// `struct ethtool_channels` of include/uapi/linux/ethtool.h.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Channels {
    command: u32,
    pub(crate) max_rx: u32,
    pub(crate) max_tx: u32,
    pub(crate) max_other: u32,
    pub(crate) max_combined: u32,
    pub(crate) rx: u32,
    pub(crate) tx: u32,
    pub(crate) other: u32,
    pub(crate) combined: u32,
}

const _: () = assert!(size_of::<Channels>() == 36);

/// A driver as it names itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Driver {
    /// Its name: `virtio_net`.
    pub name: String,
    /// Its version: that of the kernel, unless it is built apart from it.
    pub version: String,
    /// The device's firmware; empty where there is none.
    pub firmware: String,
    /// The device's address on its bus: `0000:00:03.0`; empty for software devices.
    pub bus: String,
}

/// The driver of an interface, or `None` when it does not tell.
pub(crate) fn driver(interface: &str) -> Option<Driver> {
    let mut info = DriverInfo {
        command: GET_DRIVER,
        driver: [0; 32],
        version: [0; 32],
        firmware: [0; 32],
        bus: [0; 32],
        expansion_rom: [0; 32],
        reserved: [0; 12],
        private_flags: 0,
        statistics: 0,
        test_info: 0,
        eeprom_dump: 0,
        register_dump: 0,
    };
    // SAFETY: `info` is the structure of its command, plain data.
    unsafe { ask(interface, &mut info)? };
    Some(Driver {
        name: text(info.driver).filter(|name| !name.is_empty())?,
        version: text(info.version).unwrap_or_default(),
        firmware: text(info.firmware).unwrap_or_default(),
        bus: text(info.bus).unwrap_or_default(),
    })
}

/// A string in a field of fixed size.
fn text(field: [c_char; 32]) -> Option<String> {
    let bytes = field.map(|byte| byte as u8);
    let text = CStr::from_bytes_until_nul(&bytes).ok()?;
    Some(text.to_str().ok()?.to_owned())
}

/// What queues an interface has, or `None` when its driver does not tell.
pub(crate) fn channels(interface: &str) -> Option<Channels> {
    let mut channels = Channels {
        command: GET_CHANNELS,
        ..Channels::default()
    };
    // SAFETY: `channels` is the structure of its command, plain data.
    unsafe { ask(interface, &mut channels)? };
    Some(channels)
}

/// RX queues in use, or `None` when the driver does not tell.
pub(super) fn rx_queues(interface: &str) -> Option<u32> {
    let channels = channels(interface)?;
    let queues = channels.rx.checked_add(channels.combined)?;
    (queues > 0).then_some(queues)
}

/// Hands a command structure to an interface's driver, which fills it in.
///
/// # Safety
/// `T` must be the structure that include/uapi/linux/ethtool.h gives for the command in its first field, and
/// any bytes must be valid in it.
pub(crate) unsafe fn ask<T>(interface: &str, command: &mut T) -> Option<()> {
    // SAFETY: as above.
    unsafe { call(interface, command).ok() }
}

/// The same, with the error.
///
/// # Safety
/// As [`ask`].
pub(super) unsafe fn call<T>(interface: &str, command: &mut T) -> io::Result<()> {
    // SAFETY: the caller vouches for the command's size and content.
    unsafe { call_raw(interface, std::ptr::from_mut(command).cast()) }
}

/// The same for a structure with a list of any length at its end.
///
/// # Safety
/// `command` points to the structure that include/uapi/linux/ethtool.h gives for the command in its first field, with room
/// for as many entries as it says; any bytes must be valid in it.
pub(super) unsafe fn call_raw(interface: &str, command: *mut c_char) -> io::Result<()> {
    let socket: OwnedFd = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let mut name = [0; libc::IFNAMSIZ];
    // The last byte stays zero; no interface has a longer name.
    for (to, from) in name[..libc::IFNAMSIZ - 1].iter_mut().zip(interface.bytes()) {
        *to = from as c_char;
    }
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: command },
    };
    // SAFETY: `request` and the command it points to live until the call returns, and the caller vouches for
    // the command's size and content.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
