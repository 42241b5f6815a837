use super::*;

fn umem(frames: u32) -> Umem {
    Umem::anonymous(frames).expect("anonymous memory")
}

/// An AF_XDP UMEM, or `None` (said loudly) where the machine does not allow one. CI must allow it.
fn xdp_umem(frames: u32) -> Option<Umem> {
    match Umem::new(frames) {
        Ok(umem) => Some(umem),
        Err(error) => {
            crate::skip::skip(error);
            None
        }
    }
}

#[test]
fn frames_go_around_and_are_conserved() {
    let mut umem = umem(8);
    assert_eq!(umem.available(), 8);
    let mut disk = Vec::new();
    while let Some(frame) = umem.allocate() {
        disk.push(umem.free_to_disk(frame, 512));
        umem.assert_conserved();
    }
    assert_eq!(umem.counts().disk, 8);
    assert_eq!(umem.available(), 0);
    let held: Vec<_> = disk
        .into_iter()
        .map(|frame| umem.disk_to_held(frame, 100))
        .collect();
    assert_eq!(umem.counts().held, 8);
    for frame in held {
        assert_eq!(umem.payload(&frame).len(), 100);
        umem.release(frame);
        umem.assert_conserved();
    }
    assert_eq!(umem.available(), 8);
    assert_eq!(
        umem.counts(),
        FrameCounts {
            free: 8,
            ..FrameCounts::default()
        }
    );
}

#[test]
fn frames_do_not_overlap_and_payload_is_sector_aligned() {
    let mut umem = umem(16);
    let mut frames: Vec<_> = (0..16)
        .map(|_| umem.allocate().expect("a free frame"))
        .collect();
    for frame in &mut frames {
        let index = frame.index().0 as u8;
        umem.packet_mut(frame).fill(index);
    }
    for frame in frames {
        let index = frame.index().0 as u8;
        let frame = umem.free_to_disk(frame, PAYLOAD_MAX as u16);
        assert!(umem.payload(&frame).iter().all(|byte| *byte == index));
        assert_eq!(umem.payload(&frame).as_ptr() as usize % SECTOR, 0);
        umem.release(frame);
    }
}

#[test]
fn packet_and_payload_areas_meet_where_the_geometry_says() {
    let mut umem = umem(1);
    let mut frame = umem.allocate().expect("a free frame");
    umem.packet_mut(&mut frame)[PAYLOAD_START - PACKET_START..][..4].copy_from_slice(b"data");
    assert_eq!(umem.packet_mut(&mut frame).len(), PACKET_MAX);
    assert_eq!(umem.payload_mut(&mut frame).len(), PAYLOAD_MAX);
    let frame = umem.free_to_held(frame, 4);
    assert_eq!(umem.payload(&frame), b"data");
    umem.release(frame);
}

#[test]
fn a_payload_is_moved_to_its_place() {
    for at in [0, 98, 124, 127, 129, 132, PACKET_MAX - 1000] {
        let mut umem = umem(1);
        let mut frame = umem.allocate().expect("a free frame");
        let bytes: Vec<u8> = (0..1000).map(|byte| byte as u8).collect();
        umem.packet_mut(&mut frame)[at..][..1000].copy_from_slice(&bytes);
        let mut frame = umem.free_to_rx(frame, at + 1000);
        umem.move_payload(&mut frame, at, 1000);
        let frame = umem.rx_to_disk(frame, 1000);
        assert_eq!(umem.payload(&frame), bytes, "from {at}");
        umem.release(frame);
    }
}

#[test]
#[should_panic(expected = "11 bytes at 90 of a packet")]
fn what_is_not_in_a_packet_is_not_moved() {
    let mut umem = umem(1);
    let frame = umem.allocate().expect("a free frame");
    let mut frame = umem.free_to_rx(frame, 100);
    umem.move_payload(&mut frame, 90, 11);
}

#[test]
fn a_payload_is_copied_into_another_packet() {
    let mut umem = umem(2);
    let mut block = umem.allocate().expect("a free frame");
    umem.payload_mut(&mut block)[..4].copy_from_slice(b"data");
    let block = umem.free_to_held(block, 4);
    let mut packet = umem.allocate().expect("a free frame");
    for at in [124, 132, PACKET_MAX - 4] {
        umem.copy_payload(&block, &mut packet, at);
        assert_eq!(umem.packet_mut(&mut packet)[at..][..4], *b"data");
    }
    assert_eq!(umem.payload(&block), b"data");
    umem.release(block);
    umem.release(packet);
}

#[test]
#[should_panic(expected = "4 bytes at 3709 of a packet")]
fn a_copy_stays_within_its_frame() {
    let mut umem = umem(2);
    let block = umem.allocate().expect("a free frame");
    let block = umem.free_to_held(block, 4);
    let mut packet = umem.allocate().expect("a free frame");
    umem.copy_payload(&block, &mut packet, PACKET_MAX - 3);
}

#[test]
fn a_dropped_token_shows_in_the_counts() {
    let mut umem = umem(4);
    let frame = umem.allocate().expect("a free frame");
    drop(umem.free_to_disk(frame, 0));
    umem.assert_conserved();
    assert_eq!((umem.counts().disk, umem.available()), (1, 3));
}

#[test]
#[should_panic(expected = "another UMEM")]
fn a_token_of_another_umem_panics() {
    let (mut a, mut b) = (umem(2), umem(2));
    let frame = a.allocate().expect("a free frame");
    b.release(frame);
}

#[test]
#[should_panic(expected = "a payload of 3585 bytes")]
fn a_payload_longer_than_the_frame_panics() {
    let mut umem = umem(1);
    let frame = umem.allocate().expect("a free frame");
    let _ = umem.free_to_disk(frame, 3585);
}

#[test]
fn sizes_out_of_range_are_errors() {
    assert!(matches!(
        Umem::anonymous(0),
        Err(UmemError::Frames { frames: 0 })
    ));
    assert!(matches!(
        Umem::anonymous(FRAMES_MAX + 1),
        Err(UmemError::Frames { .. })
    ));
    assert!(matches!(
        Umem::with_rings(4, 3, 4),
        Err(UmemError::RingSize { size: 3 })
    ));
}

#[test]
fn an_af_xdp_umem_has_the_same_frames() {
    let Some(mut umem) = xdp_umem(64) else { return };
    let mut frames: Vec<_> = (0..64)
        .map(|_| umem.allocate().expect("a free frame"))
        .collect();
    for frame in &mut frames {
        let index = frame.index().0 as u8;
        umem.payload_mut(frame).fill(index);
    }
    for frame in frames {
        let index = frame.index().0 as u8;
        let frame = umem.free_to_disk(frame, PAYLOAD_MAX as u16);
        assert!(umem.payload(&frame).iter().all(|byte| *byte == index));
        assert_eq!(
            umem.payload(&frame).as_ptr() as usize % CHUNK,
            PAYLOAD_START
        );
        umem.release(frame);
    }
    umem.assert_conserved();
}

/// A UMEM whose packets may lie in several frames, and one such packet: pieces of these lengths.
fn in_fragments(lens: &[usize]) -> (Umem, Vec<Frame<Rx>>, Vec<u8>) {
    let mut umem = umem(32);
    umem.pretend_fragments();
    let bytes: Vec<u8> = (0..lens.iter().sum())
        .map(|at: usize| (at / 3) as u8)
        .collect();
    let (mut frames, mut at) = (Vec::new(), 0);
    for &len in lens {
        let mut frame = umem.allocate().expect("a free frame");
        umem.packet_mut(&mut frame)[..len].copy_from_slice(&bytes[at..at + len]);
        frames.push(umem.free_to_rx(frame, len));
        at += len;
    }
    (umem, frames, bytes)
}

/// The payload's bytes, and the offset of each piece in its chunk. All frames are free afterwards.
fn taken(umem: &mut Umem, frames: crate::chain::Chain<Frame<Disk>>) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut starts) = (Vec::new(), Vec::new());
    frames.for_each(|frame| {
        bytes.extend_from_slice(umem.payload(&frame));
        let address = umem.payload_address(&frame) as usize;
        starts.push((address - umem.memory.base() as usize) % CHUNK);
        umem.release(frame);
    });
    assert_eq!(umem.available(), umem.total());
    (bytes, starts)
}

#[test]
fn fragments_on_sectors_stay_where_they_are() {
    for (lens, payload) in [
        (vec![3584, 3584, 1536], 8192),
        (vec![3584, 3584, 1000], 7656),
        // What follows the payload is not of it.
        (vec![3584, 3584, 60], 6656),
        (vec![512, 3584, 512], 4096),
    ] {
        let (mut umem, frames, bytes) = in_fragments(&lens);
        let (frames, moved) = umem.take_payloads(frames, 512, payload as u16);
        let (found, starts) = taken(&mut umem, frames);
        assert!(!moved, "{lens:?}");
        assert_eq!(found, bytes[512..512 + payload], "{lens:?}");
        let first = if lens[0] > 512 { 1024 } else { 512 };
        assert_eq!(starts[0], first, "{lens:?}");
        assert!(starts[1..].iter().all(|start| *start == 512), "{lens:?}");
    }
}

#[test]
fn other_fragments_are_moved_to_sectors() {
    for (lens, at, payload) in [
        (vec![3584, 3584, 1536], 508, 8192),
        (vec![3584, 3584, 1536], 516, 8188),
        (vec![3584, 3584, 1536], 128, 8576),
        (vec![3000, 3584, 1536], 512, 7608),
        (vec![100, 100], 150, 50),
        // A short block, as those come that have no long ones.
        (vec![3584, 128], 128, 3584),
        // On sectors all of them, but not where a block of that length was asked for.
        (vec![3584, 3584], 512, 3584),
        (vec![3584, 60], 512, 3000),
        (vec![3584, 3584, 1536], 1024, 7680),
        (vec![3584, 3584, 3584, 3584], 3584, 3584),
        (vec![3584, 3584, 3584], 3072, 1024),
    ] {
        let (mut umem, frames, bytes) = in_fragments(&lens);
        let (frames, moved) = umem.take_payloads(frames, at, payload as u16);
        let (found, starts) = taken(&mut umem, frames);
        assert!(moved, "{lens:?}");
        assert_eq!(found, bytes[at..at + payload], "{lens:?}");
        assert!(starts.iter().all(|start| *start == PAYLOAD_START));
        assert_eq!(starts.len(), payload.div_ceil(PAYLOAD_MAX));
    }
}

#[test]
fn a_single_frame_stays_on_a_sector_or_is_moved() {
    for (at, start, is_moved) in [(512, 1024, false), (128, 512, true), (124, 512, true)] {
        let (mut umem, mut frames, bytes) = in_fragments(&[at + 1024]);
        let frame = frames.pop().expect("one");
        let (frame, moved) = umem.take_payload(frame, at, 1024);
        assert_eq!(moved, is_moved, "{at}");
        let (found, starts) = taken(&mut umem, crate::chain::Chain::One(frame));
        assert_eq!((found, starts), (bytes[at..].to_vec(), vec![start]));
    }
}

#[test]
fn a_frame_forgets_where_its_last_payload_lay() {
    let (mut umem, mut frames, _) = in_fragments(&[1024]);
    let (frame, _) = umem.take_payload(frames.pop().expect("one"), 512, 512);
    assert_eq!(umem.payload_start(&frame), 1024);
    umem.release(frame);
    let frame = umem.allocate().expect("the same");
    let mut frame = umem.free_to_disk(frame, PAYLOAD_MAX as u16);
    assert_eq!(umem.payload_mut(&mut frame).len(), PAYLOAD_MAX);
    let frame = umem.disk_to_held(frame, PAYLOAD_MAX as u16);
    umem.release(frame);
}

#[test]
#[should_panic(expected = "a payload elsewhere")]
fn a_payload_that_is_not_where_packets_are_sent_from_is_not_sent() {
    let (mut umem, mut frames, _) = in_fragments(&[1024]);
    let (frame, _) = umem.take_payload(frames.pop().expect("one"), 512, 512);
    let _ = umem.disk_to_held(frame, 512);
}

#[test]
#[should_panic(expected = "9000 bytes at 512 of a packet of 8704")]
fn a_payload_longer_than_its_packet_is_not_taken() {
    let (mut umem, frames, _) = in_fragments(&[3584, 3584, 1536]);
    let _ = umem.take_payloads(frames, 512, 9000);
}
