//! iperf3: what one TCP connection carries when nobody reads or writes files.

use std::process::Command;

use super::{Direction, Kind, Server, Tool};
use crate::scene::{SERVER, Scene};

const PORT: u16 = 5201;

/// As many bytes as the file has.
pub struct Iperf;

impl Tool for Iperf {
    fn name(&self) -> String {
        "iperf3 (no files)".to_owned()
    }

    fn kind(&self) -> Kind {
        Kind::Ceiling
    }

    fn programs(&self) -> &'static [&'static str] {
        &["iperf3"]
    }

    fn writes(&self) -> bool {
        false
    }

    fn serve(&self, _: Direction, scene: &Scene) -> Server {
        let mut command = scene.server("iperf3");
        command.args(["--server", "--one-off", "--port", &PORT.to_string()]);
        Server::start(&mut command, PORT, scene)
    }

    fn client(&self, direction: Direction, scene: &Scene) -> Command {
        let mut command = scene.client("iperf3");
        let (port, bytes) = (PORT.to_string(), scene.size.to_string());
        command.args(["--client", SERVER, "--port", &port, "--bytes", &bytes]);
        if direction == Direction::Get {
            command.arg("--reverse");
        }
        command
    }
}
