//! blkcp and blockd.

use std::process::{Command, Stdio};
use std::time::Duration;

use blk_bench::lab::binary;
use blk_bench::lab::hosts::Host;
use blk_bench::lab::within;

use super::{Direction, Kind, Server, Tool};
use crate::scene::{SERVER, Scene};

/// Both ends over one data path.
pub struct Blkcp {
    /// As `--datapath` has it.
    pub datapath: &'static str,
}

impl Tool for Blkcp {
    fn name(&self) -> String {
        format!("blkcp {}", self.datapath)
    }

    fn kind(&self) -> Kind {
        Kind::Ours
    }

    fn programs(&self) -> &'static [&'static str] {
        &[]
    }

    fn serve(&self, _: Direction, scene: &Scene) -> Server {
        let log = scene.directory.join("blockd.log");
        let file = std::fs::File::create(&log).expect("cannot make the log of blockd");
        let export = format!("data={}", scene.export.display());
        let child = scene
            .hosts
            .command(Host::Server, binary("blockd"))
            .args(["--interface", Host::Server.interface()])
            .args(["--datapath", self.datapath, "--export", &export])
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("cannot share the log of blockd"))
            .stderr(file)
            .spawn()
            .expect("cannot start blockd");
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let ready = within(Duration::from_secs(15), || said().contains("blockd: ready"));
        let server = Server(child);
        assert!(ready, "blockd is not ready:\n{}", said());
        server
    }

    fn client(&self, direction: Direction, scene: &Scene) -> Command {
        let mut command = scene.hosts.command(Host::Client, binary("blkcp"));
        command.args(["--json", "--datapath", self.datapath]);
        match direction {
            Direction::Put => command.arg(&scene.source).arg(format!("{SERVER}:data/put")),
            Direction::Get => command.arg(format!("{SERVER}:data/get")).arg(&scene.got),
        };
        command
    }
}
