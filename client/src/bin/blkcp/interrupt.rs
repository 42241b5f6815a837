//! Ctrl-C: the first ends the copy cleanly, the second at once.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tokio::sync::Notify;

/// Becomes ready at the first signal.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<State>);

#[derive(Debug, Default)]
struct State {
    first: Notify,
    /// What the second signal leaves behind.
    stays: Mutex<Option<String>>,
}

impl Interrupt {
    /// Catches SIGINT, SIGTERM and SIGHUP from now on.
    pub fn catch() -> io::Result<Self> {
        let (mut signals, writer) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
        }
        let caught = Self::default();
        let state = Arc::clone(&caught.0);
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                let mut byte = [0];
                if signals.read_exact(&mut byte).is_ok() {
                    state.first.notify_one();
                }
                if signals.read_exact(&mut byte).is_ok() {
                    let stays = state.stays.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(stays) = &*stays {
                        eprintln!("blkcp: interrupted again: {stays}");
                    }
                    // The kernel takes the XDP program and files without a name back when the process ends. Where the
                    // file system knows only files with names, a hidden one stays.
                    std::process::exit(130);
                }
            })?;
        Ok(caught)
    }

    /// Waits for the first signal.
    pub async fn wait(&self) {
        self.0.first.notified().await;
    }

    /// From now on the second signal says this.
    pub fn leaves(&self, what: String) {
        let mut stays = self.0.stays.lock().unwrap_or_else(PoisonError::into_inner);
        *stays = Some(what);
    }
}
