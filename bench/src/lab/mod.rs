//! Hosts, a daemon, clients and files, each removed when dropped, for namespace tests and measurements.
//!
//! What cannot be made or does not answer ends the caller by a panic that says what it was: without its lab, neither a
//! test nor a measurement can go on.

pub mod client;
pub mod daemon;
pub mod disk;
pub mod files;
pub mod hosts;
pub mod inside;
pub mod spray;
pub mod steady;
pub mod tcp;
pub mod trace;
pub mod traffic;
pub mod turmoil;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Whether the namespace tests can run here. Without them nothing is shown, so that is loud, and in CI it is a failure.
///
/// # Panics
/// In CI, when something that the tests need is missing.
pub fn ready(test: &str) -> bool {
    let missing = if !rustix::process::geteuid().is_root() {
        Some("network namespaces need root".to_owned())
    } else {
        ["blockd", "blkcp", "blk-wire"]
            .iter()
            .map(|name| binary(name))
            .find(|path| !path.exists())
            .map(|path| {
                format!(
                    "{} is missing: cargo build --release --workspace --bins",
                    path.display()
                )
            })
    };
    nothing_missing(test, missing)
}

/// Whether a test can run: nothing that it needs is missing. Otherwise that is loud, and in CI it is a failure.
///
/// # Panics
/// In CI, when something is missing.
pub fn nothing_missing(test: &str, missing: Option<String>) -> bool {
    let Some(missing) = missing else { return true };
    let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1");
    assert!(!in_ci, "{test}: {missing}");
    // Straight to the descriptor: the test runner swallows what passing tests print.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {missing}");
    false
}

/// A release binary, beside the directory of the test executable.
pub fn binary(name: &str) -> PathBuf {
    target().join("release").join(name)
}

/// A directory of its own on the disk of the target directory, removed when dropped with all mounts below it.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    mounts: Vec<PathBuf>,
}

impl Default for Directory {
    fn default() -> Self {
        Self::new()
    }
}

impl Directory {
    /// Makes the directory. Its name starts with the process id, so that a later run can tell whose it is.
    pub fn new() -> Self {
        let path = target().join("lab-tests").join(unique());
        std::fs::create_dir_all(&path).expect("cannot make a directory for the test");
        Self {
            path,
            mounts: Vec::new(),
        }
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A directory in it, made.
    pub fn subdirectory(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::create_dir_all(&path).expect("cannot make a directory for the test");
        path
    }

    /// An ext4 file system of its own below it, of so many MiB, mounted.
    pub fn small_disk(&mut self, name: &str, mebibytes: u64) -> PathBuf {
        let image = self.join(&format!("{name}.img"));
        let file = std::fs::File::create(&image).expect("cannot make a disk image");
        file.set_len(mebibytes << 20)
            .expect("cannot size a disk image");
        must(
            Command::new("mkfs.ext4")
                .args(["-q", "-m", "0"])
                .arg(&image),
        );
        let mount = self.subdirectory(name);
        must(
            Command::new("mount")
                .args(["-o", "loop"])
                .arg(&image)
                .arg(&mount),
        );
        self.mounts.push(mount.clone());
        mount
    }

    /// A file system in memory below it, of so many MiB, mounted. In huge pages where the kernel has them: to reserve
    /// space in small ones takes half a second for 2 GiB, before the first byte is copied.
    pub fn memory(&mut self, name: &str, mebibytes: u64) -> PathBuf {
        let mount = self.subdirectory(name);
        let command = |huge: &str| {
            let mut command = Command::new("mount");
            command.args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m{huge}")]);
            command.arg("tmpfs").arg(&mount);
            command
        };
        // Refused by a kernel without transparent huge pages.
        let huge = command(",huge=always").output();
        if !huge.is_ok_and(|output| output.status.success()) {
            must(&mut command(""));
        }
        self.mounts.push(mount.clone());
        mount
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        for mount in &self.mounts {
            let _ = Command::new("umount").arg("-l").arg(mount).status();
        }
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Runs a command that has to succeed.
///
/// # Panics
/// With what it said, when it fails.
pub fn must(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        status.success(),
        "{command:?}: {status}\n{}",
        String::from_utf8_lossy(&stderr)
    );
    String::from_utf8_lossy(&stdout).into_owned()
}

/// Asks until the answer is yes or the time is over. Gives the last answer.
pub fn within(time: Duration, mut question: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if question() {
            return true;
        }
        if start.elapsed() > time {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `PID-N`: a name that no other test has.
fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// The target directory that the executable lies in: a test (`target/PROFILE/deps/lab-HASH`), or a program
/// (`target/PROFILE/NAME`).
fn target() -> PathBuf {
    let executable = std::env::current_exe().expect("the executable has a path");
    executable
        .ancestors()
        .skip(1)
        .find(|directory| !directory.ends_with("deps"))
        .and_then(Path::parent)
        .expect("the executable lies in a target directory")
        .to_owned()
}
