//! Limits and errors of the queue.

use super::*;

#[test]
fn errors_come_as_completions_with_the_frames() {
    let directory = test_directory();
    PatternFile::write(&directory.path().join("readonly"), 4096);
    let file = Arc::new(BlockFile::buffered(open(&directory, "readonly")).expect("file"));
    let mut umem = Umem::anonymous(512).expect("memory");
    let mut queue = DiskQueue::new(&umem, 4).expect("io_uring");
    let error =
        write(&mut queue, &mut umem, &file, 0, &[512; 3]).expect_err("the file is read-only");
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    let error =
        write(&mut queue, &mut umem, &file, 0, &[512; RUN_MAX + 1]).expect_err("too many frames");
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    if let Some(file) = direct(&directory, "unaligned", Intent::Write) {
        let error =
            write(&mut queue, &mut umem, &file, 100, &[512]).expect_err("an unaligned offset");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
    assert!(queue.counters().errors >= 2);
    assert_eq!(queue.counters().written.gathered.bytes, 0);
}

#[test]
fn a_write_of_no_frames_succeeds_at_once() {
    let directory = test_directory();
    let file = Arc::new(BlockFile::buffered(create(&directory, "empty")).expect("file"));
    let mut umem = Umem::anonymous(4).expect("memory");
    let mut queue = DiskQueue::new(&umem, 4).expect("io_uring");
    assert_eq!(
        write(&mut queue, &mut umem, &file, 0, &[]).expect("write"),
        Ways::default()
    );
}

#[test]
fn a_full_queue_hands_the_frames_back() {
    let directory = test_directory();
    let file = Arc::new(BlockFile::buffered(create(&directory, "full")).expect("file"));
    let mut umem = Umem::anonymous(16).expect("memory");
    let mut queue = DiskQueue::new(&umem, 2).expect("io_uring");
    for n in 0..2 {
        let frames = run(&mut umem, &[512]);
        queue
            .write(&mut umem, &file, n * 512, frames, n)
            .expect("room");
    }
    let frames = run(&mut umem, &[512, 512]);
    let frames = queue
        .write(&mut umem, &file, 1024, frames, 2)
        .expect_err("the queue is full");
    assert_eq!(frames.len(), 2);
    let mut out = Vec::new();
    assert!(queue.drain(&mut umem, LONG, &mut out).expect("drain"));
    assert_eq!(out.len(), 2);
    queue
        .write(&mut umem, &file, 1024, frames, 2)
        .expect("room again");
    assert!(queue.drain(&mut umem, LONG, &mut out).expect("drain"));
    for completion in out {
        let Completion::Written { frames, .. } = completion else {
            panic!("not a write")
        };
        frames.into_iter().for_each(|frame| umem.release(frame));
    }
    assert_eq!(umem.available(), 16);
}

#[test]
fn polls_wake_the_queue() {
    let mut umem = Umem::anonymous(4).expect("memory");
    let mut queue = DiskQueue::new(&umem, 4).expect("io_uring");
    let (sender, mut receiver) = mailbox::<u32>().expect("mailbox");
    queue.poll_readable(receiver.fd(), 42).expect("room");
    let mut out = Vec::new();
    queue.wait(Some(Duration::from_millis(20))).expect("wait");
    assert_eq!(queue.completions(&mut umem, &mut out), 0);
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        sender.send(5).expect("receiver lives");
    });
    assert!(matches!(
        one(&mut queue, &mut umem),
        Completion::Wakeup { tag: 42 }
    ));
    thread.join().expect("sender");
    assert_eq!(receiver.drain().collect::<Vec<_>>(), [5]);
    assert_eq!(queue.in_flight(), 0);
    for tag in 0..blk_datapath::disk::POLLS_MAX as u64 {
        queue.poll_readable(receiver.fd(), tag).expect("room");
    }
    assert_eq!(queue.poll_readable(receiver.fd(), 99), Err(QueueFull));
}

#[test]
fn dropping_a_queue_in_any_order_waits_for_the_kernel() {
    let directory = test_directory();
    let (pipe_reader, mut pipe_writer) = std::io::pipe().expect("pipe");
    for umem_first in [false, true] {
        let mut umem = Umem::anonymous(1024).expect("memory");
        let mut queue = DiskQueue::new(&umem, 16).expect("io_uring");
        let name = format!("dropped-{umem_first}");
        let Some(file) = direct(&directory, &name, Intent::Write) else {
            return;
        };
        for n in 0..8 {
            let frames = run(&mut umem, &[PAYLOAD_MAX; 100]);
            queue
                .write(&mut umem, &file, n * 358_400, frames, n)
                .expect("room");
        }
        // One request that would never end by itself.
        queue
            .poll_readable(pipe_reader.as_raw_fd(), 0)
            .expect("room");
        queue.submit().expect("submit");
        assert_eq!(umem.counts().disk, 800);
        umem.assert_conserved();
        if umem_first {
            drop(umem);
            drop(queue);
        } else {
            drop(queue);
            drop(umem);
        }
    }
    pipe_writer
        .write_all(b"x")
        .expect("the pipe outlives the queues");
}

#[test]
fn a_full_file_system_ends_with_an_error_not_a_hang() {
    let device = OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .expect("/dev/full");
    let file = Arc::new(BlockFile::buffered(device.into()).expect("file"));
    let mut umem = Umem::anonymous(4).expect("memory");
    let mut queue = DiskQueue::new(&umem, 4).expect("io_uring");
    let error = write(&mut queue, &mut umem, &file, 0, &[512]).expect_err("no space");
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
}
