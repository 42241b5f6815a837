//! Files into messages: in order, each message as full as it goes.

use std::collections::VecDeque;

use blk_proto::message::{MAX_MESSAGE, MAX_SMALL_FILES};

/// What a message takes besides its files: numbers, and the name of the export.
const FRAME: usize = 256;
/// What a file takes besides its path and its bytes.
const OVERHEAD: usize = 32;
/// What a server may say of a file that it cannot read.
const FAILURE: usize = 232;

/// Bytes of a message for the files in it.
pub(super) const ROOM: usize = MAX_MESSAGE - FRAME;

/// What a file takes in a Store.
pub(super) const fn store_cost(path: usize, bytes: usize) -> usize {
    OVERHEAD + path + bytes
}

/// What a file takes in a Fetch or in its reply, whichever is more.
pub(super) fn fetch_cost(path: usize, bytes: usize) -> usize {
    OVERHEAD + path.max(bytes + FAILURE)
}

/// Takes what goes into the next message; nothing when the queue is empty. Files of another export wait for the next one.
pub(super) fn next_message<T>(
    queue: &mut VecDeque<T>,
    cost: impl Fn(&T) -> usize,
    together: impl Fn(&T, &T) -> bool,
) -> Vec<T> {
    let mut message: Vec<T> = Vec::new();
    let mut room = ROOM;
    while let Some(next) = queue.front() {
        let apart = message.first().is_some_and(|first| !together(first, next));
        let left = room.checked_sub(cost(next));
        let full = message.len() == MAX_SMALL_FILES || apart || left.is_none();
        // A single one that is too large goes alone, and is told so.
        if full && !message.is_empty() {
            break;
        }
        room = left.unwrap_or(0);
        message.extend(queue.pop_front());
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(sizes: &[usize]) -> Vec<usize> {
        let mut queue: VecDeque<usize> = sizes.iter().copied().collect();
        let mut counts = Vec::new();
        while !queue.is_empty() {
            let cost = |size: &usize| store_cost(10, *size);
            counts.push(next_message(&mut queue, cost, |_, _| true).len());
        }
        counts
    }

    #[test]
    fn messages_are_full_and_not_more() {
        assert_eq!(messages(&[]), Vec::<usize>::new());
        assert_eq!(messages(&[0; 300]), [128, 128, 44]);
        assert_eq!(messages(&[4096; 31]), [15, 15, 1]);
        assert_eq!(messages(&[32 * 1024; 3]), [1, 1, 1]);
        assert_eq!(messages(&[100_000, 1]), [1, 1]);
    }

    #[test]
    fn exports_do_not_share_a_message() {
        let mut queue = VecDeque::from(["a", "a", "b", "a"]);
        let mut next = || next_message(&mut queue, |_| 1, |one, other| one == other);
        assert_eq!(next(), ["a", "a"]);
        assert_eq!(next(), ["b"]);
        assert_eq!(next(), ["a"]);
        assert!(next().is_empty());
    }
}
