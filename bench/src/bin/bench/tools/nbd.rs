//! nbdkit, the network block device, with nbdcopy for whole files and fio for random blocks.

use super::{Copy, Direction, Load, Service, Tool};
use crate::latencies::Latencies;
use crate::scene::{Far, GET, Near, PUT, RANDOM};
use crate::work::Work;
use crate::work::random::Job;

/// For files that are in the page cache, and stay there.
const HOT_PORT: u16 = 10809;
/// For files that shall not be there.
const COLD_PORT: u16 = 10810;

/// The file plugin, over a whole directory.
fn server(far: &Far, port: u16) -> Service {
    let mut command = far.place.command("nbdkit");
    command
        .args(["--foreground", "--ipaddr", &far.address])
        // As many as requests at once in random work; the default is 16.
        .args(["--threads", "32"])
        .args(["--port", &port.to_string(), "file"])
        .arg(format!("dir={}", far.export.display()));
    if port == COLD_PORT {
        command.args(["cache=none", "fadvise=sequential"]);
    }
    Service::tcp(command, port)
}

fn url(near: &Near, port: u16, name: &str) -> String {
    format!("nbd://{}/{name}", near.at(port))
}

/// nbdcopy.
pub struct Copies {
    connections: u32,
    port: u16,
}

impl Copies {
    /// With so many connections, by way of the page cache.
    pub fn hot(connections: u32) -> Self {
        let port = HOT_PORT;
        Self { connections, port }
    }

    /// The same with a server that leaves nothing in the page cache.
    pub fn cold(connections: u32) -> Self {
        let port = COLD_PORT;
        Self { connections, port }
    }
}

impl Tool for Copies {
    fn name(&self) -> String {
        let cache = if self.port == COLD_PORT {
            " (cache=none)"
        } else {
            ""
        };
        let connections = self.connections;
        format!("nbdkit{cache} + nbdcopy, {connections} connection(s)")
    }

    fn programs(&self) -> &'static [&'static str] {
        &["nbdkit", "nbdcopy"]
    }

    fn works(&self) -> &'static [Work] {
        if self.port == COLD_PORT {
            &[Work::ColdGet]
        } else {
            &[Work::Put, Work::Get]
        }
    }

    fn server(&self, far: &Far) -> Option<Service> {
        Some(server(far, self.port))
    }

    fn wants_target(&self) -> bool {
        true
    }

    fn copy(&self, direction: Direction, near: &Near) -> Option<Copy> {
        let mut command = near.command("nbdcopy");
        let connections = format!("--connections={}", self.connections);
        command.args(["--flush", &connections]);
        match direction {
            Direction::Put => command.arg(&near.source).arg(url(near, self.port, PUT)),
            Direction::Get => command.arg(url(near, self.port, GET)).arg(&near.got),
        };
        Some(Copy::silent(command))
    }
}

/// fio's nbd engine, with one connection.
pub struct Blocks;

impl Tool for Blocks {
    fn name(&self) -> String {
        "nbdkit + fio".to_owned()
    }

    fn programs(&self) -> &'static [&'static str] {
        &["nbdkit", "fio"]
    }

    fn works(&self) -> &'static [Work] {
        &[Work::Random]
    }

    fn server(&self, far: &Far) -> Option<Service> {
        Some(server(far, HOT_PORT))
    }

    fn random(&self, job: &Job, near: &Near) -> Option<Load> {
        let mut command = near.command("fio");
        command
            .args(job.fio())
            .arg("--ioengine=nbd")
            .arg(format!("--uri={}", url(near, HOT_PORT, RANDOM)));
        Some(Load {
            command,
            read: Latencies::of_fio,
        })
    }
}
