//! Mounts that nobody else sees, and that go with the one who made them.

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::crash::SECTOR;

/// ext4 would otherwise leave its inode tables to a thread of the kernel, which writes them at a random moment of the first five
/// seconds after mounting: a write that no test has asked for, and that takes a fault meant for another one.
const EAGER: &str = "lazy_itable_init=0,lazy_journal_init=0";

/// File systems that a disk can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ext4 with its defaults: `data=ordered`.
    Ext4,
    /// ext4 without a journal: a write that fails does not make the file system read-only.
    Ext4Plain,
    /// XFS with its defaults.
    Xfs,
}

impl Kind {
    /// As mount(8) knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 | Self::Ext4Plain => "ext4",
            Self::Xfs => "xfs",
        }
    }

    /// Bytes, aligned, that the disk must not tear for the file system to recover by itself. XFS writes blocks of metadata back
    /// with one checksum for each; one that is torn and that its log does not hold is for xfs_repair. ext4 has whole
    /// blocks in its journal.
    pub fn unit(self) -> u64 {
        match self {
            Self::Ext4 | Self::Ext4Plain => SECTOR,
            Self::Xfs => 4096,
        }
    }

    /// The smallest disk that it is made on here, in bytes.
    pub fn smallest(self) -> u64 {
        match self {
            Self::Ext4 | Self::Ext4Plain => 96 << 20,
            // mkfs.xfs refuses less.
            Self::Xfs => 320 << 20,
        }
    }

    /// Makes the file system on a device.
    ///
    /// # Errors
    /// The tool is missing or fails: what it said.
    pub fn make(self, device: &Path) -> Result<()> {
        let (tool, arguments) = match self {
            Self::Ext4 => ("mkfs.ext4", &["-q", "-F", "-m", "0", "-E", EAGER][..]),
            Self::Ext4Plain => (
                "mkfs.ext4",
                &["-q", "-F", "-m", "0", "-E", EAGER, "-O", "^has_journal"][..],
            ),
            Self::Xfs => ("mkfs.xfs", &["-q", "-f"][..]),
        };
        let output = Command::new(tool)
            .args(arguments)
            .arg(device)
            .output()
            .with_context(|| format!("cannot run {tool}: is it installed?"))?;
        ensure!(
            output.status.success(),
            "{tool} {}: {}\n{}",
            device.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Ext4, Self::Xfs]
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| format!("`{name}` is neither ext4 nor xfs"))
    }
}

/// A mounted file system, unmounted when dropped; lazily when it is in use.
#[derive(Debug)]
pub struct Mounted {
    path: PathBuf,
    mounted: bool,
}

impl Mounted {
    /// Mounts `source` at `path`.
    ///
    /// # Errors
    /// What mount(2) says.
    pub fn new(
        source: &Path,
        path: &Path,
        kind: &str,
        flags: MountFlags,
        data: &str,
    ) -> io::Result<Self> {
        let data = CString::new(data)?;
        mount(source, path, kind, flags, data.as_c_str())?;
        Ok(Self {
            path: path.to_owned(),
            mounted: true,
        })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Unmounts it, so that nothing of it is in memory any more.
    ///
    /// # Errors
    /// Somebody still uses it.
    pub fn unmount(mut self) -> io::Result<()> {
        unmount(&self.path, UnmountFlags::empty())?;
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.mounted {
            let _ = unmount(&self.path, UnmountFlags::DETACH);
        }
    }
}

/// Runs `work` on a thread whose mounts, and those of the processes that it starts, are its own: nobody else can hold a file system
/// busy that this thread unmounts, and everything is unmounted when the thread and its processes are gone.
///
/// # Errors
/// No privilege for it.
///
/// # Panics
/// When `work` does.
pub fn isolated<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let outcome = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                // SAFETY: without FILES in the flags no descriptor of this thread changes its meaning. NEWNS gives this
                // thread a working directory of its own, equal to the old one.
                unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
                mount_change(
                    "/",
                    MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
                )?;
                Ok(work())
            })
            .join()
    });
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
