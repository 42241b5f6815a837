//! The rsync daemon.

use std::path::Path;
use std::process::Command;

use super::{Copy, Direction, Service, Tool};
use crate::scene::{Far, GET, Near, PUT};
use crate::work::Work;

const PORT: u16 = 8730;

/// Without its delta algorithm, which would only cost here.
pub struct Rsync;

fn url(near: &Near, name: &str) -> String {
    format!("rsync://{}/data/{name}", near.at(PORT))
}

impl Tool for Rsync {
    fn name(&self) -> String {
        "rsync daemon".to_owned()
    }

    fn programs(&self) -> &'static [&'static str] {
        &["rsync"]
    }

    fn works(&self) -> &'static [Work] {
        &[Work::Put, Work::Get, Work::ColdGet, Work::Small]
    }

    fn server(&self, far: &Far) -> Option<Service> {
        let settings = format!(
            "use chroot = no\nuid = root\ngid = root\naddress = {}\n[data]\npath = {}\nread only = no\n",
            far.address,
            far.export.display()
        );
        let path = far.home.join("rsyncd.conf");
        std::fs::write(&path, settings).expect("cannot write the settings of rsync");
        let mut command = far.place.command("rsync");
        command
            .args(["--daemon", "--no-detach", "--port", &PORT.to_string()])
            .arg(format!("--config={}", path.display()));
        Some(Service::tcp(command, PORT))
    }

    fn copy(&self, direction: Direction, near: &Near) -> Option<Copy> {
        let mut command = near.command("rsync");
        command.arg("--whole-file");
        match direction {
            Direction::Put => command.arg(&near.source).arg(url(near, PUT)),
            Direction::Get => command.arg(url(near, GET)).arg(&near.got),
        };
        Some(Copy::silent(command))
    }

    fn tree(&self, way: Direction, local: &Path, name: &str, near: &Near) -> Option<Command> {
        let mut command = near.command("rsync");
        // What is in the directory comes into the other one.
        let (local, remote) = (format!("{}/", local.display()), url(near, name) + "/");
        command.arg("--archive");
        match way {
            Direction::Put => command.args([local, remote]),
            Direction::Get => command.args([remote, local]),
        };
        Some(command)
    }
}
