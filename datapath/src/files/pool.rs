//! What may block for long, away from the thread of a runtime.

use std::io;

use tokio::task::spawn_blocking;

/// Files larger than this are cut, freed and looked through on the pool: their extents take time. Smaller ones are done before
/// another thread has been woken.
pub(super) const LONG: u64 = 64 << 20;

/// Runs `work` on the pool of threads of the calling runtime. It is carried out also if the future is dropped.
///
/// # Errors
///
/// When it panicked, or the runtime ends.
pub(super) async fn in_pool<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)
}
