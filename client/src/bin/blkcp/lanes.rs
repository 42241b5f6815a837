//! Many things at once, but not too many.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::failure::Failure;

/// Runs `job` on every item, at most `limit` at once; the first failure ends it all. What the jobs give comes in any order.
pub async fn at_once<I, O>(
    limit: u32,
    items: Vec<I>,
    job: impl AsyncFn(I) -> Result<O, Failure>,
) -> Result<Vec<O>, Failure> {
    let lanes = limit.min(u32::try_from(items.len()).unwrap_or(limit));
    let queue = RefCell::new(VecDeque::from(items));
    let done = RefCell::new(Vec::new());
    let lane = async || {
        loop {
            let Some(item) = queue.borrow_mut().pop_front() else {
                return Ok::<_, Failure>(());
            };
            let output = job(item).await?;
            done.borrow_mut().push(output);
        }
    };
    futures_util::future::try_join_all((0..lanes).map(|_| lane())).await?;
    Ok(done.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn everything_is_done_and_never_too_much_at_once() {
        let (now, most) = (Cell::new(0), Cell::new(0));
        let job = async |item: u32| {
            now.set(now.get() + 1);
            most.set(most.get().max(now.get()));
            tokio::task::yield_now().await;
            now.set(now.get() - 1);
            Ok(item)
        };
        let mut done = tokio_uring::start(at_once(3, (0..10).collect(), job)).unwrap();
        done.sort_unstable();
        assert_eq!(done, (0..10).collect::<Vec<_>>());
        assert_eq!(most.get(), 3);
    }

    #[test]
    fn the_first_failure_ends_it() {
        let job = async |item: u32| match item {
            2 => Err(Failure::Stopped),
            item => Ok(item),
        };
        let failed = tokio_uring::start(at_once(2, (0..5).collect(), job));
        assert!(matches!(failed, Err(Failure::Stopped)));
    }
}
