//! scp, which encrypts, as rclone over SFTP does and the others do not.

use std::path::{Path, PathBuf};
use std::process::Command;

use blk_bench::lab::must;

use super::{Copy, Direction, Service, Tool};
use crate::scene::{Far, GET, Near, PUT};
use crate::work::Work;

const PORT: u16 = 2222;

/// With its fastest cipher.
pub struct Scp;

impl Tool for Scp {
    fn name(&self) -> String {
        "scp (AES-GCM)".to_owned()
    }

    fn programs(&self) -> &'static [&'static str] {
        &["sshd", "scp", "ssh-keygen"]
    }

    fn works(&self) -> &'static [Work] {
        &[Work::Put, Work::Get, Work::ColdGet]
    }

    // The key would have to get to the other machine.
    fn goes_far(&self) -> bool {
        false
    }

    fn server(&self, far: &Far) -> Option<Service> {
        let key = key(&far.home);
        if !key.exists() {
            must(
                Command::new("ssh-keygen")
                    .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                    .arg(&key),
            );
        }
        // Where sshd of Debian gives up its privileges.
        std::fs::create_dir_all("/run/sshd").expect("cannot make /run/sshd");
        let settings = format!(
            "Port {PORT}\nListenAddress {}\nHostKey {1}\nAuthorizedKeysFile {1}.pub\nStrictModes no\nUsePAM no\n\
             PidFile none\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n",
            far.address,
            key.display()
        );
        let path = far.home.join("sshd_config");
        std::fs::write(&path, settings).expect("cannot write the settings of sshd");
        let mut command = far.place.command("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(path);
        Some(Service::tcp(command, PORT))
    }

    fn copy(&self, direction: Direction, near: &Near) -> Option<Copy> {
        let mut command = near.command("scp");
        command
            .args(["-q", "-c", "aes128-gcm@openssh.com"])
            .args(["-P", &PORT.to_string()])
            .args(["-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null"])
            .args(["-o", "LogLevel=ERROR", "-i"])
            .arg(key(&near.home));
        let remote =
            |name: &str| format!("root@{}:{}", near.host(), near.export.join(name).display());
        match direction {
            Direction::Put => command.arg(&near.source).arg(remote(PUT)),
            Direction::Get => command.arg(remote(GET)).arg(&near.got),
        };
        Some(Copy::silent(command))
    }
}

/// Both ends have the same home in the lab.
fn key(home: &Path) -> PathBuf {
    home.join("key")
}
