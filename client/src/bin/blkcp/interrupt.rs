//! Ctrl-C: the first ends the copy cleanly, the second at once.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tokio::sync::Notify;

/// Becomes ready at the first signal.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<Notify>);

impl Interrupt {
    /// Catches SIGINT, SIGTERM and SIGHUP from now on.
    pub fn catch() -> io::Result<Self> {
        let (mut signals, writer) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::low_level::pipe::register(signal, writer.try_clone()?)?;
        }
        let notify = Arc::new(Notify::new());
        let notified = Arc::clone(&notify);
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                let mut byte = [0];
                if signals.read_exact(&mut byte).is_ok() {
                    notified.notify_one();
                }
                if signals.read_exact(&mut byte).is_ok() {
                    // The kernel takes the XDP program and files without a name back when the process ends. Where the
                    // file system knows only files with names, a hidden one stays.
                    std::process::exit(130);
                }
            })?;
        Ok(Self(notify))
    }

    /// Waits for the first signal.
    pub async fn wait(&self) {
        self.0.notified().await;
    }
}
