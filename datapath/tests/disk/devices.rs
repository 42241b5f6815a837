//! Block devices with sectors of 4 KiB, made from files by losetup(8), with real file systems on them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

/// A loop device with a file system, mounted in a mount namespace of this thread. The mount goes with the namespace, and
/// the device with the mount, also when the process is killed; the rest when this is dropped.
struct Mounted {
    device: String,
    is_mounted: bool,
    point: PathBuf,
    _directory: tempfile::TempDir,
}

fn run_command(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        Err(format!("{program} {arguments:?}: {}", text.trim()))
    }
}

impl Mounted {
    fn new(make: &[&str], sector: u32) -> Result<Self, String> {
        let directory = tempfile::Builder::new()
            .prefix("blk-loop-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .map_err(|error| error.to_string())?;
        // SAFETY: changes what this thread alone sees of mounts, its root and its working directory.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            let error = std::io::Error::last_os_error();
            return Err(format!("no mount namespace: {error}"));
        }
        run_command("mount", &["--make-rprivate", "/"])?;
        let image = directory.path().join("image");
        let file = File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(400 << 20).map_err(|error| error.to_string())?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let sector = sector.to_string();
        let losetup = ["--find", "--show", "-b", &sector, &text(&image)];
        let device = run_command("losetup", &losetup)?;
        let point = directory.path().join("mounted");
        // From here on, dropping it detaches the device.
        let mut mounted = Self {
            device,
            is_mounted: false,
            point,
            _directory: directory,
        };
        fs::create_dir(&mounted.point).map_err(|error| error.to_string())?;
        run_command(make[0], &[&make[1..], &[&mounted.device]].concat())?;
        run_command("mount", &[&mounted.device, &text(&mounted.point)])?;
        mounted.is_mounted = true;
        // It is in use, so this only says that it shall go when it is not any more (LO_FLAGS_AUTOCLEAR, loop(4)).
        run_command("losetup", &["--detach", &mounted.device])?;
        Ok(mounted)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let ended = if self.is_mounted {
            run_command("umount", &[&self.point.to_string_lossy()])
        } else {
            run_command("losetup", &["--detach", &self.device])
        };
        if let Err(error) = ended {
            eprintln!("left behind: {}: {error}", self.device);
        }
    }
}

/// Runs the test on the file system, or skips loudly (an error under CI).
fn on(make: &[&str], test: impl FnOnce(&Path)) {
    match Mounted::new(make, 4096) {
        Ok(mounted) => test(&mounted.point),
        Err(reason) => {
            skip(format!("no loop device with 4 KiB sectors: {reason}"));
        }
    }
}

fn whole_blocks_direct(point: &Path) {
    let path = point.join("file");
    planner::blocks_and_pieces(&path, None, Intent::Write);
    planner::blocks_and_pieces(&path, None, Intent::Update);
    let fd = File::options()
        .read(true)
        .write(true)
        .open(&path)
        .expect("file");
    let file = Arc::new(BlockFile::new(fd.into(), Intent::Write).expect("file"));
    let report = file.report();
    assert_eq!(report.offset_align, 4096, "{report}");
    assert_eq!(
        report.queue.map(|queue| queue.logical_block),
        Some(4096),
        "{report}"
    );
    // A run between two bounds of the grid: whole blocks, no piece in the page cache.
    let mut umem = Umem::anonymous(512).expect("memory");
    let mut queue = DiskQueue::new(&umem, 4).expect("io_uring");
    let ways = write(&mut queue, &mut umem, &file, 860_160, &[3072; RUN_MAX]).expect("write");
    assert_eq!(ways.direct + ways.copied, 860_160);
    assert_eq!(queue.counters().written.buffered.requests, 0);
    eprintln!("{report}: {} gathered, {} copied", ways.direct, ways.copied);
}

#[test]
fn ext4_on_sectors_of_4_kib() {
    on(&["mkfs.ext4", "-q", "-F"], whole_blocks_direct);
}

#[test]
fn xfs_on_sectors_of_4_kib() {
    on(&["mkfs.xfs", "-q", "-f"], whole_blocks_direct);
}
