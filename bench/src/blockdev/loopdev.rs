//! Loop devices (`drivers/block/loop.c`, loop(4)).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

const CTL_GET_FREE: libc::c_ulong = 0x4C82;
const CLR_FD: libc::c_ulong = 0x4C01;
const CONFIGURE: libc::c_ulong = 0x4C0A;
/// The kernel detaches the device when its last user is gone, also when that was killed.
const FLAG_AUTOCLEAR: u32 = 4;
const FLAG_DIRECT_IO: u32 = 16;
const BLKFLSBUF: libc::c_ulong = 0x1261;

/// `struct loop_info64`.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<Config>() == 304);

/// A loop device over a file. Detached when dropped, or as soon as nobody uses it any more.
#[derive(Debug)]
pub struct Loop {
    device: File,
    path: PathBuf,
}

impl Loop {
    /// Attaches a free loop device to a file. `direct`: past the page cache of the file. `block_size` is that of the device, in bytes.
    ///
    /// # Errors
    /// No loop devices here (no privilege, no driver), or the file does not do.
    pub fn attach(image: &Path, direct: bool, block_size: u32) -> io::Result<Self> {
        let control = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/loop-control")?;
        let image = OpenOptions::new().read(true).write(true).open(image)?;
        let config = configuration(&image, direct, block_size);
        loop {
            // SAFETY: this request takes no argument.
            let number = unsafe { libc::ioctl(control.as_raw_fd(), CTL_GET_FREE) };
            if number < 0 {
                return Err(io::Error::last_os_error());
            }
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = OpenOptions::new().read(true).write(true).open(&path)?;
            // SAFETY: the request reads a `loop_config`, which `config` is; it lives across the call.
            let status = unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE, &raw const config) };
            if status == 0 {
                return Ok(Self { device, path });
            }
            let error = io::Error::last_os_error();
            // Another process was quicker.
            if error.raw_os_error() != Some(libc::EBUSY) {
                return Err(error);
            }
        }
    }

    /// `/dev/loopN`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets what the page cache holds of the device. Nothing may be mounted from it.
    ///
    /// # Errors
    /// The device is gone.
    pub fn forget(&self) -> io::Result<()> {
        // SAFETY: this request takes no argument.
        match unsafe { libc::ioctl(self.device.as_raw_fd(), BLKFLSBUF, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // With other users the kernel detaches it after the last of them.
        // SAFETY: this request takes no argument.
        let _ = unsafe { libc::ioctl(self.device.as_raw_fd(), CLR_FD, 0) };
    }
}

fn configuration(image: &File, direct: bool, block_size: u32) -> Config {
    let mut file_name = [0; 64];
    let name = b"blk-disk";
    file_name[..name.len()].copy_from_slice(name);
    Config {
        fd: image.as_raw_fd() as u32,
        block_size,
        info: Info {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: FLAG_AUTOCLEAR | if direct { FLAG_DIRECT_IO } else { 0 },
            file_name,
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    }
}
