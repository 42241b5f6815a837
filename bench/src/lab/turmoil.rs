//! Copies that start, stop and die, and a blockd that does: the worst that other users of the interfaces have to bear.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::client::start;
use super::daemon::Daemon;
use super::hosts::{Host, Hosts};
use super::{Directory, within};

/// What happens in the middle of a copy, in turns.
const ENDS: [End; 5] = [
    End::Well,
    End::Blkcp(Signal::INT),
    End::Blkcp(Signal::KILL),
    End::Blockd(Signal::TERM),
    End::Blockd(Signal::KILL),
];

#[derive(Debug, Clone, Copy)]
enum End {
    Well,
    Blkcp(Signal),
    Blockd(Signal),
}

/// How often the XDP program came and went, at both ends together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Turmoil {
    /// Times that a program was attached; each was taken off again.
    pub attached: u32,
    /// Copies that were started.
    pub copies: u32,
}

/// Starts blockd and copies of `source` again and again until the time is over; each ends in another way.
///
/// # Panics
/// When a copy that nothing was done to fails, or a program stays when its process has gone.
pub fn rage(hosts: &Hosts, source: &Path, time: Duration, directory: &Directory) -> Turmoil {
    let export = directory.subdirectory("export");
    let source = source.to_str().expect("test files have plain paths");
    let started = Instant::now();
    let mut turmoil = Turmoil::default();
    while started.elapsed() < time {
        let mut daemon = Daemon::start(hosts, &export, directory);
        turmoil.attached += 1;
        for end in ENDS {
            let copy = start(hosts, directory, &[source, "10.77.0.1:data/file"]);
            turmoil.copies += 1;
            turmoil.attached += 1;
            match end {
                End::Well => {
                    copy.outcome().ok();
                }
                End::Blkcp(signal) => {
                    std::thread::sleep(Duration::from_millis(150));
                    copy.signal(signal);
                    assert_ne!(copy.outcome().code, Some(0), "the copy was over too soon");
                }
                End::Blockd(signal) => {
                    std::thread::sleep(Duration::from_millis(150));
                    daemon.signal(signal);
                    let gone = daemon.wait(Duration::from_secs(10));
                    assert!(gone.is_some(), "blockd stays");
                    // It waits a while for a blockd that may come again.
                    drop(copy);
                    without_program(hosts, Host::Server);
                    daemon = Daemon::start(hosts, &export, directory);
                    turmoil.attached += 1;
                }
            }
            without_program(hosts, Host::Client);
        }
    }
    turmoil
}

fn without_program(hosts: &Hosts, host: Host) {
    let gone = within(Duration::from_secs(5), || !hosts.has_xdp(host));
    assert!(gone, "an XDP program stays on {host:?}");
}
