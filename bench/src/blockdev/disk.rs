//! A block device whose every request passes through this process.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{EventfdFlags, eventfd};
use rustix::mount::MountFlags;

use super::blocks::Image;
use super::descriptors::keep_only;
use super::loopdev::Loop;
use super::mounts::{Kind, Mounted};
use super::server;
use super::state::Shared;

/// How long the kernel may take to let go of the image before its requests are cut off.
const PATIENCE: Duration = Duration::from_secs(2);

/// How a disk presents itself.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes.
    pub size: u64,
    /// The loop device passes several requests on at once, past any cache. Otherwise one at a time.
    pub direct: bool,
    /// Logical block size of the device.
    pub block_size: u32,
}

impl Options {
    /// A disk of this size with sectors of 512 bytes that takes several requests at once.
    pub fn of(size: u64) -> Self {
        Self {
            size,
            direct: true,
            block_size: 512,
        }
    }
}

/// A loop device on an image in memory. Taken down when dropped, whatever still waits for it.
#[derive(Debug)]
pub struct Disk {
    shared: Arc<Shared>,
    device: Option<Loop>,
    mount: Option<Mounted>,
    image: PathBuf,
    stop: OwnedFd,
    server: Option<JoinHandle<()>>,
}

impl Disk {
    /// Makes a disk full of zeros. `image` is the path of a file to be made, on which the image is mounted.
    ///
    /// # Errors
    /// No FUSE or no loop devices here, or no privilege for them.
    pub fn new(image: &Path, options: Options) -> Result<Self> {
        File::create(image).with_context(|| format!("cannot make {}", image.display()))?;
        let shared = Arc::new(Shared::new(options.size));
        let stop = eventfd(0, EventfdFlags::CLOEXEC).context("cannot make an eventfd")?;
        let (waker, disk) = (stop.try_clone()?, Arc::clone(&shared));
        let (tell, told) = mpsc::channel();
        let at = image.to_owned();
        let server = std::thread::Builder::new()
            .name("blk-disk".to_owned())
            .spawn(move || {
                let begun = keep_only(&waker)
                    .context("cannot have descriptors of its own")
                    .and_then(|()| open_and_mount(&at));
                match begun {
                    Ok((fuse, mount)) => {
                        let _ = tell.send(Ok(mount));
                        server::serve(fuse, waker, disk);
                    }
                    Err(error) => {
                        let _ = tell.send(Err(error));
                    }
                }
            })?;
        let mount = told.recv().context("the thread of the disk is gone")??;
        let mut disk = Self {
            shared,
            device: None,
            mount: Some(mount),
            image: image.to_owned(),
            stop,
            server: Some(server),
        };
        let device = Loop::attach(image, options.direct, options.block_size)
            .context("cannot attach a loop device")?;
        disk.device = Some(device);
        Ok(disk)
    }

    /// Makes a disk with a file system on it.
    ///
    /// # Errors
    /// As [`Disk::new`]; the file system cannot be made.
    pub fn formatted(image: &Path, options: Options, kind: Kind) -> Result<Self> {
        let disk = Self::new(image, options)?;
        kind.make(disk.device())?;
        Ok(disk)
    }

    /// The path of the block device.
    ///
    /// # Panics
    /// Never: a disk has its device until it is dropped.
    pub fn device(&self) -> &Path {
        self.device.as_ref().expect("a disk has a device").path()
    }

    /// What it holds, logs, and does wrong.
    pub fn control(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Mounts what is on it.
    ///
    /// # Errors
    /// What mount(2) says.
    pub fn mount(&self, kind: Kind, path: &Path) -> Result<Mounted> {
        Mounted::new(self.device(), path, kind.name(), MountFlags::empty(), "").with_context(|| {
            format!(
                "cannot mount {} of {} at {}",
                kind.name(),
                self.device().display(),
                path.display()
            )
        })
    }

    /// Replaces everything that it holds, and gives what it held. Nothing may be mounted from it.
    ///
    /// # Errors
    /// The device is gone.
    pub fn load(&self, image: Image) -> Result<Image> {
        let old = self.shared.load(image);
        if let Some(device) = &self.device {
            device.forget().context("cannot empty the page cache")?;
        }
        Ok(old)
    }
}

/// Opens FUSE and mounts it on the file. The descriptor must be no other thread's: as long as it is open, whoever waits for the disk
/// waits, and cannot be killed. So it must not be kept open by one of them.
fn open_and_mount(image: &Path) -> Result<(File, Mounted)> {
    let fuse = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/fuse")
        .context("cannot open /dev/fuse")?;
    let data = format!(
        "fd={},rootmode=100600,user_id=0,group_id=0",
        fuse.as_raw_fd()
    );
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let mount = Mounted::new(Path::new("blk-disk"), image, "fuse", flags, &data)
        .with_context(|| format!("cannot mount FUSE at {}", image.display()))?;
    Ok((fuse, mount))
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.shared.faults(super::Faults::heal);
        self.device = None;
        self.mount = None;
        let Some(server) = self.server.take() else {
            return;
        };
        let start = Instant::now();
        while !server.is_finished() && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
        let _ = server.join();
        let _ = std::fs::remove_file(&self.image);
    }
}
