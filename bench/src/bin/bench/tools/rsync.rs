//! The rsync daemon.

use std::process::Command;

use super::{Direction, Server, Tool, at};
use crate::scene::Scene;

const PORT: u16 = 8730;

/// Without its delta algorithm, which would only cost here.
pub struct Rsync;

impl Tool for Rsync {
    fn name(&self) -> String {
        "rsync daemon".to_owned()
    }

    fn programs(&self) -> &'static [&'static str] {
        &["rsync"]
    }

    fn serve(&self, _: Direction, scene: &Scene) -> Server {
        let settings = format!(
            "use chroot = no\nuid = root\ngid = root\n[data]\npath = {}\nread only = no\n",
            scene.export.display()
        );
        let path = scene.directory.join("rsyncd.conf");
        std::fs::write(&path, settings).expect("cannot write the settings of rsync");
        let mut command = scene.server("rsync");
        command
            .args(["--daemon", "--no-detach", "--port", &PORT.to_string()])
            .arg(format!("--config={}", path.display()));
        Server::start(&mut command, PORT, scene)
    }

    fn client(&self, direction: Direction, scene: &Scene) -> Command {
        let mut command = scene.client("rsync");
        command.arg("--whole-file");
        let url = |name: &str| format!("rsync://{}/data/{name}", at(PORT));
        match direction {
            Direction::Put => command.arg(&scene.source).arg(url("put")),
            Direction::Get => command.arg(url("get")).arg(&scene.got),
        };
        command
    }
}
