//! AF_XDP without a session: what the rings carry when nobody acknowledges, checks or writes anything.

use super::{Copy, Direction, Kind, Service, Tool};
use crate::inside::{self, blast};
use crate::scene::{Far, Near};
use crate::work::Work;

/// From the client to the server: in the lab the other way is the same.
pub struct Blast;

impl Tool for Blast {
    fn name(&self) -> String {
        "AF_XDP copy (no session, no files)".to_owned()
    }

    fn kind(&self) -> Kind {
        Kind::Ceiling
    }

    fn programs(&self) -> &'static [&'static str] {
        &[]
    }

    fn works(&self) -> &'static [Work] {
        &[Work::Put]
    }

    // It would send at full rate into somebody's network.
    fn goes_far(&self) -> bool {
        false
    }

    fn server(&self, far: &Far) -> Option<Service> {
        let interface = far.interfaces.first()?;
        let mut command = far.place.command(inside::program());
        command.args(["blast-receive", interface, &far.address]);
        Some(Service::tcp(command, blast::COUNTER_PORT))
    }

    fn copy(&self, _: Direction, near: &Near) -> Option<Copy> {
        let mut command = near.command(inside::program());
        command.args(["blast-send", "blk1", &near.server]);
        Some(Copy {
            command,
            told: blast::told,
            leaves_file: false,
        })
    }
}
