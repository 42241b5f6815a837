//! Something a client does, as a future that owns all it needs.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;

use crate::error::ClientError;

/// Something that a [`Client`](crate::Client) does when it is polled, on any executor; it borrows nothing.
///
/// Dropped before its end, it is given up, soon but not at once: both ends forget a transfer, and nothing stays under a final
/// name, unless the last step, which gives the name, had begun. What the server got of a large file it keeps for a while, unless
/// [`PutOptions::resume`](crate::PutOptions::resume) is off: the same put goes on with it. A request that was on its way already (a directory to be made, a file
/// to be removed) may still be carried out. The client is good for everything else afterwards.
#[must_use = "nothing is done unless it is polled: `.await` it"]
pub struct Operation<T>(BoxFuture<'static, Result<T, ClientError>>);

impl<T> Operation<T> {
    pub(super) fn new(work: impl Future<Output = Result<T, ClientError>> + Send + 'static) -> Self {
        Self(Box::pin(work))
    }
}

impl<T> Future for Operation<T> {
    type Output = Result<T, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl<T> std::fmt::Debug for Operation<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Operation").finish_non_exhaustive()
    }
}
