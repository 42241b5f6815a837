//! rclone over SFTP: many small files at once.
//!
//! Of what it serves without a key or certificate, SFTP is the fastest that takes files: WebDAV gave less than 40 files a second here,
//! and HTTP only gives. It encrypts.

use std::path::Path;
use std::process::Command;

use super::{Direction, Service, Tool};
use crate::scene::{Far, Near};
use crate::work::Work;

const PORT: u16 = 8090;
/// Files under way at once: as many as blkcp has.
const TRANSFERS: &str = "16";
/// What `rclone obscure` makes of `x`. The server takes any password.
const PASSWORD: &str = "9ucEEQOVKr0kV_qrEHmSrVI";

/// Without a configuration of its own.
pub struct Rclone;

impl Tool for Rclone {
    fn name(&self) -> String {
        "rclone (SFTP)".to_owned()
    }

    fn programs(&self) -> &'static [&'static str] {
        &["rclone"]
    }

    fn works(&self) -> &'static [Work] {
        &[Work::Small]
    }

    // With 100,000 files each of them takes minutes.
    fn most_runs(&self) -> u32 {
        1
    }

    fn server(&self, far: &Far) -> Option<Service> {
        let mut command = far.place.command("rclone");
        let address = far.at(PORT);
        command
            .args(["serve", "sftp", "--no-auth", "--config="])
            .args(["--addr", &address])
            .arg(&far.export);
        Some(Service::tcp(command, PORT))
    }

    fn tree(&self, way: Direction, local: &Path, name: &str, near: &Near) -> Option<Command> {
        let mut command = near.command("rclone");
        command.args(["copy", "--config="]).args([
            "--transfers",
            TRANSFERS,
            "--checkers",
            TRANSFERS,
        ]);
        let remote = format!(
            ":sftp,host={},port={PORT},user=x,pass={PASSWORD},shell_type=none:{name}",
            near.server
        );
        match way {
            Direction::Put => command.arg(local).arg(remote),
            Direction::Get => command.arg(remote).arg(local),
        };
        Some(command)
    }
}
