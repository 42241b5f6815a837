//! Requests that wait for their replies.

use std::collections::HashMap;

use blk_proto::message::Reply;

use crate::error::ConnectionLost;
use crate::service::Answer;

/// So many entries are kept before the first look for abandoned ones.
const FIRST_SWEEP: usize = 64;

/// Who waits for which reply. Entries whose future was dropped go when the map has doubled since the last look, so it
/// stays within twice what really waits, at a constant cost per request.
pub struct Pending {
    answers: HashMap<u32, Answer<Reply>>,
    sweep_at: usize,
}

impl Default for Pending {
    fn default() -> Self {
        Self {
            answers: HashMap::new(),
            sweep_at: FIRST_SWEEP,
        }
    }
}

impl Pending {
    /// Waits for the reply to request `id`.
    pub fn insert(&mut self, id: u32, answer: Answer<Reply>) {
        if self.answers.len() >= self.sweep_at {
            self.answers.retain(|_, answer| !answer.is_closed());
            self.sweep_at = FIRST_SWEEP.max(2 * self.answers.len());
        }
        self.answers.insert(id, answer);
    }

    /// The reply to request `id` has come. One that nobody waits for is dropped.
    pub fn answer(&mut self, id: u32, reply: Reply) {
        if let Some(answer) = self.answers.remove(&id) {
            let _ = answer.send(Ok(reply));
        }
    }

    /// Whether no reply is to come.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// No reply will come any more.
    pub fn lose(&mut self, reason: &ConnectionLost) {
        for (_, answer) in self.answers.drain() {
            let _ = answer.send(Err(reason.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[test]
    fn a_reply_finds_its_request() {
        let mut pending = Pending::default();
        let (first, mut one) = oneshot::channel();
        let (second, mut two) = oneshot::channel();
        assert!(pending.is_empty());
        pending.insert(1, first);
        pending.insert(2, second);
        assert!(!pending.is_empty());
        pending.answer(2, Reply::Made);
        pending.answer(9, Reply::Made);
        assert!(matches!(two.try_recv(), Ok(Ok(Reply::Made))));
        pending.lose(&ConnectionLost::Silent);
        assert!(matches!(one.try_recv(), Ok(Err(ConnectionLost::Silent))));
    }

    #[test]
    fn abandoned_requests_go_and_live_ones_stay() {
        let mut pending = Pending::default();
        let (answer, mut live) = oneshot::channel();
        pending.insert(0, answer);
        for id in 1..10_000 {
            let (answer, abandoned) = oneshot::channel();
            pending.insert(id, answer);
            drop(abandoned);
        }
        assert!(pending.answers.len() <= FIRST_SWEEP);
        pending.answer(0, Reply::Made);
        assert!(matches!(live.try_recv(), Ok(Ok(Reply::Made))));
    }
}
