//! The end that serves.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use blk_bench::lab::Directory;
use signal_hook::consts::{SIGHUP, TERM_SIGNALS};

use super::address::Control;
use super::control::{self, Stage};
use crate::scene::{Far, GET, PUT, Place, RANDOM};
use crate::tools::{self, Tool};
use crate::work::Work;

/// What it serves, and for how long.
#[derive(Debug, clap::Args)]
pub struct ServerArguments {
    /// Address to listen on, and the control port when it shall not be 7441: ADDR, ADDR:PORT, or with brackets around an IPv6 address
    #[arg(long, value_name = "ADDR")]
    listen: Control,
    /// Directory to serve, which has to be empty; its files `get`, `put` and `random` are made and removed
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
    /// Tools that may be asked for, by their names or the beginnings of them; all by default
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
    let address = arguments.listen.0;
    let listener = TcpListener::bind(address).with_context(|| {
        format!("cannot listen on {address} (is another `bench server` there?)")
    })?;
    listener.set_nonblocking(true)?;
    let stage = Stage {
        far: Far {
            place: Place::Here,
            address: address.ip().to_string(),
            interfaces: arguments.interface.clone(),
            export: export.clone(),
            home: directory.subdirectory("home"),
        },
        tools: tools_to_serve(&arguments.tools),
        largest: arguments.largest << 20,
        running: None,
    };
    ensure!(
        !stage.tools.is_empty(),
        "no such tool, or none is installed"
    );
    let names: Vec<String> = stage.tools.iter().map(|tool| tool.name()).collect();
    eprintln!(
        "bench: ready: control port {address}, without any authentication, for {} minutes at most, one client at a time; on its \
         wish one of: {}",
        arguments.minutes,
        names.join(", ")
    );
    let end = Instant::now() + Duration::from_secs(60 * arguments.minutes);
    let outcome = accept(&listener, stage, || {
        Instant::now() < end && !stop.load(Ordering::Relaxed)
    });
    clean(&export);
    outcome
}

/// Those that work between machines.
fn tools_to_serve(names: &[String]) -> Vec<Box<dyn Tool>> {
    let mut tools = tools::chosen(names);
    tools
        .retain(|tool| tool.goes_far() && tool.works().iter().any(|work| Work::FAR.contains(work)));
    tools
}

/// A client that is being answered.
struct Client {
    stream: TcpStream,
    from: SocketAddr,
    thread: JoinHandle<()>,
}

/// Answers one client at a time, as long as it shall. When it returns, no server runs.
fn accept(listener: &TcpListener, stage: Stage, goes_on: impl Fn() -> bool) -> Result<()> {
    let stage = Arc::new(Mutex::new(stage));
    let mut client: Option<Client> = None;
    while goes_on() {
        let Ok((stream, from)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        stream.set_nonblocking(false)?;
        if let Some(other) = client.as_ref().filter(|other| !other.thread.is_finished()) {
            eprintln!("bench: {from} is refused: {} is here", other.from);
            // Who has gone already need not be told.
            let _ = control::refuse(&stream, &other.from.ip().to_string());
            continue;
        }
        eprintln!("bench: {from} is here");
        let (ours, stage) = (stream.try_clone()?, Arc::clone(&stage));
        let thread = std::thread::spawn(move || {
            let mut stage = stage.lock().unwrap_or_else(PoisonError::into_inner);
            let outcome = control::answer(&ours, &mut stage);
            let why = outcome.map_or_else(|error| format!(": {error:#}"), |()| String::new());
            eprintln!("bench: {from} has gone{why}");
        });
        client = Some(Client {
            stream,
            from,
            thread,
        });
    }
    if let Some(client) = client {
        let _ = client.stream.shutdown(Shutdown::Both);
        // What it has begun is brought to its end; its server ends with it.
        let _ = client.thread.join();
    }
    Ok(())
}

/// Removes what was made in the directory, which was empty, and tells of everything else.
fn clean(export: &Path) {
    let Ok(entries) = std::fs::read_dir(export) else {
        return;
    };
    for entry in entries.flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        if !is_ours(&name.to_string_lossy()) {
            eprintln!(
                "bench: left there, as it is not from here: {}",
                path.display()
            );
            continue;
        }
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        if let Err(error) = removed {
            eprintln!("bench: cannot remove {}: {error}", path.display());
        }
    }
}

/// The files, what blockd and nginx keep beside them, and what rsync calls a file that is not whole yet.
fn is_ours(name: &str) -> bool {
    let files = [GET, PUT, RANDOM];
    let unfinished = || {
        let inner = name
            .strip_prefix('.')
            .and_then(|rest| rest.rsplit_once('.'));
        inner.is_some_and(|(file, _)| files.contains(&file))
    };
    files.contains(&name) || [".blockd", "temporary"].contains(&name) || unfinished()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_made_here_goes() {
        for name in [
            "get",
            "put",
            "random",
            ".blockd",
            "temporary",
            ".put.Xy12Zq",
        ] {
            assert!(is_ours(name), "{name}");
        }
        for name in ["gets", ".put", ".other.Xy12Zq", "blockd", "."] {
            assert!(!is_ours(name), "{name}");
        }
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        std::fs::create_dir_all(export.join(".blockd/journal")).unwrap();
        for name in ["put", ".get.abc", "mine"] {
            std::fs::write(export.join(name), b"x").unwrap();
        }
        clean(&export);
        assert_eq!(blk_bench::lab::files::names(&export), ["mine"]);
    }

    #[test]
    fn one_client_at_a_time() {
        use std::io::{BufRead, BufReader, Write};
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let stage = control::tests::stage();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let server = std::thread::spawn(move || {
            accept(&listener, stage, || !stopped.load(Ordering::Relaxed)).is_ok()
        });
        let ask = |stream: &TcpStream| {
            let mut writer: &TcpStream = stream;
            writer.write_all(b"busy\n").unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            line
        };
        let first = TcpStream::connect(address).unwrap();
        assert!(ask(&first).starts_with("ok "));
        let second = TcpStream::connect(address).unwrap();
        let mut line = String::new();
        BufReader::new(&second).read_line(&mut line).unwrap();
        assert!(line.starts_with("error 127.0.0.1 measures here"), "{line}");
        // The first one is still there, and is let go at the end.
        assert!(ask(&first).starts_with("ok "));
        stop.store(true, Ordering::Relaxed);
        assert!(server.join().unwrap());
    }
}
