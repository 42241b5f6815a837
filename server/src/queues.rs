//! Which queues of the interface blockd serves.

use std::fmt;
use std::str::FromStr;

use blk_datapath::number_list::{NumberList, NumberListError};

/// Most queues that are served.
pub const QUEUES_MAX: u32 = 64;

/// The queues that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueChoice {
    /// So many, from queue 0 on.
    First(u32),
    /// These.
    These(NumberList),
}

/// Why queues cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// Not a list of numbers.
    #[error(transparent)]
    List(#[from] NumberListError),
    /// None at all, or more than there may be.
    #[error("{0} queues: 1 to {QUEUES_MAX} can be served")]
    Number(usize),
    /// The interface has no such queue.
    #[error(
        "--queues {asked}: there is no queue {queue} on {interface}, it has {available} (numbered from 0); \
         `ethtool -l {interface}` tells how many there can be"
    )]
    NoSuchQueue {
        /// What was asked for.
        asked: String,
        /// The first one that there is not.
        queue: u32,
        /// The interface.
        interface: String,
        /// How many it has.
        available: u32,
    },
}

impl QueueChoice {
    /// The numbers of the queues that are asked for.
    fn numbers(&self) -> Vec<u32> {
        match self {
            Self::First(count) => (0..*count).collect(),
            Self::These(list) => list.numbers().to_vec(),
        }
    }
}

/// The queues to serve on an interface that has so many; without a choice all of them, up to 64. `each_exists`: they
/// are queues of the card and not only workers.
///
/// # Errors
/// [`QueueError::NoSuchQueue`].
pub(crate) fn served(
    choice: Option<&QueueChoice>,
    interface: &str,
    available: u32,
    each_exists: bool,
) -> Result<Vec<u32>, QueueError> {
    let Some(choice) = choice else {
        return Ok((0..available.clamp(1, QUEUES_MAX)).collect());
    };
    let numbers = choice.numbers();
    match numbers.iter().find(|&&queue| queue >= available) {
        Some(&queue) if each_exists => Err(QueueError::NoSuchQueue {
            asked: choice.to_string(),
            queue,
            interface: interface.to_owned(),
            available,
        }),
        _ => Ok(numbers),
    }
}

impl FromStr for QueueChoice {
    type Err = QueueError;

    /// A number is how many from queue 0 on; `0-3` and `1,3` are queues.
    fn from_str(text: &str) -> Result<Self, QueueError> {
        let list: NumberList = text.parse()?;
        let choice = match list.numbers() {
            &[count] if !text.contains('-') => Self::First(count),
            _ => Self::These(list),
        };
        match choice.numbers().len() {
            count if (1..=QUEUES_MAX as usize).contains(&count) => Ok(choice),
            count => Err(QueueError::Number(count)),
        }
    }
}

impl fmt::Display for QueueChoice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First(count) => write!(out, "{count}"),
            Self::These(list) => write!(out, "{list}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(text: &str) -> QueueChoice {
        text.parse().unwrap()
    }

    #[test]
    fn a_number_is_a_count_and_all_else_a_list() {
        let numbers = |text| choice(text).numbers();
        assert_eq!(numbers("4"), [0, 1, 2, 3]);
        assert_eq!(numbers("0-3"), [0, 1, 2, 3]);
        assert_eq!(numbers("1,3"), [1, 3]);
        assert_eq!(numbers("2-2"), [2]);
        assert_eq!(numbers("1"), [0]);
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        for (text, word) in [
            ("0", "0 queues"),
            ("", "0 queues"),
            ("65", "65 queues"),
            ("0-64", "65 queues"),
            ("1,1", "twice"),
            ("3-1", "backwards"),
            ("all", "neither a number"),
        ] {
            let error = text.parse::<QueueChoice>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn queues_have_to_be_there_where_they_are_the_cards() {
        let served = |text, exist| served(Some(&choice(text)), "eth1", 4, exist);
        assert_eq!(served("1,3", true).unwrap(), [1, 3]);
        assert_eq!(served("8", false).unwrap().len(), 8);
        let error = served("2-5", true).unwrap_err().to_string();
        for word in ["--queues 2-5", "no queue 4 on eth1", "has 4"] {
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn all_are_served_where_nobody_chooses() {
        assert_eq!(served(None, "eth1", 3, true).unwrap(), [0, 1, 2]);
        assert_eq!(served(None, "eth1", 0, true).unwrap(), [0]);
        assert_eq!(served(None, "eth1", 100, true).unwrap().len(), 64);
    }
}
