//! Where a file of a server has no data, asked for page by page. What a server says is taken only as far as it can be true.

use std::future::Future;

use blk_proto::message::{HOLE_UNIT, MAX_RANGES, Reply};

use crate::error::ClientError;
use crate::transfer::expect;

/// Holes of a file that are remembered: 64 MiB of memory.
const HOLES_MAX: usize = 4 << 20;

/// The holes of a file of some size, as far as they are known.
#[derive(Debug)]
pub(crate) struct Holes {
    /// Offsets and lengths: ascending, apart, within the size, in multiples of [`HOLE_UNIT`] but for its end.
    pub ranges: Vec<(u64, u64)>,
    /// There are no others. Otherwise there were more than are remembered.
    pub is_all: bool,
}

/// Asks for the holes within the first `size` bytes of a file; `ask` sends the request for those from an offset on. The file may
/// change meanwhile: then they are those of some moment, each.
///
/// # Errors
/// What `ask` says; [`ClientError::Unexpected`] when the answers cannot be true.
pub(crate) async fn ask_holes<F>(
    what: &str,
    size: u64,
    mut ask: impl FnMut(u64) -> F,
) -> Result<Holes, ClientError>
where
    F: Future<Output = Result<Reply, ClientError>>,
{
    let mut pages = Pages::new(size, HOLES_MAX);
    while let Some(offset) = pages.next {
        let page = expect(what, ask(offset).await?, |reply| match reply {
            Reply::Holes { ranges, next } => Some((ranges.clone(), *next)),
            _ => None,
        })?;
        if !pages.take(offset, &page.0, page.1) {
            return Err(ClientError::Unexpected {
                what: what.to_owned(),
                reply: "holes that are none".to_owned(),
            });
        }
    }
    Ok(Holes {
        ranges: pages.ranges,
        is_all: pages.is_all,
    })
}

/// The pages so far.
#[derive(Debug)]
struct Pages {
    size: u64,
    max: usize,
    ranges: Vec<(u64, u64)>,
    is_all: bool,
    /// From where on to ask.
    next: Option<u64>,
}

impl Pages {
    fn new(size: u64, max: usize) -> Self {
        Self {
            size,
            max,
            ranges: Vec::new(),
            is_all: true,
            next: (size > 0).then_some(0),
        }
    }

    /// Adds the page that was asked for from `asked` on; whether it can be true.
    fn take(&mut self, asked: u64, ranges: &[(u64, u64)], next: Option<u64>) -> bool {
        if ranges.len() > MAX_RANGES {
            return false;
        }
        let mut at = asked;
        for (index, &(offset, len)) in ranges.iter().enumerate() {
            let Some(end) = offset.checked_add(len).filter(|_| len > 0) else {
                return false;
            };
            // Only the end of the file need be no multiple.
            let is_last = next.is_none() && index + 1 == ranges.len();
            let is_aligned =
                offset.is_multiple_of(HOLE_UNIT) && (end.is_multiple_of(HOLE_UNIT) || is_last);
            if offset < at || !is_aligned {
                return false;
            }
            at = end;
            self.add(offset, end);
        }
        // A page that is not the last one brings something, so there is an end to them.
        if next.is_some_and(|next| ranges.is_empty() || next < at) {
            return false;
        }
        self.next = next.filter(|next| *next < self.size);
        if self.next.is_some() && self.ranges.len() >= self.max {
            self.next = None;
            self.is_all = false;
        }
        true
    }

    /// Adds what of a hole lies within the size: the file may have grown, or been cut.
    fn add(&mut self, offset: u64, end: u64) {
        let end = if end < self.size {
            end - end % HOLE_UNIT
        } else {
            self.size
        };
        if offset >= end {
            return;
        }
        match self.ranges.last_mut() {
            // One hole that goes on in the next page.
            Some((start, len)) if *start + *len == offset => *len = end - *start,
            _ => self.ranges.push((offset, end - offset)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use blk_datapath::files::are_holes;
    use std::future::ready;

    const PAGE: u64 = HOLE_UNIT;

    type Page = (Vec<(u64, u64)>, Option<u64>);

    fn asked(size: u64, pages: Vec<Page>) -> Result<Vec<(u64, u64)>, ClientError> {
        let mut pages = pages.into_iter();
        let answer = ask_holes("h:data/x", size, |_| {
            let (ranges, next) = pages.next().expect("there is no more to ask for");
            ready(Ok(Reply::Holes { ranges, next }))
        });
        let holes = tokio_uring::start(answer)?;
        assert!(are_holes(&holes.ranges, 0, size), "{holes:?}");
        assert!(holes.is_all);
        Ok(holes.ranges)
    }

    #[test]
    fn holes_of_a_file_that_has_grown_or_been_cut_are_those_within_its_size() {
        let last = vec![(0, PAGE), (2 * PAGE, 9 * PAGE)];
        let grown = asked(3 * PAGE + 5, vec![(last.clone(), None)]);
        assert_eq!(grown.unwrap(), [(0, PAGE), (2 * PAGE, PAGE + 5)]);
        let further = asked(PAGE + 1, vec![(last, Some(20 * PAGE))]);
        assert_eq!(further.unwrap(), [(0, PAGE)]);
        let cut = asked(9 * PAGE, vec![(vec![(PAGE, PAGE + 7)], None)]);
        assert_eq!(cut.unwrap(), [(PAGE, PAGE)]);
    }

    #[test]
    fn a_hole_over_two_pages_is_one() {
        let pages = vec![
            (vec![(0, PAGE), (2 * PAGE, PAGE)], Some(3 * PAGE)),
            (vec![(3 * PAGE, PAGE), (5 * PAGE, 7)], None),
        ];
        let holes = asked(5 * PAGE + 7, pages).unwrap();
        assert_eq!(holes, [(0, PAGE), (2 * PAGE, 2 * PAGE), (5 * PAGE, 7)]);
    }

    #[test]
    fn what_cannot_be_true_is_refused() {
        let size = 100 * PAGE;
        for page in [
            (vec![], Some(1)),
            (vec![(0, PAGE)], Some(0)),
            (vec![(0, 2 * PAGE)], Some(PAGE)),
            (vec![(0, 0)], None),
            (vec![(1, PAGE)], None),
            (vec![(0, 7)], Some(PAGE)),
            (vec![(0, 7), (PAGE, PAGE)], None),
            (vec![(0, 2 * PAGE), (PAGE, 2 * PAGE)], None),
            (vec![(2 * PAGE, PAGE), (0, PAGE)], None),
            (vec![(PAGE, u64::MAX)], None),
            (vec![(0, PAGE); MAX_RANGES + 1], None),
        ] {
            let refused = asked(size, vec![page.clone()]);
            assert!(
                matches!(refused, Err(ClientError::Unexpected { .. })),
                "{page:?}"
            );
        }
        let back = vec![
            (vec![(4 * PAGE, PAGE)], Some(6 * PAGE)),
            (vec![(5 * PAGE, PAGE)], None),
        ];
        assert!(asked(size, back).is_err());
    }

    #[test]
    fn no_more_holes_are_remembered_than_there_is_room_for() {
        let mut pages = Pages::new(u64::MAX, 4);
        for number in 0..4 {
            let offset = pages.next.expect("there is room");
            assert_eq!(offset, number * 2 * PAGE);
            assert!(pages.take(offset, &[(offset, PAGE)], Some(offset + 2 * PAGE)));
        }
        assert!(pages.next.is_none() && !pages.is_all);
        assert_eq!(pages.ranges.len(), 4);
    }
}
