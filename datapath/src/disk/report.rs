//! Reads what file system and device tell of a file: statx(2), statfs(2), sysfs.

use std::{
    collections::HashMap,
    fs, io,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::fs::{AtFlags, Statx, StatxFlags, fstatfs, statx};

use super::plan::{DeviceReport, QueueLimits};

/// How long the limits of a device are taken as known: its number may be another device's later.
const KNOWN_FOR: Duration = Duration::from_secs(5);
/// Devices known at a time.
const KNOWN_MAX: usize = 256;
/// `STATX_DIO_READ_ALIGN`, include/uapi/linux/stat.h.
const DIO_READ_ALIGN: StatxFlags = StatxFlags::from_bits_retain(0x0002_0000);

/// What is the same for all files of one file system.
#[derive(Clone, Copy, Debug)]
struct Device {
    queue: Option<QueueLimits>,
    file_system: u64,
    block: u32,
}

/// What was read of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) report: DeviceReport,
    /// Its size, bytes.
    pub(super) size: u64,
    /// Its device's number, which names that only while it is there.
    pub(super) device: u64,
}

/// The file's report, size and device.
///
/// # Errors
///
/// Those of statx(2) and fstatfs(2). What sysfs does not tell is left out of the report.
pub(super) fn read(fd: &OwnedFd) -> io::Result<Found> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::DIOALIGN | StatxFlags::MNT_ID | DIO_READ_ALIGN;
    let stat = statx(fd, "", AtFlags::EMPTY_PATH, mask)?;
    let device = device(fd, &stat)?;
    let report = DeviceReport {
        memory_align: stat.stx_dio_mem_align,
        offset_align: stat.stx_dio_offset_align,
        // Zero where the kernel does not know the question.
        read_offset_align: stat.stx_dio_read_offset_align,
        queue: device.queue,
        file_system: device.file_system,
        block: device.block,
        page: rustix::param::page_size() as u32,
    };
    Ok(Found {
        report,
        size: stat.stx_size,
        device: u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor),
    })
}

/// Devices by number, and since when they are known.
type Known = HashMap<(u32, u32), (Instant, Device)>;

/// The device of a file, read or still known.
fn device(fd: &OwnedFd, stat: &Statx) -> io::Result<Device> {
    static KNOWN: Mutex<Option<Known>> = Mutex::new(None);
    let number = (stat.stx_dev_major, stat.stx_dev_minor);
    let known = KNOWN
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()
        .and_then(|known| known.get(&number).copied());
    if let Some((since, device)) = known
        && since.elapsed() < KNOWN_FOR
    {
        return Ok(device);
    }
    let system = fstatfs(fd)?;
    let device = Device {
        queue: queue_of(number, stat.stx_mnt_id),
        // The field is signed on some architectures; magic numbers have 32 bits.
        file_system: u64::from(system.f_type as u32),
        block: u32::try_from(system.f_bsize).unwrap_or(u32::MAX),
    };
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if known.len() >= KNOWN_MAX {
        known.clear();
    }
    known.insert(number, (Instant::now(), device));
    Ok(device)
}

/// The limits of the device with this number, or of the devices below the mount with this id: btrfs and other file
/// systems of several devices have numbers (major 0) that are no device's.
fn queue_of((major, minor): (u32, u32), mount: u64) -> Option<QueueLimits> {
    if major != 0 {
        return limits(&PathBuf::from(format!("/sys/dev/block/{major}:{minor}")));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let (kind, source) = mount_source(&mounts, mount)?;
    // Overlay and others have words there, network file systems a server's name.
    if !source.starts_with("/dev/") {
        return None;
    }
    let number = fs::metadata(source).ok()?.rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let device = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
    if kind == "btrfs" {
        return btrfs_limits(&device);
    }
    // One of several, maybe: what the others are is not known.
    None
}

/// File system type and source of a mount (proc_pid_mountinfo(5)): the first field is its id; after a field "-" follow
/// both.
fn mount_source(mounts: &str, id: u64) -> Option<(&str, &str)> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        if left.split(' ').next()?.parse() != Ok(id) {
            return None;
        }
        let mut right = right.split(' ');
        Some((right.next()?, right.next()?))
    })
}

/// The strictest limits of all devices of the btrfs file system that `device` (in sysfs) is one of:
/// `/sys/fs/btrfs/UUID/devices` has links to them.
fn btrfs_limits(device: &Path) -> Option<QueueLimits> {
    let device = fs::canonicalize(device).ok()?;
    for system in fs::read_dir("/sys/fs/btrfs").ok()?.flatten() {
        let Ok(links) = fs::read_dir(system.path().join("devices")) else {
            continue;
        };
        let devices: Vec<PathBuf> = links
            .flatten()
            .filter_map(|link| fs::canonicalize(link.path()).ok())
            .collect();
        if devices.contains(&device) {
            let mut all = devices.iter().map(|device| limits(device));
            let first = all.next()??;
            return all.try_fold(first, |sum, next| Some(sum.and(next?)));
        }
    }
    None
}

/// The limits of a device given by its directory in sysfs.
fn limits(device: &Path) -> Option<QueueLimits> {
    // A partition has no queue of its own; its parent directory is the disk. The directory may be a link, so
    // the path is resolved by the kernel, not by words.
    let queue = [device.join("queue"), device.join("../queue")]
        .into_iter()
        .find(|queue| queue.is_dir())?;
    let number = |name: &str| -> Option<u64> {
        let text = fs::read_to_string(queue.join(name)).ok()?;
        text.trim().parse().ok()
    };
    let small = |name: &str| number(name).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    Some(QueueLimits {
        virt_boundary: number("virt_boundary_mask")?,
        max_segments: small("max_segments")?.max(1),
        max_kib: small("max_sectors_kb")?.max(1),
        logical_block: small("logical_block_size")?,
        physical_block: small("physical_block_size")?,
        rotational: number("rotational")? != 0,
        devices: 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_their_id() {
        let mounts = "22 1 254:0 / / rw,relatime - ext4 /dev/root rw\n\
                      122 22 0:35 /sub /mnt/a\\040b rw shared:1 master:2 - btrfs /dev/vdb rw,subvol=/sub\n\
                      12 22 0:36 / /mnt/o rw - overlay overlay rw\n";
        assert_eq!(mount_source(mounts, 122), Some(("btrfs", "/dev/vdb")));
        assert_eq!(mount_source(mounts, 12), Some(("overlay", "overlay")));
        assert_eq!(mount_source(mounts, 2), None);
        assert_eq!(mount_source("nonsense", 2), None);
    }

    #[test]
    fn limits_of_a_partition_are_those_of_its_disk() {
        let root = tempfile::tempdir().expect("directory");
        let disk = root.path().join("devices/disk");
        let queue = disk.join("queue");
        fs::create_dir_all(&queue).expect("directory");
        fs::create_dir_all(disk.join("disk1")).expect("directory");
        let links = root.path().join("dev");
        fs::create_dir(&links).expect("directory");
        std::os::unix::fs::symlink(disk.join("disk1"), links.join("8:1")).expect("link");
        assert_eq!(limits(&disk), None);
        for (name, value) in [
            ("virt_boundary_mask", "4095\n"),
            ("max_segments", "127\n"),
            ("max_sectors_kb", "1280\n"),
            ("logical_block_size", "512\n"),
            ("physical_block_size", "4096\n"),
            ("rotational", "0\n"),
        ] {
            fs::write(queue.join(name), value).expect("file");
        }
        let limits = limits(&links.join("8:1")).expect("limits");
        assert_eq!((limits.virt_boundary, limits.max_segments), (4095, 127));
        assert_eq!((limits.max_kib, limits.physical_block), (1280, 4096));
        assert!(!limits.rotational);
        let other = QueueLimits {
            virt_boundary: 0,
            max_segments: 64,
            ..limits
        };
        let both = limits.and(other);
        assert_eq!(
            (both.virt_boundary, both.max_segments, both.devices),
            (4095, 64, 2)
        );
    }

    #[test]
    fn the_file_systems_here_tell_something() {
        let file = tempfile::tempfile().expect("file");
        let Found { report, size, .. } = read(&file.into()).expect("report");
        assert_eq!(size, 0);
        assert!(report.page >= 4096 && report.block > 0 && report.file_system != 0);
        let memory = fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(format!("/dev/shm/blk-report-{}", std::process::id()));
        // No /dev/shm in some containers.
        if let Ok(memory) = memory {
            let Found { report, .. } = read(&memory.into()).expect("report");
            let _ = fs::remove_file(format!("/dev/shm/blk-report-{}", std::process::id()));
            assert_eq!(report.queue, None, "{report}");
        }
    }
}
