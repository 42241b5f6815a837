//! Two hosts and the files of both.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use blk_bench::lab::hosts::{Host, Hosts, Link};
use blk_bench::lab::{Directory, files};

use super::far_files::{FarFiles, Local, sync};
use super::rest::settle;
use super::tools::{Server, Tool};

/// The server's address in the lab.
const SERVER: &str = "10.77.0.1";
/// A process that is told so by setpriv(1) gets a SIGTERM when the one that started it dies, however that does
/// (PR_SET_PDEATHSIG): neither a Ctrl-C in a process group of its own nor a kill of this program leaves anything behind.
pub const ENDS_WITH_US: [&str; 2] = ["--pdeathsig", "TERM"];
/// No client takes so many seconds: one that does hangs.
const LIMIT: &str = "900";
/// What the client gets.
pub const GET: &str = "get";
/// What the client puts.
pub const PUT: &str = "put";
/// What is read and written at random.
pub const RANDOM: &str = "random";

/// Where commands run.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a network namespace.
    Namespace(String),
    /// On this machine, as it is.
    Here,
}

impl Place {
    /// A command that runs there, under the process id that it is started with, and ends with this program.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match self {
            Self::Namespace(name) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", name, "setpriv"]);
                command
            }
            Self::Here => Command::new("setpriv"),
        };
        command.args(ENDS_WITH_US).arg(program);
        // What somebody has measured here must not change what `auto` takes.
        command.env("BLK_PATHS", "");
        command
    }
}

/// The end that serves a directory.
#[derive(Debug)]
pub struct Far {
    /// Where its servers run.
    pub place: Place,
    /// The address that they listen on.
    pub address: String,
    /// The interfaces that blockd serves.
    pub interfaces: Vec<String>,
    /// The directory.
    pub export: PathBuf,
    /// For settings and logs.
    pub home: PathBuf,
}

/// The end that copies.
#[derive(Debug)]
pub struct Near {
    /// Where its clients run.
    pub place: Place,
    /// The server's address.
    pub server: String,
    /// What it puts.
    pub source: PathBuf,
    /// Where gets come to.
    pub got: PathBuf,
    /// The server's directory as the server calls it.
    pub export: PathBuf,
    /// For keys and other files.
    pub home: PathBuf,
    /// MTU of the interface that leads to the server.
    pub mtu: u32,
    /// Bytes of the file.
    pub size: u64,
}

impl Far {
    /// `HOST:PORT` to listen on.
    pub fn at(&self, port: u16) -> String {
        format!("{}:{port}", bracketed(&self.address))
    }
}

/// IPv6 addresses have colons of their own.
fn bracketed(address: &str) -> String {
    if address.contains(':') {
        format!("[{address}]")
    } else {
        address.to_owned()
    }
}

/// A tool's server. Ended when dropped.
pub enum Serving<'a> {
    /// This process has started it.
    Here(Server),
    /// On another machine.
    There(&'a dyn FarFiles),
    /// The tool has none.
    Nobody,
}

impl Serving<'_> {
    /// The process.
    ///
    /// # Panics
    /// When it is not on this machine. For work that is measured on one machine only.
    pub fn process(&self) -> &Server {
        match self {
            Self::Here(server) => server,
            Self::There(_) | Self::Nobody => panic!("this work has both ends on one machine"),
        }
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        if let Self::There(files) = self {
            files.stop();
        }
    }
}

impl Near {
    /// A command that runs there, and ends in a failure when it takes too long.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.place.command("timeout");
        command.args(["--kill-after=5", LIMIT]).arg(program);
        command
    }

    /// The server's address as it stands before a colon.
    pub fn host(&self) -> String {
        bracketed(&self.server)
    }

    /// `HOST:PORT` of the server.
    pub fn at(&self, port: u16) -> String {
        format!("{}:{port}", self.host())
    }
}

/// Everything is removed when it is dropped.
pub struct Scene {
    /// The end that copies.
    pub near: Near,
    /// The end that serves, when it is for this process to start servers there.
    pub far: Option<Far>,
    /// The server's files.
    pub far_files: Box<dyn FarFiles>,
    /// For settings, logs and files.
    pub directory: Directory,
    // The hosts go after what runs on them.
    _hosts: Option<Hosts>,
}

impl Scene {
    /// Hosts joined by a veth pair with this MTU, and a file of this size at both.
    pub fn lab(mtu: u32, size: u64) -> Self {
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        let hosts = Hosts::up(Link::of(mtu));
        let place = |host| Place::Namespace(hosts.namespace(host));
        let near = Near {
            place: place(Host::Client),
            server: SERVER.to_owned(),
            source: directory.join("source"),
            got: directory.join("got"),
            export: export.clone(),
            home: directory.subdirectory("home"),
            mtu,
            size,
        };
        let far = Far {
            place: place(Host::Server),
            address: SERVER.to_owned(),
            interfaces: vec![Host::Server.interface().to_owned()],
            export: export.clone(),
            home: directory.subdirectory("home"),
        };
        files::write(&near.source, size, 1);
        std::fs::copy(&near.source, export.join(GET)).expect("cannot copy the file");
        for file in [&near.source, &export.join(GET)] {
            sync(file);
        }
        Self {
            near,
            far: Some(far),
            far_files: Box::new(Local { export }),
            directory,
            _hosts: Some(hosts),
        }
    }

    /// A server that somebody else has started.
    pub fn elsewhere(near: Near, far_files: Box<dyn FarFiles>, directory: Directory) -> Self {
        Self {
            near,
            far: None,
            far_files,
            directory,
            _hosts: None,
        }
    }

    /// Starts the tool's server, and no other.
    ///
    /// # Panics
    /// When it does not serve.
    pub fn serve(&self, tool: &dyn Tool) -> Serving<'_> {
        let Some(far) = &self.far else {
            self.far_files.serve(&tool.name());
            return Serving::There(self.far_files.as_ref());
        };
        match tool.server(far) {
            Some(service) => Serving::Here(Server::start(service, far)),
            None => Serving::Nobody,
        }
    }

    /// Waits until the disks of both ends are at rest: whether they are. In the lab both have the same.
    pub fn settle(&self) -> bool {
        let [here, there] = [settle(&self.near.home), self.far_files.settle()];
        here && there
    }

    /// The server's directory. For work that is measured on one machine only.
    ///
    /// # Panics
    /// When the server is elsewhere.
    pub fn export(&self) -> &Path {
        let far = self.far.as_ref();
        &far.expect("this work has both ends on one machine").export
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A client that is nowhere.
    pub fn near() -> Near {
        Near {
            place: Place::Here,
            server: "192.0.2.1".to_owned(),
            source: PathBuf::from("/tmp/source"),
            got: PathBuf::from("/tmp/got"),
            export: PathBuf::from("/srv"),
            home: PathBuf::from("/tmp"),
            mtu: 1500,
            size: 1 << 20,
        }
    }

    #[test]
    fn commands_run_where_they_shall() {
        let words = |place: Place| format!("{:?}", place.command("x"));
        assert_eq!(
            words(Place::Here),
            r#"BLK_PATHS="" "setpriv" "--pdeathsig" "TERM" "x""#
        );
        let lab = Place::Namespace("blk-1".to_owned());
        assert_eq!(
            words(lab),
            r#"BLK_PATHS="" "ip" "netns" "exec" "blk-1" "setpriv" "--pdeathsig" "TERM" "x""#
        );
        assert_eq!(
            format!("{:?}", near().command("x")),
            r#"BLK_PATHS="" "setpriv" "--pdeathsig" "TERM" "timeout" "--kill-after=5" "900" "x""#
        );
        assert_eq!(near().at(80), "192.0.2.1:80");
        let mut near = near();
        near.server = "fd77::1".to_owned();
        assert_eq!(near.at(80), "[fd77::1]:80");
    }
}
