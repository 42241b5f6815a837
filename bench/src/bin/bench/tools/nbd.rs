//! nbdkit and nbdcopy: the network block device.

use std::fs::File;
use std::process::Command;

use super::{Direction, Server, Tool, at};
use crate::scene::{SERVER, Scene};

const PORT: u16 = 10809;

/// With so many connections.
pub struct Nbd {
    pub connections: u32,
}

impl Tool for Nbd {
    fn name(&self) -> String {
        format!("nbdkit + nbdcopy, {} connection(s)", self.connections)
    }

    fn programs(&self) -> &'static [&'static str] {
        &["nbdkit", "nbdcopy"]
    }

    fn serve(&self, direction: Direction, scene: &Scene) -> Server {
        let mut command = scene.server("nbdkit");
        let port = PORT.to_string();
        command.args(["--foreground", "--ipaddr", SERVER, "--port", &port]);
        match direction {
            Direction::Put => {
                let file = File::create(scene.put()).expect("cannot make the file");
                file.set_len(scene.size).expect("cannot size the file");
                command.arg("file").arg(scene.put());
            }
            Direction::Get => {
                let file = scene.export.join("get");
                command.args(["--readonly", "file"]).arg(file);
            }
        }
        Server::start(&mut command, PORT, scene)
    }

    fn client(&self, direction: Direction, scene: &Scene) -> Command {
        let mut command = scene.client("nbdcopy");
        let connections = format!("--connections={}", self.connections);
        let remote = format!("nbd://{}", at(PORT));
        command.args(["--flush", &connections]);
        match direction {
            Direction::Put => command.arg(&scene.source).arg(remote),
            Direction::Get => command.arg(remote).arg(&scene.got),
        };
        command
    }
}
