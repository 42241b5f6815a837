//! A tool's server while it runs.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use blk_bench::lab::{daemon, within};
use rustix::process::{Pid, Signal, kill_process};

use crate::scene::{Far, Place};

/// How it is known that a server serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// Its process listens on this TCP port.
    Listens(u16),
    /// It has said this.
    Says(&'static str),
}

/// A command that serves.
#[derive(Debug)]
pub struct Service {
    /// The command.
    pub command: Command,
    /// The port that it listens on.
    pub port: u16,
    /// How it is known that it does.
    pub ready: Ready,
}

impl Service {
    /// One that listens on a TCP port.
    pub fn tcp(command: Command, port: u16) -> Self {
        let ready = Ready::Listens(port);
        Self {
            command,
            port,
            ready,
        }
    }
}

/// Ended when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it.
    ///
    /// # Panics
    /// When it does not serve within some seconds, with what it said.
    pub fn start(mut service: Service, far: &Far) -> Self {
        let log = far.home.join(format!("server-{}.log", service.port));
        let mut server = Self::spawn(&mut service.command, log);
        let is_ready = |server: &Self| match service.ready {
            Ready::Listens(port) => listens(&far.place, port, server.id()),
            Ready::Says(words) => server.said().contains(words),
        };
        within(Duration::from_secs(15), || {
            is_ready(&server) || !server.is_running()
        });
        assert!(
            is_ready(&server) && server.is_running(),
            "{:?} does not serve:\n{}",
            service.command,
            server.said()
        );
        server
    }

    fn is_running(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|end| end.is_none())
    }

    fn spawn(command: &mut Command, log: PathBuf) -> Self {
        let file = File::create(&log).expect("cannot make the log of the server");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("cannot share the log"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log }
    }

    /// What it has printed so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The counters of blockd by name, summed over its workers.
    ///
    /// # Panics
    /// When it does not tell them within some seconds.
    pub fn counters(&self) -> BTreeMap<String, u64> {
        let before = self.said().len();
        self.signal(Signal::USR1);
        // It prints all of it in one write.
        let told = || self.said()[before..].contains(" dropped=");
        let told = within(Duration::from_secs(5), told);
        assert!(told, "blockd tells no statistics:\n{}", self.said());
        daemon::sums(&self.said()[before..])
    }

    /// Sends it a signal.
    fn signal(&self, signal: Signal) {
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the server said:\n{}", self.said());
        }
        if !self.is_running() {
            return;
        }
        self.signal(Signal::TERM);
        if daemon::wait(&mut self.child, Duration::from_secs(5)).is_none() {
            daemon::end(&mut self.child, "a server");
        }
    }
}

/// Whether this process listens there, and not somebody else.
fn listens(place: &Place, port: u16, process: u32) -> bool {
    let filter = format!("sport = :{port}");
    let listening = place.command("ss").args(["-Hltnp", &filter]).output();
    let listening = listening.expect("cannot run ss").stdout;
    is_listener(&String::from_utf8_lossy(&listening), process)
}

fn is_listener(sockets: &str, process: u32) -> bool {
    sockets.contains(&format!("pid={process},"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn somebody_else_is_not_the_server() {
        let line = r#"LISTEN 0 511 10.0.0.1:80 0.0.0.0:* users:(("nginx",pid=12,fd=6),("nginx",pid=3,fd=6))"#;
        assert!(is_listener(line, 12) && is_listener(line, 3));
        assert!(!is_listener(line, 1) && !is_listener(line, 2) && !is_listener("", 12));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listens(&Place::Here, port, std::process::id()));
        assert!(!listens(&Place::Here, port, 1));
    }
}
