//! iperf3: what one TCP connection carries when nobody reads or writes files.

use super::{Copy, Direction, Kind, Service, Tool};
use crate::scene::{Far, Near};
use crate::work::Work;

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

    fn works(&self) -> &'static [Work] {
        &[Work::Put, Work::Get]
    }

    fn server(&self, far: &Far) -> Option<Service> {
        let mut command = far.place.command("iperf3");
        command.args(["--server", "--port", &PORT.to_string()]);
        command.args(["--bind", &far.address]);
        Some(Service::tcp(command, PORT))
    }

    fn copy(&self, direction: Direction, near: &Near) -> Option<Copy> {
        let mut command = near.command("iperf3");
        let (port, bytes) = (PORT.to_string(), near.size.to_string());
        command.args(["--client", &near.server, "--port", &port, "--bytes", &bytes]);
        if direction == Direction::Get {
            command.arg("--reverse");
        }
        let leaves_file = false;
        Some(Copy {
            leaves_file,
            ..Copy::silent(command)
        })
    }
}
