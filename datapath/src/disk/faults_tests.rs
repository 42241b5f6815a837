use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    disk::{BlockFile, Completion, Intent},
    umem::Umem,
};

const LONG: Duration = Duration::from_secs(30);
const FRAMES: usize = 8;
const RUN: u64 = 3072 * FRAMES as u64;

/// A queue, and a file that goes the given way as far as the directory's file system allows.
struct World {
    umem: Umem,
    queue: DiskQueue,
    file: Arc<BlockFile>,
}

impl World {
    fn new(way: fn(File) -> BlockFile) -> Self {
        let umem = Umem::anonymous(64).expect("memory");
        let queue = DiskQueue::new(&umem, 8).expect("io_uring");
        // Below the target directory, which is on a disk.
        let plain = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).expect("file");
        let file = Arc::new(way(plain));
        Self { umem, queue, file }
    }

    /// All ways; without direct I/O the one that is left, which is loud.
    fn each() -> impl Iterator<Item = Self> {
        let gathered = |file: File| BlockFile::new(file.into(), Intent::Write).expect("file");
        let coalesced = |file: File| {
            BlockFile::new(file.into(), Intent::Write)
                .expect("file")
                .coalesced()
        };
        let buffered = |file: File| BlockFile::buffered(file.into()).expect("file");
        let direct = [gathered as fn(File) -> BlockFile, coalesced].map(Self::new);
        let direct = direct.into_iter().filter(|world| {
            if !world.file.is_direct() {
                crate::skip::skip(format!("no direct I/O: {}", world.file.report()));
            }
            world.file.is_direct()
        });
        direct.chain([Self::new(buffered)])
    }

    fn frames(&mut self, fill: u8) -> Vec<crate::umem::Frame<crate::umem::Disk>> {
        (0..FRAMES)
            .map(|_| {
                let mut frame = self.umem.allocate().expect("a free frame");
                self.umem.payload_mut(&mut frame).fill(fill);
                self.umem.free_to_disk(frame, 3072)
            })
            .collect()
    }

    fn write(&mut self, number: u64) {
        let frames = self.frames(number as u8 + 1);
        let file = Arc::clone(&self.file);
        self.queue
            .write(&mut self.umem, &file, number * RUN, frames, number)
            .expect("room");
    }

    /// (tag, error number) of all that is in flight, by tag; the frames are back afterwards.
    fn end(&mut self) -> Vec<(u64, Option<i32>)> {
        let mut out = Vec::new();
        assert!(
            self.queue
                .drain(&mut self.umem, LONG, &mut out)
                .expect("drain")
        );
        let mut ends = Vec::new();
        for completion in out {
            let (tag, frames, error) = match completion {
                Completion::Written {
                    tag,
                    frames,
                    result,
                } => (tag, frames, result.err()),
                Completion::Read {
                    tag,
                    frames,
                    result,
                    ..
                } => {
                    let is_right = |frame| {
                        let payload: &[u8] = self.umem.payload(frame);
                        payload.iter().all(|byte| *byte == tag as u8 + 1)
                    };
                    assert!(result.is_err() || frames.iter().all(is_right));
                    (tag, frames, result.err())
                }
                Completion::Wakeup { .. } => continue,
            };
            assert_eq!(frames.len(), FRAMES);
            frames
                .into_iter()
                .for_each(|frame| self.umem.release(frame));
            let errno = error.map(|error| error.raw_os_error().unwrap_or(0));
            ends.push((tag, errno));
        }
        self.umem.assert_conserved();
        assert_eq!(self.umem.available(), self.umem.total());
        assert_eq!(self.queue.in_flight(), 0);
        ends.sort_unstable();
        ends
    }

    /// Whether a run is in the file as it was written.
    fn is_whole(&self, number: u64) -> bool {
        let mut bytes = vec![0; RUN as usize];
        let fd = self.file.buffered_fd().expect("a second descriptor");
        let plain = File::from(fd.try_clone_to_owned().expect("descriptor"));
        let read = plain.read_exact_at(&mut bytes, number * RUN);
        read.is_ok() && bytes.iter().all(|byte| *byte == number as u8 + 1)
    }
}

#[test]
fn an_error_ends_one_operation_and_no_other() {
    for errno in [libc::EIO, libc::ENOSPC, libc::EDQUOT, libc::EROFS] {
        for mut world in World::each() {
            world
                .queue
                .set_faults(Faults::new().with(Which::Writes, 2, 1, Fault::Fail(errno)));
            (0..5).for_each(|number| world.write(number));
            let ends = world.end();
            let failed: Vec<_> = ends.iter().filter(|end| end.1.is_some()).collect();
            assert_eq!(failed, [&(2, Some(errno))]);
            assert!([0, 1, 3, 4].iter().all(|&number| world.is_whole(number)));
            // The next is not affected.
            world.write(5);
            assert_eq!(world.end(), [(5, None)]);
            assert!(world.is_whole(5));
            let counters = world.queue.counters();
            assert_eq!((counters.operations, counters.errors), (6, 1));
            assert_eq!(counters.written.bytes(), 5 * RUN);
        }
    }
}

#[test]
fn short_writes_go_on_where_they_ended() {
    for most in [1, 511, 512, 5000, 3072 * 3 + 17] {
        for mut world in World::each() {
            world
                .queue
                .set_faults(Faults::new().with(Which::Writes, 0, 1, Fault::Short(most)));
            (0..2).for_each(|number| world.write(number));
            let ends = world.end();
            // Less than a block is no progress for direct I/O: an error (without a number), not a loop.
            if world.file.rules().is_some_and(|rules| most < rules.unit) {
                assert_eq!(ends, [(0, Some(0)), (1, None)], "at most {most}");
                assert!(world.is_whole(1));
                continue;
            }
            assert_eq!(ends, [(0, None), (1, None)], "at most {most}");
            assert!(world.is_whole(0) && world.is_whole(1));
            assert_eq!(world.queue.counters().short, 1);
            assert_eq!(world.queue.counters().written.bytes(), 2 * RUN);
        }
    }
}

#[test]
fn a_storm_of_transient_errors_is_waited_out_asleep() {
    for mut world in World::each() {
        // Four at once, then rests of 1, 2, 4 and 8 ms.
        for errno in [libc::EAGAIN, libc::EINTR] {
            world
                .queue
                .set_faults(Faults::new().with(Which::Writes, 0, 8, Fault::Fail(errno)));
            let retries = world.queue.counters().retries;
            let started = Instant::now();
            world.write(0);
            assert_eq!(world.end(), [(0, None)]);
            assert!(world.is_whole(0));
            assert!(started.elapsed() >= Duration::from_millis(15));
            assert_eq!(world.queue.counters().retries - retries, 8);
        }
    }
}

#[test]
fn a_storm_that_does_not_end_is_an_error_and_holds_up_nobody() {
    let mut world = World::new(|file| BlockFile::buffered(file.into()).expect("file"));
    let faults = Faults::new()
        .with(Which::Writes, 1, 1, Fault::Delay(Duration::from_millis(1)))
        .with(Which::Writes, 0, u64::MAX, Fault::Fail(libc::EAGAIN));
    world.queue.set_faults(faults);
    // The second write is the second request, and the only one that succeeds.
    world.write(0);
    world.write(1);
    let mut out = Vec::new();
    while out.is_empty() {
        world.queue.wait(Some(LONG)).expect("wait");
        world.queue.completions(&mut world.umem, &mut out);
    }
    let Some(Completion::Written {
        tag: 1,
        frames,
        result: Ok(_),
    }) = out.pop()
    else {
        panic!("the second write comes first");
    };
    frames
        .into_iter()
        .for_each(|frame| world.umem.release(frame));
    assert_eq!(world.end(), [(0, Some(libc::EAGAIN))]);
    assert_eq!(world.queue.counters().retries, 64);
}

#[test]
fn reads_fail_end_early_and_come_late_in_the_same_way() {
    for mut world in World::each() {
        (0..4).for_each(|number| world.write(number));
        assert_eq!(world.end().len(), 4);
        let faults = Faults::new()
            .with(Which::Reads, 0, 1, Fault::Fail(libc::EIO))
            .with(Which::Reads, 1, 1, Fault::Short(4096))
            .with(Which::Reads, 2, 1, Fault::Delay(Duration::from_millis(20)));
        world.queue.set_faults(faults);
        let started = Instant::now();
        for number in 0..4 {
            let frames = world.frames(0xEE);
            let file = Arc::clone(&world.file);
            world
                .queue
                .read(&mut world.umem, &file, number * RUN, frames, number)
                .expect("room");
        }
        assert_eq!(
            world.end(),
            [(0, Some(libc::EIO)), (1, None), (2, None), (3, None)]
        );
        assert!(started.elapsed() >= Duration::from_millis(20));
        assert_eq!(world.queue.counters().read.bytes(), 3 * RUN);
    }
}

#[test]
fn a_queue_with_completions_held_back_can_be_dropped() {
    let mut world = World::new(|file| BlockFile::buffered(file.into()).expect("file"));
    let hour = Duration::from_secs(3600);
    let faults = Faults::new()
        .with(Which::Writes, 0, 1, Fault::Delay(hour))
        .with(Which::Writes, 1, u64::MAX, Fault::Fail(libc::EAGAIN));
    world.queue.set_faults(faults);
    world.write(0);
    world.write(1);
    let mut out = Vec::new();
    // Until the first is held back, and the second rests.
    while world.queue.faults.delayed() == 0 || world.queue.counters().retries < 5 {
        world.queue.wait(Some(LONG)).expect("wait");
        world.queue.completions(&mut world.umem, &mut out);
    }
    assert!(out.is_empty());
    drop(world.queue);
    assert_eq!(world.umem.counts().disk, 2 * FRAMES);
}

#[test]
fn joints_refused_by_the_kernel_are_copied_at_once_and_from_then_on() {
    let mut world = World::new(|file| BlockFile::new(file.into(), Intent::Write).expect("file"));
    if !world.file.is_direct() {
        return crate::skip::skip(format!("no direct I/O: {}", world.file.report()));
    }
    world
        .queue
        .set_faults(Faults::new().with(Which::Writes, 0, 1, Fault::Fail(libc::EINVAL)));
    (0..2).for_each(|number| {
        world.write(number);
        assert_eq!(world.end(), [(number, None)]);
        assert!(world.is_whole(number));
    });
    assert!(world.file.is_coalescing());
    let written = world.queue.counters().written;
    assert_eq!(
        (written.gathered.bytes, written.coalesced.bytes),
        (0, 2 * RUN)
    );
}

/// A coalesced file that is said to be on a device of this number.
fn on_device(number: u64) -> Arc<BlockFile> {
    let plain = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).expect("file");
    let file = BlockFile::new(plain.into(), Intent::Write).expect("file");
    Arc::new(file.coalesced().on_device(number))
}

/// A queue with more room than there are copy buffers, and a dead and a sound device.
fn dead_and_sound() -> Option<(World, Arc<BlockFile>, Arc<BlockFile>)> {
    let (dead, sound) = (on_device(1), on_device(2));
    if !dead.is_direct() {
        crate::skip::skip(format!("no direct I/O: {}", dead.report()));
        return None;
    }
    let umem = Umem::anonymous(1024).expect("memory");
    let queue = DiskQueue::new(&umem, 48).expect("io_uring");
    let file = Arc::clone(&sound);
    Some((World { umem, queue, file }, dead, sound))
}

#[test]
fn a_device_that_does_not_answer_leaves_buffers_and_room_to_others() {
    let Some((mut world, dead, sound)) = dead_and_sound() else {
        return;
    };
    let never = Fault::Delay(Duration::from_secs(3600));
    world
        .queue
        .set_faults(Faults::new().with(Which::Writes, 0, u64::MAX, never));
    world.file = Arc::clone(&dead);
    let mut given = 0;
    while world.queue.has_room_for(&dead) {
        world.write(given);
        given += 1;
    }
    assert!((17..48).contains(&given), "{given}");
    assert!(!world.queue.starved.is_empty());
    world.queue.set_faults(Faults::new());
    world.file = Arc::clone(&sound);
    // More than there are buffers left, one after the other and several at a time.
    for number in 0..8 {
        assert!(world.queue.has_room_for(&sound));
        world.write(number);
    }
    let mut out = Vec::new();
    while out.len() < 8 {
        world.queue.wait(Some(LONG)).expect("wait");
        world.queue.completions(&mut world.umem, &mut out);
    }
    for completion in out {
        let Completion::Written {
            frames,
            result: Ok(_),
            ..
        } = completion
        else {
            panic!("{completion:?}")
        };
        frames
            .into_iter()
            .for_each(|frame| world.umem.release(frame));
    }
    assert!((0..8).all(|number| world.is_whole(number)));
    assert_eq!(world.queue.in_flight(), given as usize);
}

#[test]
fn an_operation_that_rests_keeps_no_copy_buffer() {
    let Some((mut world, _, sound)) = dead_and_sound() else {
        return;
    };
    // As many writes as there are buffers rest, and the next ones pass them.
    world.queue.set_faults(Faults::new().with(
        Which::Writes,
        0,
        u64::MAX,
        Fault::Fail(libc::EAGAIN),
    ));
    let all = world.queue.parts.copies.free();
    for number in 0..10 {
        world.write(number);
    }
    let mut out = Vec::new();
    while world.queue.counters().retries < 10 * 5 || world.queue.parts.copies.free() < all {
        world.queue.wait(Some(LONG)).expect("wait");
        world.queue.completions(&mut world.umem, &mut out);
    }
    assert!(out.is_empty());
    world.queue.set_faults(Faults::new());
    let ends: Vec<_> = (0..10).map(|number| (number, None)).collect();
    assert_eq!(world.end(), ends);
    assert!((0..10).all(|number| world.is_whole(number)));
    assert_eq!(world.queue.parts.copies.free(), all);
    drop(sound);
}
