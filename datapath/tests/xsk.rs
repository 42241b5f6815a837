//! AF_XDP sockets on a veth pair, each test in a network namespace of its own. Needs root; see
//! [`support::netns`].

mod support;

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsRawFd, FromRawFd},
    sync::Arc,
    time::{Duration, Instant},
};

use blk_datapath::{
    disk::{BlockFile, Completion, DiskQueue},
    umem::{Frame, FrameCounts, Held, PACKET_START, PAYLOAD_START, Umem},
    xsk::{BindMode, XskConfig, XskError, XskSocket},
};
use support::{
    PatternFile,
    bpf::Redirect,
    netns::{self, ENDS, interface_index},
    test_directory,
};

/// An EtherType for local experiments (IEEE 802).
const ETHERTYPE: u16 = 0x88B5;
const MTU: u32 = 3498;
const FRAMES: u32 = 4096;
const LIMIT: Duration = Duration::from_secs(20);

/// A packet of `payload` bytes of pattern, at the distance from the packet's start that the frames have.
fn compose(area: &mut [u8], number: u64, payload: usize) -> usize {
    let start = PAYLOAD_START - PACKET_START;
    area[..12].fill(0xFF);
    area[12..14].copy_from_slice(&ETHERTYPE.to_be_bytes());
    area[14..22].copy_from_slice(&number.to_be_bytes());
    area[22..start].fill(0);
    PatternFile::fill(&mut area[start..start + payload], number * payload as u64);
    start + payload
}

/// The number of a packet of [`compose`], whose contents are checked; `None` for other packets.
fn number_of(packet: &[u8], payload: usize) -> Option<u64> {
    let start = PAYLOAD_START - PACKET_START;
    if packet.len() < start || packet[12..14] != ETHERTYPE.to_be_bytes() {
        return None;
    }
    let number = u64::from_be_bytes(packet[14..22].try_into().expect("8 bytes"));
    assert_eq!(packet.len(), start + payload);
    assert_eq!(
        PatternFile::mismatch(&packet[start..], number * payload as u64),
        None
    );
    Some(number)
}

fn open(end: &str) -> (Umem, XskSocket) {
    let mut umem = Umem::new(FRAMES).expect("an AF_XDP UMEM");
    let socket = XskSocket::open(&XskConfig::new(end, 0, BindMode::Copy), &mut umem)
        .expect("an AF_XDP socket");
    assert!(!socket.is_zero_copy());
    (umem, socket)
}

/// A packet socket on an interface, that gives up after a while.
fn packet_socket(interface: u32) -> File {
    // SAFETY: plain system calls on a descriptor that is owned right after; the address has the kernel's layout.
    unsafe {
        let fd = libc::socket(
            libc::AF_PACKET,
            libc::SOCK_RAW,
            i32::from(ETHERTYPE.to_be()),
        );
        assert!(fd >= 0, "{}", io::Error::last_os_error());
        let file = File::from_raw_fd(fd);
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: ETHERTYPE.to_be(),
            sll_ifindex: interface as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let len = size_of_val(&address) as libc::socklen_t;
        assert_eq!(libc::bind(fd, (&raw const address).cast(), len), 0);
        let timeout = libc::timeval {
            tv_sec: 10,
            tv_usec: 0,
        };
        let len = size_of_val(&timeout) as libc::socklen_t;
        let set = libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const timeout).cast(),
            len,
        );
        assert_eq!(set, 0);
        file
    }
}

#[test]
fn what_is_transmitted_arrives_and_frames_come_back() {
    const PACKETS: u64 = 20;
    if !netns::enter(MTU) {
        return;
    }
    let mut receiver = packet_socket(interface_index(ENDS[1]));
    let (mut umem, mut socket) = open(ENDS[0]);
    for number in 0..PACKETS {
        let mut frame = umem.allocate().expect("a free frame");
        let len = compose(umem.packet_mut(&mut frame), number, 3072);
        if number % 2 == 0 {
            socket.transmit(&mut umem, frame, len).expect("room");
        } else {
            let frame = umem.free_to_held(frame, 3072);
            socket.transmit_held(&mut umem, frame, len).expect("room");
        }
    }
    assert_eq!(umem.counts().tx, PACKETS as usize);
    assert_eq!(socket.queued(), PACKETS as usize);
    socket.kick().expect("kick");
    assert_eq!(socket.queued(), 0);
    let mut packet = [0; 4096];
    for number in 0..PACKETS {
        let len = receiver.read(&mut packet).expect("a packet");
        assert_eq!(number_of(&packet[..len], 3072), Some(number));
    }
    let (mut returned, deadline) = (Vec::new(), Instant::now() + LIMIT);
    while umem.counts().tx > 0 {
        assert!(Instant::now() < deadline, "{:?}", umem.counts());
        socket.complete(&mut umem, &mut returned);
        umem.assert_conserved();
    }
    assert_eq!(returned.len(), PACKETS as usize / 2);
    for frame in returned {
        assert_eq!(frame.len(), 3072);
        let number = u64::from(frame.index().0);
        assert_eq!(
            PatternFile::mismatch(umem.payload(&frame), number * 3072),
            None
        );
        umem.release(frame);
    }
    assert_eq!(
        umem.counts(),
        FrameCounts {
            free: FRAMES as usize,
            ..FrameCounts::default()
        }
    );
}

/// Sends `packets` numbered packets as fast as the rings take them.
struct Sender {
    umem: Umem,
    socket: XskSocket,
    next: u64,
    packets: u64,
    payload: usize,
    waiting: Option<Frame<Held>>,
    returned: Vec<Frame<Held>>,
}

impl Sender {
    fn work(&mut self) {
        let Self { umem, socket, .. } = self;
        socket.complete(umem, &mut self.returned);
        self.returned
            .drain(..)
            .for_each(|frame| umem.release(frame));
        // Never more on the way than the receiver's fill ring takes: this link has no flow control.
        for _ in 0..256 {
            let frame = match self.waiting.take() {
                Some(frame) => frame,
                None if self.next < self.packets => {
                    let Some(mut frame) = umem.allocate() else {
                        break;
                    };
                    compose(umem.packet_mut(&mut frame), self.next, self.payload);
                    self.next += 1;
                    umem.free_to_held(frame, self.payload as u16)
                }
                None => break,
            };
            let len = PAYLOAD_START - PACKET_START + self.payload;
            if let Err(frame) = socket.transmit_held(umem, frame, len) {
                self.waiting = Some(frame);
                break;
            }
        }
        socket.kick().expect("kick");
        umem.assert_conserved();
    }
}

#[test]
fn socket_to_socket_to_disk_without_a_copy() {
    const PACKETS: u64 = 20_000;
    const PAYLOAD: usize = 3072;
    if !netns::enter(MTU) {
        return;
    }
    let directory = test_directory();
    let path = directory.path().join("received");
    let options = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .expect("file");
    let file =
        Arc::new(BlockFile::new(options.into(), blk_datapath::disk::Intent::Write).expect("statx"));
    let program = Redirect::attach(interface_index(ENDS[1]));
    let (umem, socket) = open(ENDS[0]);
    let mut sender = Sender {
        umem,
        socket,
        next: 0,
        packets: PACKETS,
        payload: PAYLOAD,
        waiting: None,
        returned: Vec::new(),
    };
    sender.socket.fill(&mut sender.umem, 64);
    let (mut umem, mut socket) = open(ENDS[1]);
    program.insert(0, socket.fd());
    let mut disk = DiskQueue::new(&umem, 64).expect("io_uring");
    assert_eq!(socket.fill(&mut umem, 2048), 2048);
    assert_eq!(socket.fill(&mut umem, 2048), 0);

    let (mut batch, mut outcomes, mut written) = (Vec::new(), Vec::new(), 0);
    let deadline = Instant::now() + LIMIT;
    while written < PACKETS {
        assert!(
            Instant::now() < deadline,
            "{written} written; {:?} {:?}",
            umem.counts(),
            socket.statistics()
        );
        // A slow disk holds frames, which the kernel then lacks.
        if umem.counts().fill >= 512 {
            sender.work();
        }
        while socket.receive(&mut umem, &mut batch) > 0 {
            let mut run = Vec::new();
            let mut first = None;
            for frame in batch.drain(..) {
                match number_of(umem.packet(&frame), PAYLOAD) {
                    Some(number) => {
                        assert_eq!(
                            number,
                            *first.get_or_insert(number) + run.len() as u64,
                            "no loss, no reordering"
                        );
                        run.push(umem.rx_to_disk(frame, PAYLOAD as u16));
                    }
                    None => umem.release(frame),
                }
            }
            if let Some(first) = first {
                disk.write(&mut umem, &file, first * PAYLOAD as u64, run, 0)
                    .expect("room");
            }
            socket.fill(&mut umem, 2048);
        }
        disk.submit().expect("submit");
        disk.completions(&mut umem, &mut outcomes);
        for outcome in outcomes.drain(..) {
            let Completion::Written { frames, result, .. } = outcome else {
                panic!("not a write")
            };
            result.expect("write");
            written += frames.len() as u64;
            frames.into_iter().for_each(|frame| umem.release(frame));
        }
        socket.fill(&mut umem, 2048);
        umem.assert_conserved();
    }
    let statistics = socket.statistics().expect("statistics");
    assert_eq!(
        (
            statistics.rx_misplaced,
            statistics.rx_fragments,
            statistics.rx_ring_full
        ),
        (0, 0, 0)
    );
    assert_eq!(
        umem.counts(),
        FrameCounts {
            free: FRAMES as usize - 2048,
            fill: 2048,
            ..FrameCounts::default()
        }
    );
    let bytes = std::fs::read(&path).expect("file");
    assert_eq!(bytes.len() as u64, PACKETS * PAYLOAD as u64);
    assert_eq!(PatternFile::mismatch(&bytes, 0), None);
    if file.is_direct() {
        assert_eq!(disk.counters().written.copied_bytes(), 0);
        assert_eq!(
            disk.counters().written.gathered.bytes,
            PACKETS * PAYLOAD as u64
        );
    }
}

#[test]
fn a_sleeping_worker_is_woken_by_a_packet() {
    if !netns::enter(MTU) {
        return;
    }
    let program = Redirect::attach(interface_index(ENDS[1]));
    let (mut sender_umem, mut sender) = open(ENDS[0]);
    let (mut umem, mut socket) = open(ENDS[1]);
    program.insert(0, socket.fd());
    socket.fill(&mut umem, 64);
    let mut disk = DiskQueue::new(&umem, 4).expect("io_uring");
    disk.poll_readable(socket.fd(), 3).expect("room");
    let mut outcomes = Vec::new();
    disk.wait(Some(Duration::from_millis(20))).expect("wait");
    assert_eq!(disk.completions(&mut umem, &mut outcomes), 0);
    assert!(!socket.has_received());

    let mut frame = sender_umem.allocate().expect("a free frame");
    let len = compose(sender_umem.packet_mut(&mut frame), 1, 64);
    sender.transmit(&mut sender_umem, frame, len).expect("room");
    sender.kick().expect("kick");
    disk.wait(Some(LIMIT)).expect("wait");
    assert_eq!(disk.completions(&mut umem, &mut outcomes), 1);
    assert!(matches!(outcomes[0], Completion::Wakeup { tag: 3 }));
    assert!(socket.has_received());
    let mut batch = Vec::new();
    assert_eq!(socket.receive(&mut umem, &mut batch), 1);
    assert_eq!(number_of(umem.packet(&batch[0]), 64), Some(1));
    batch.drain(..).for_each(|frame| umem.release(frame));
}

#[test]
fn a_full_transmit_ring_hands_the_frame_back() {
    if !netns::enter(MTU) {
        return;
    }
    let mut umem = Umem::new(64).expect("an AF_XDP UMEM");
    let config = XskConfig {
        tx_ring: 16,
        ..XskConfig::new(ENDS[0], 0, BindMode::Auto)
    };
    let mut socket = XskSocket::open(&config, &mut umem).expect("an AF_XDP socket");
    for _ in 0..16 {
        let frame = umem.allocate().expect("a free frame");
        socket.transmit(&mut umem, frame, 60).expect("room");
    }
    assert_eq!(socket.transmit_space(), 0);
    let frame = umem.allocate().expect("a free frame");
    let frame = socket
        .transmit(&mut umem, frame, 60)
        .expect_err("the ring is full");
    umem.release(frame);
    assert_eq!(
        umem.counts(),
        FrameCounts {
            free: 48,
            tx: 16,
            ..FrameCounts::default()
        }
    );
    socket.kick().expect("kick");
    assert_eq!(socket.transmit_space(), 16);
}

#[test]
fn errors_say_what_is_wrong() {
    if !netns::enter(MTU) {
        return;
    }
    let open = |config: &XskConfig| {
        let mut umem = Umem::new(16).expect("an AF_XDP UMEM");
        XskSocket::open(config, &mut umem).map(|socket| (umem, socket))
    };
    let fails = |config: &XskConfig| open(config).expect_err("cannot be opened");
    let good = XskConfig::new(ENDS[0], 0, BindMode::Copy);
    let error = fails(&XskConfig {
        interface: "blkio9".into(),
        ..good.clone()
    });
    assert!(matches!(error, XskError::NoSuchInterface { .. }), "{error}");
    let error = fails(&XskConfig {
        queue: 77,
        ..good.clone()
    });
    assert!(
        matches!(error, XskError::NoSuchQueue { queue: 77, .. }),
        "{error}"
    );
    let error = fails(&XskConfig {
        mode: BindMode::ZeroCopy,
        ..good.clone()
    });
    assert!(
        matches!(
            error,
            XskError::Unsupported {
                mode: BindMode::ZeroCopy,
                ..
            }
        ),
        "{error}"
    );
    let error = fails(&XskConfig {
        tx_ring: 3,
        ..good.clone()
    });
    assert!(matches!(error, XskError::RingSize { size: 3 }), "{error}");
    let error = fails(&XskConfig {
        fill_ring: 64,
        ..good.clone()
    });
    assert!(matches!(error, XskError::RingMismatch { .. }), "{error}");
    let error = XskSocket::open(&good, &mut Umem::anonymous(4).expect("memory"))
        .expect_err("not AF_XDP memory");
    assert!(matches!(error, XskError::NotXdp), "{error}");

    // After a mode that cannot be had, another may be tried on the same UMEM, with the same rings.
    let mut umem = Umem::new(16).expect("an AF_XDP UMEM");
    let zero_copy = XskConfig {
        mode: BindMode::ZeroCopy,
        ..good.clone()
    };
    XskSocket::open(&zero_copy, &mut umem).expect_err("veth has no zero-copy");
    let shorter = XskConfig {
        rx_ring: 64,
        ..good.clone()
    };
    let error = XskSocket::open(&shorter, &mut umem).expect_err("the rings are made already");
    assert!(matches!(error, XskError::RingsFixed { .. }), "{error}");
    drop(XskSocket::open(&good, &mut umem).expect("copy mode after zero-copy"));
    drop(umem);

    let (mut umem, socket) = open(&good).expect("an AF_XDP socket");
    let error = XskSocket::open(&good, &mut umem).expect_err("one socket per UMEM");
    assert!(matches!(error, XskError::UmemInUse), "{error}");
    let started = Instant::now();
    let error = fails(&good);
    assert!(
        matches!(error, XskError::QueueBusy { queue: 0, .. }),
        "{error}"
    );
    assert!(
        started.elapsed() >= Duration::from_millis(900),
        "a busy queue is waited for"
    );
    // The queue is free again once socket and UMEM are gone; `open` waits for the kernel to notice.
    drop(socket);
    drop(umem);
    let (_umem, socket) = open(&good).expect("the queue is free");
    assert!(socket.fd().as_raw_fd() >= 0);
}

#[test]
#[should_panic(expected = "another UMEM than its own")]
fn a_socket_refuses_frames_of_another_umem() {
    if !netns::enter(MTU) {
        panic!("skipped: another UMEM than its own");
    }
    let (_umem, mut socket) = open(ENDS[0]);
    let mut other = Umem::anonymous(4).expect("memory");
    socket.fill(&mut other, 4);
}

#[test]
fn busy_polling_reaches_the_socket_and_packets_come() {
    const PACKETS: u64 = 300;
    if !netns::enter(MTU) {
        return;
    }
    let config = |end: &str| XskConfig {
        busy_poll: Some(Duration::from_micros(35)),
        ..XskConfig::new(end, 0, BindMode::Copy)
    };
    let open = |end: &str| {
        let mut umem = Umem::new(FRAMES).expect("an AF_XDP UMEM");
        let socket = XskSocket::open(&config(end), &mut umem).expect("an AF_XDP socket");
        (umem, socket)
    };
    let redirect = Redirect::attach(interface_index(ENDS[1]));
    let (mut here, mut sender) = open(ENDS[0]);
    let (mut there, mut receiver) = open(ENDS[1]);
    redirect.insert(0, receiver.fd());
    for socket in [&sender, &receiver] {
        // The kernel does not tell SO_BUSY_POLL_BUDGET; one that it does not take is an error of `open`.
        for (option, value) in [(libc::SO_PREFER_BUSY_POLL, 1), (libc::SO_BUSY_POLL, 35)] {
            assert_eq!(socket_option(socket.fd(), option), value, "{option}");
        }
    }
    assert_eq!(receiver.fill(&mut there, 512), 512);
    let (started, mut sent, mut came) = (Instant::now(), 0, 0);
    while came < PACKETS {
        assert!(started.elapsed() < LIMIT, "{came} of {PACKETS} packets");
        if sent < PACKETS {
            let mut frame = here.allocate().expect("frames come back");
            let len = compose(here.packet_mut(&mut frame), sent, 1024);
            sender
                .transmit(&mut here, frame, len)
                .expect("there is room");
            sent += 1;
        }
        sender.kick().expect("the interface is up");
        sender.complete(&mut here, &mut Vec::new());
        let mut batch = Vec::new();
        receiver.receive(&mut there, &mut batch);
        for frame in batch {
            if let Some(number) = number_of(there.packet(&frame), 1024) {
                assert_eq!(number, came, "in order");
                came += 1;
            }
            there.release(frame);
        }
        receiver.fill(&mut there, 512);
        there.assert_conserved();
    }
}

/// An option of `SOL_SOCKET`.
fn socket_option(fd: impl AsRawFd, option: i32) -> i32 {
    let mut value = 0;
    let mut len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes, which `value` has.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    value
}

#[test]
fn a_queue_that_is_given_back_in_a_moment_is_waited_for() {
    if !netns::enter(MTU) {
        return;
    }
    let (opened, is_open) = std::sync::mpsc::channel();
    // In the network namespace of this thread.
    let leaving = std::thread::spawn(move || {
        let _first = open(ENDS[0]);
        opened.send(()).expect("somebody waits");
        std::thread::sleep(Duration::from_millis(300));
    });
    is_open.recv().expect("the first socket was opened");
    let (_umem, socket) = open(ENDS[0]);
    assert!(socket.fd() >= 0);
    leaving.join().expect("the first socket was closed");
}
