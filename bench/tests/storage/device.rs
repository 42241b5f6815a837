//! The disk itself.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blk_bench::blockdev::{
    Choice, Crash, Disk, Event, Image, Kind, Operation, Options, Replay, Rule, isolated, ready,
};
use blk_bench::lab::{Directory, daemon, within};

/// Larger than what any test writes.
const LOG: usize = 64 << 20;

/// Runs a test with mounts of its own.
fn alone(name: &str, test: impl FnOnce(&Directory) + Send) {
    if ready(name) {
        isolated(|| test(&Directory::new())).expect("cannot make a mount namespace");
    }
}

fn device(disk: &Disk) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(disk.device())
        .expect("cannot open the device")
}

#[test]
fn writes_and_flushes_arrive_in_order() {
    alone("writes_and_flushes_arrive_in_order", |directory| {
        for direct in [false, true] {
            let options = Options {
                direct,
                ..Options::of(8 << 20)
            };
            let disk = Disk::new(&directory.join("disk"), options).expect("no disk");
            let file = device(&disk);
            disk.control().record(LOG);
            for round in 0..20u8 {
                file.write_all_at(&[round + 1; 8192], u64::from(round) * 8192)
                    .expect("cannot write");
                file.sync_data().expect("cannot sync");
            }
            let log = disk.control().recorded().expect("there is a log");
            let mut round = 0;
            let mut written = 0;
            for event in &log.events {
                match event {
                    Event::Write { offset, bytes } => {
                        assert_eq!(
                            offset / 8192,
                            round,
                            "a write before the flush of an earlier one"
                        );
                        assert!(bytes.iter().all(|byte| u64::from(*byte) == round + 1));
                        written += bytes.len();
                    }
                    Event::Flush => {
                        assert_eq!(written, 8192, "a flush before its write, direct: {direct}");
                        (round, written) = (round + 1, 0);
                    }
                    Event::Zero { .. } => panic!("nobody discarded"),
                }
            }
            assert_eq!(round, 20);
        }
    });
}

#[test]
fn file_systems_keep_what_was_synced_and_only_that_is_promised() {
    alone("file_systems_keep_what_was_synced", |directory| {
        for kind in [Kind::Ext4, Kind::Xfs] {
            let disk = Disk::formatted(&directory.join("disk"), Options::of(kind.smallest()), kind)
                .expect("no disk");
            let at = directory.subdirectory("mount");
            let mount = disk.mount(kind, &at).expect("cannot mount");
            rustix_sync(&at);
            disk.control().record(LOG);
            let mut file = File::create(at.join("file")).expect("cannot create");
            file.write_all(&[7; 100_000]).expect("cannot write");
            let before = disk.control().position();
            file.sync_all().expect("cannot sync");
            sync_directory(&at);
            let acknowledged = disk.control().position();
            drop(file);
            mount.unmount().expect("cannot unmount");
            let log = disk.control().recorded().expect("there is a log");
            assert!(acknowledged > before, "fsync reached no disk");

            let mut replay = Replay::new(&log);
            let mut seen = (false, false);
            let mut check = |position: usize, choice: Choice, seed: u64| {
                disk.load(Image::default()).expect("cannot unload");
                let crash = Crash {
                    position,
                    choice,
                    seed,
                };
                disk.load(replay.image(crash)).expect("cannot load");
                let mount = disk.mount(kind, &at).expect("no recovery");
                let mut found = Vec::new();
                if let Ok(mut file) = File::open(at.join("file")) {
                    file.read_to_end(&mut found).expect("cannot read");
                }
                mount.unmount().expect("cannot unmount");
                let whole = found == [7; 100_000];
                seen = (seen.0 || whole, seen.1 || !whole);
                assert!(whole || position < acknowledged, "lost: {crash}");
            };
            for position in before..=log.events.len() {
                for seed in 0..3 {
                    check(position, Crash::at(position, seed).choice, seed);
                }
            }
            check(acknowledged, Choice::None, 0);
            assert_eq!(seen, (true, true), "{kind:?}: both outcomes are possible");
        }
    });
}

#[test]
fn the_nth_write_fails_and_the_next_one_does_not() {
    alone("the_nth_write_fails", |directory| {
        let disk = Disk::new(&directory.join("disk"), Options::of(8 << 20)).expect("no disk");
        let file = direct(&disk);
        disk.control()
            .faults(|faults| faults.add(Rule::nth(Operation::Write, 2)));
        let buffer = Aligned::new(3);
        file.write_all_at(buffer.bytes(), 0)
            .expect("the first is well");
        let error = file
            .write_all_at(buffer.bytes(), 4096)
            .expect_err("the second");
        assert_eq!(error.raw_os_error(), Some(5), "{error}");
        file.write_all_at(buffer.bytes(), 4096)
            .expect("the third is well");
        assert_eq!(disk.control().faults(|faults| faults.failed), 1);

        disk.control()
            .faults(|faults| faults.add(Rule::every(Operation::Flush)));
        assert_eq!(file.sync_all().expect_err("fsync").raw_os_error(), Some(5));
        disk.control().faults(|faults| faults.heal());
        file.sync_all().expect("healed");

        disk.control()
            .faults(|faults| faults.add(Rule::every(Operation::Read)));
        let mut page = Aligned::new(0);
        assert!(file.read_exact_at(page.bytes_mut(), 1 << 20).is_err());
        disk.control().faults(|faults| faults.heal());
        file.read_exact_at(page.bytes_mut(), 4096).expect("healed");
        assert_eq!(page.bytes(), buffer.bytes());
    });
}

#[test]
fn a_disk_that_stands_still_goes_on_and_a_dropped_one_leaves_nobody_waiting() {
    alone("a_disk_that_stands_still", |directory| {
        let disk = Disk::new(&directory.join("disk"), Options::of(8 << 20)).expect("no disk");
        let still = |still| disk.control().faults(|faults| faults.still = still);
        let write =
            |file: File| std::thread::spawn(move || file.write_all_at(Aligned::new(1).bytes(), 0));
        still(true);
        let writer = write(direct(&disk));
        std::thread::sleep(Duration::from_millis(100));
        assert!(!writer.is_finished(), "the disk stands still");
        still(false);
        writer.join().expect("no panic").expect("it went on");

        still(true);
        let writer = write(direct(&disk));
        std::thread::sleep(Duration::from_millis(50));
        let path = disk.device().to_owned();
        let start = Instant::now();
        drop(disk);
        // It has been answered one way or the other.
        let _ = writer.join().expect("no panic");
        assert!(start.elapsed() < Duration::from_secs(20));
        assert!(!attached(&path), "{} is attached", path.display());
    });
}

#[test]
fn a_panic_leaves_no_mount_and_no_device() {
    alone("a_panic_leaves_no_mount", |directory| {
        let mut path = std::path::PathBuf::new();
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let disk = Disk::formatted(&directory.join("disk"), Options::of(64 << 20), Kind::Ext4)
                .expect("no disk");
            path = disk.device().to_owned();
            let at = directory.subdirectory("mount");
            let _mount = disk.mount(Kind::Ext4, &at).expect("cannot mount");
            let _file = File::create(at.join("open")).expect("cannot create");
            panic!("on purpose");
        }));
        assert!(panic.is_err());
        assert!(!attached(&path), "{} is attached", path.display());
        let mounts = std::fs::read_to_string("/proc/thread-self/mounts").expect("no mounts");
        let own = directory.join("");
        let left: Vec<&str> = mounts
            .lines()
            .filter(|line| line.contains(own.to_str().expect("a plain path")))
            .collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

/// Is a loop device in use? Given a moment: detaching one may go on in the background.
fn attached(device: &Path) -> bool {
    let name = device.file_name().expect("it has a name").to_owned();
    let backing = Path::new("/sys/block").join(name).join("loop/backing_file");
    !within(Duration::from_secs(5), || !backing.exists())
}

/// Everything of the file system at `path` is on the disk.
fn rustix_sync(path: &Path) {
    let directory = File::open(path).expect("cannot open the mount");
    rustix::fs::syncfs(directory).expect("cannot sync");
}

fn sync_directory(path: &Path) {
    let directory = File::open(path).expect("cannot open the directory");
    directory.sync_all().expect("cannot sync the directory");
}

/// The device past the page cache.
fn direct(disk: &Disk) -> File {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(disk.device())
        .expect("cannot open the device");
    file.seek(SeekFrom::Start(0)).expect("cannot seek");
    file
}

/// A page at an address that O_DIRECT takes.
#[repr(align(4096))]
struct Aligned([u8; 4096]);

impl Aligned {
    fn new(fill: u8) -> Box<Self> {
        Box::new(Self([fill; 4096]))
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Names to a process of this test the directory to work in.
const VICTIM: &str = "BLK_STORAGE_VICTIM";

#[test]
fn who_waits_for_a_disk_of_its_own_can_be_killed() {
    let name = "who_waits_for_a_disk_of_its_own_can_be_killed";
    if let Some(directory) = std::env::var_os(VICTIM) {
        return isolated(|| wait_for_ever(Path::new(&directory))).expect("cannot isolate");
    }
    if !ready(name) {
        return;
    }
    let directory = Directory::new();
    let waits = directory.join("waits");
    let mut victim = Command::new(std::env::current_exe().expect("this test has a path"))
        .args(["--exact", &format!("device::{name}")])
        .env(VICTIM, directory.join(""))
        .stdout(Stdio::null())
        .spawn()
        .expect("cannot start this test again");
    let is_waiting = within(Duration::from_secs(30), || waits.exists());
    victim.kill().expect("cannot kill a child");
    let end = daemon::wait(&mut victim, Duration::from_secs(30));
    assert!(is_waiting, "the disk was not asked");
    assert!(end.is_some(), "process {} cannot be killed", victim.id());
}

/// Syncs a disk that stands still, on the thread that has made it.
fn wait_for_ever(directory: &Path) {
    let disk = Disk::new(&directory.join("disk"), Options::of(8 << 20)).expect("no disk");
    let file = device(&disk);
    file.write_all_at(&[1; 8192], 0).expect("cannot write");
    disk.control().faults(|faults| faults.still = true);
    let before = disk.control().counts();
    let control = Arc::clone(disk.control());
    let waits = directory.join("waits");
    std::thread::spawn(move || {
        while control.counts() == before {
            std::thread::sleep(Duration::from_millis(1));
        }
        File::create(waits).expect("cannot tell that it waits");
    });
    file.sync_all().expect("cannot sync");
}
