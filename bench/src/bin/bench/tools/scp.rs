//! scp: the only one of them that encrypts.

use std::path::PathBuf;
use std::process::Command;

use blk_bench::lab::must;

use super::{Direction, Server, Tool};
use crate::scene::{SERVER, Scene};

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

    fn serve(&self, _: Direction, scene: &Scene) -> Server {
        let key = key(scene);
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
            "Port {PORT}\nListenAddress {SERVER}\nHostKey {0}\nAuthorizedKeysFile {0}.pub\nStrictModes no\nUsePAM no\n\
             PidFile none\nPermitRootLogin yes\nSubsystem sftp internal-sftp\n",
            key.display()
        );
        let path = scene.directory.join("sshd_config");
        std::fs::write(&path, settings).expect("cannot write the settings of sshd");
        let mut command = scene.server("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(path);
        Server::start(&mut command, PORT, scene)
    }

    fn client(&self, direction: Direction, scene: &Scene) -> Command {
        let mut command = scene.client("scp");
        command
            .args([
                "-q",
                "-c",
                "aes128-gcm@openssh.com",
                "-P",
                &PORT.to_string(),
            ])
            .args([
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
            ])
            .args(["-o", "LogLevel=ERROR", "-i"])
            .arg(key(scene));
        let remote = |name: &str| format!("root@{SERVER}:{}", scene.export.join(name).display());
        match direction {
            Direction::Put => command.arg(&scene.source).arg(remote("put")),
            Direction::Get => command.arg(remote("get")).arg(&scene.got),
        };
        command
    }
}

fn key(scene: &Scene) -> PathBuf {
    scene.directory.join("key")
}
