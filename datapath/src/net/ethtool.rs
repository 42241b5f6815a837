//! Two questions to a driver, by the ethtool ioctl.
//!
//! Not from /sys/class/net: that shows the network namespace it was mounted in, not the caller's.

use std::ffi::{CStr, c_char};
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
struct Channels {
    command: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

const _: () = assert!(size_of::<Channels>() == 36);

/// The name of an interface's driver, or `None` when it does not tell.
pub(super) fn driver(interface: &str) -> Option<String> {
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
    let bytes = info.driver.map(|byte| byte as u8);
    let name = CStr::from_bytes_until_nul(&bytes).ok()?;
    let name = name.to_str().ok().filter(|name| !name.is_empty())?;
    Some(name.to_owned())
}

/// RX queues in use, or `None` when the driver does not tell.
pub(super) fn rx_queues(interface: &str) -> Option<u32> {
    let mut channels = Channels {
        command: GET_CHANNELS,
        ..Channels::default()
    };
    // SAFETY: `channels` is the structure of its command, plain data.
    unsafe { ask(interface, &mut channels)? };
    let queues = channels.rx.checked_add(channels.combined)?;
    (queues > 0).then_some(queues)
}

/// Hands a command structure to an interface's driver, which fills it in.
///
/// # Safety
/// `T` must be the structure that include/uapi/linux/ethtool.h gives for the command in its first field, and
/// any bytes must be valid in it.
unsafe fn ask<T>(interface: &str, command: &mut T) -> Option<()> {
    let socket: OwnedFd = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .ok()?;
    let mut name = [0; libc::IFNAMSIZ];
    // The last byte stays zero; no interface has a longer name.
    for (to, from) in name[..libc::IFNAMSIZ - 1].iter_mut().zip(interface.bytes()) {
        *to = from as c_char;
    }
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_data: std::ptr::from_mut(command).cast(),
        },
    };
    // SAFETY: `request` and the command it points to live until the call returns, and the caller vouches for
    // the command's size and content.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
    (result == 0).then_some(())
}
