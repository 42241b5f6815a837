//! Without the right to lock memory, the frames cannot be registered with io_uring: all must work, slower.
//!
//! Alone in its process, because it lowers a limit of the process.

mod support;

use std::{sync::Arc, time::Duration};

use blk_datapath::{
    disk::{BlockFile, Completion, DiskQueue, Intent, Ways},
    umem::Umem,
};
use rustix::{
    process::{Resource, Rlimit, setrlimit},
    thread::{CapabilitySet, CapabilitySets, set_capabilities},
};
use support::test_directory;

#[test]
fn a_low_memlock_limit_costs_speed_only() {
    let lower = Rlimit {
        current: Some(64 << 10),
        maximum: Some(64 << 10),
    };
    setrlimit(Resource::Memlock, lower).expect("a lower limit is always allowed");
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).expect("fewer capabilities are always allowed");

    let directory = test_directory();
    let path = directory.path().join("file");
    let file = std::fs::File::create_new(&path).expect("test file");
    let file = Arc::new(BlockFile::new(file.into(), Intent::Write).expect("statx"));
    let mut umem = Umem::anonymous(64).expect("memory");
    let mut queue = DiskQueue::new(&umem, 4).expect("io_uring");
    queue.set_gather_min(0);
    queue.register().expect("the limit is no error");
    assert!(!queue.is_registered());
    // The second run has a partial frame within, so it takes the copy buffers.
    for (offset, lengths) in [(0, [3072u16; 10].as_slice()), (30_720, &[512, 100, 412])] {
        let frames = lengths
            .iter()
            .map(|&len| {
                let mut frame = umem.allocate().expect("a free frame");
                umem.payload_mut(&mut frame).fill(0xA5);
                umem.free_to_disk(frame, len)
            })
            .collect();
        queue
            .write(&mut umem, &file, offset, frames, 0)
            .expect("room");
    }
    let mut out = Vec::new();
    assert!(
        queue
            .drain(&mut umem, Duration::from_secs(20), &mut out)
            .expect("drain")
    );
    let mut ways = Ways::default();
    for outcome in out {
        let Completion::Written { frames, result, .. } = outcome else {
            panic!("not a write")
        };
        let result = result.expect("write");
        ways.direct += result.direct;
        ways.copied += result.copied;
        frames.into_iter().for_each(|frame| umem.release(frame));
    }
    assert_eq!(ways.direct + ways.copied, 31_744);
    if file.is_direct() {
        assert_eq!(ways.copied, 512);
    }
    assert_eq!(std::fs::read(path).expect("file"), [0xA5; 31_744]);
}
