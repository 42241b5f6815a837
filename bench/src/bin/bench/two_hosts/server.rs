//! The end that serves.

use std::net::{IpAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use blk_bench::lab::Directory;
use signal_hook::consts::{SIGHUP, TERM_SIGNALS};

use super::control::{self, PORT};
use crate::far_files::{FarFiles, Local};
use crate::scene::{Far, GET, PUT, Place, RANDOM};
use crate::tools::{self, Server};
use crate::work::Work;

/// What it serves, and for how long.
#[derive(Debug, clap::Args)]
pub struct ServerArguments {
    /// Address to listen on
    #[arg(long, value_name = "ADDR")]
    listen: IpAddr,
    /// Directory to serve; its files `get`, `put` and `random` are made and removed
    #[arg(long, value_name = "DIR")]
    export: PathBuf,
    /// Interface that blockd serves; may be given several times
    #[arg(long, value_name = "IF", required = true)]
    interface: Vec<String>,
    /// Largest file that a client may have made there, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 16384)]
    largest: u64,
    /// End after so many minutes
    #[arg(long, value_name = "N", default_value_t = 120)]
    minutes: u64,
    /// Tools to serve, by their names or the beginnings of them; all by default
    #[arg(value_name = "TOOL")]
    tools: Vec<String>,
}

/// Serves until its time is over, or a signal comes.
pub fn serve(arguments: &ServerArguments) -> Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    // Also when the terminal goes: the servers take a SIGHUP for something else.
    for &signal in TERM_SIGNALS.iter().chain([&SIGHUP]) {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let export = arguments.export.canonicalize();
    let export = export.with_context(|| format!("cannot serve {}", arguments.export.display()))?;
    let is_empty = std::fs::read_dir(&export).map(|mut entries| entries.next().is_none());
    ensure!(
        is_empty.with_context(|| format!("cannot read {}", export.display()))?,
        "{} is not empty: what the servers leave there is removed at the end, so give an empty directory",
        export.display()
    );
    let directory = Directory::new();
    let far = Far {
        place: Place::Here,
        address: arguments.listen.to_string(),
        interfaces: arguments.interface.clone(),
        export: export.clone(),
        home: directory.subdirectory("home"),
    };
    let servers = start(&far, &arguments.tools);
    let listener = TcpListener::bind((arguments.listen, PORT))
        .with_context(|| format!("cannot listen on port {PORT} of {}", arguments.listen))?;
    listener.set_nonblocking(true)?;
    let end = Instant::now() + Duration::from_secs(60 * arguments.minutes);
    eprintln!(
        "bench: ready: {} servers and the control port {PORT} on {}, without any authentication, for {} minutes at most",
        servers.len(),
        arguments.listen,
        arguments.minutes
    );
    while Instant::now() < end && !stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, from)) => {
                eprintln!("bench: {from} is here");
                stream.set_nonblocking(false)?;
                let (export, largest) = (export.clone(), arguments.largest << 20);
                std::thread::spawn(move || {
                    let outcome = control::answer(stream, &export, largest);
                    eprintln!(
                        "bench: {from} has gone{}",
                        outcome.map_or_else(|error| format!(": {error:#}"), |()| String::new())
                    );
                });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
    drop(servers);
    // Where nginx gathers what is put.
    let _ = std::fs::remove_dir_all(export.join("temporary"));
    let files = Local { export };
    for name in [GET, PUT, RANDOM] {
        files.remove(name);
    }
    Ok(())
}

/// The servers of all tools that work between machines, each once.
fn start(far: &Far, names: &[String]) -> Vec<Server> {
    let mut ports = Vec::new();
    let mut servers = Vec::new();
    for tool in tools::chosen(names) {
        if !tool.goes_far() || !tool.works().iter().any(|work| Work::FAR.contains(work)) {
            continue;
        }
        let Some(service) = tool.server(far) else {
            continue;
        };
        if !ports.contains(&service.port) {
            ports.push(service.port);
            eprintln!("bench: serving for {}: {:?}", tool.name(), service.command);
            servers.push(Server::start(service, far));
        }
    }
    servers
}
