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
