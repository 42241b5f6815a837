use std::collections::VecDeque;

use proptest::prelude::*;

use crate::dump::pcapng::Direction;
use crate::dump::ring::{Record, ring};

/// A packet that tells its number by its bytes and its time.
fn packet(number: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| (number as usize + at) as u8).collect()
}

#[test]
fn what_finds_no_room_is_counted_where_it_is_missing() {
    // 16 words: room for two packets of 3 + 4 words.
    let (mut input, mut output) = ring(128);
    let bytes = [7; 32];
    let mut push = |time| input.push(time, Direction::Inbound, &bytes, &bytes);
    assert!(push(1) && push(2));
    assert!(!push(3) && !push(4));
    assert_eq!(output.lost(), 2);
    let mut taken = Vec::new();
    assert_eq!(output.pop(&mut taken).time, 1);
    assert!(push(5));
    assert_eq!(output.pop(&mut taken).lost_before, 0);
    let record = output.pop(&mut taken);
    assert_eq!((record.time, record.lost_before), (5, 2));
    assert!(push(6));
    assert_eq!(output.pop(&mut taken).lost_before, 0, "told once");
    assert_eq!(output.next_time(output.end()), None);
    assert_eq!(output.lost(), 2);
}

#[test]
fn a_packet_that_never_fits_is_lost() {
    let (mut input, output) = ring(64);
    assert!(!input.push(1, Direction::Outbound, &[0; 64], &[0; 64]));
    assert_eq!((output.lost(), output.end()), (1, 0));
    assert!(input.push(2, Direction::Outbound, &[0; 64], &[0; 40]));
}

/// Both ends at once: whatever comes out is whole and in order, and what does not is counted.
#[test]
fn two_threads_lose_nothing_uncounted() {
    const PACKETS: u64 = 200_000;
    let (mut input, mut output) = ring(4096);
    let sender = std::thread::spawn(move || {
        for number in 0..PACKETS {
            let bytes = packet(number, (number % 300) as usize);
            input.push(number, Direction::Outbound, &bytes, &bytes);
        }
    });
    let (mut bytes, mut next, mut lost_between) = (Vec::new(), 0, 0);
    loop {
        let over = sender.is_finished();
        let end = output.end();
        while let Some(number) = output.next_time(end) {
            let record = output.pop(&mut bytes);
            assert_eq!(record.time, number);
            assert_eq!(number, next + record.lost_before);
            assert_eq!(bytes, packet(number, (number % 300) as usize));
            lost_between += record.lost_before;
            next = number + 1;
        }
        if over {
            break;
        }
    }
    sender.join().unwrap();
    let after = PACKETS - next;
    assert_eq!(output.lost(), lost_between + after);
}

proptest! {
    /// Against a plain queue with the same room.
    #[test]
    fn a_ring_is_a_bounded_queue(
        steps in proptest::collection::vec(proptest::option::weighted(0.6, (0usize..100, 0usize..100, any::<bool>())), 0..400),
    ) {
        const WORDS: usize = 64;
        let (mut input, mut output) = ring(WORDS * 8);
        let mut model: VecDeque<(Record, Vec<u8>)> = VecDeque::new();
        let (mut used, mut lost, mut lost_since, mut taken) = (0, 0, 0, Vec::new());
        let words = |len: usize| 3 + len.div_ceil(8);
        for (number, step) in steps.into_iter().enumerate() {
            let time = number as u64;
            match step {
                Some((len, more, outbound)) => {
                    let direction = if outbound { Direction::Outbound } else { Direction::Inbound };
                    let bytes = packet(time, len + more);
                    let fits = used + words(len) <= WORDS;
                    prop_assert_eq!(input.push(time, direction, &bytes, &bytes[..len]), fits);
                    if fits {
                        used += words(len);
                        let record = Record {
                            time,
                            direction,
                            original_len: bytes.len() as u32,
                            lost_before: std::mem::take(&mut lost_since),
                        };
                        model.push_back((record, bytes[..len].to_vec()));
                    } else {
                        lost += 1;
                        lost_since += 1;
                    }
                }
                None => {
                    let end = output.end();
                    let expected = model.pop_front();
                    prop_assert_eq!(output.next_time(end), expected.as_ref().map(|(record, _)| record.time));
                    if let Some((record, bytes)) = expected {
                        prop_assert_eq!(output.pop(&mut taken), record);
                        prop_assert_eq!(&taken, &bytes);
                        used -= words(bytes.len());
                    }
                }
            }
            prop_assert_eq!(output.lost(), lost);
        }
    }
}
