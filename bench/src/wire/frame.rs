//! Buffers of Ethernet frames, recycled.

/// Bytes of a VLAN tag (IEEE 802.1Q).
pub const VLAN_TAG_LEN: usize = 4;

/// Room in front of a received frame: for a tag that the kernel took out of it, and two that the wire puts in.
const FRONT: usize = 3 * VLAN_TAG_LEN;

/// Bytes of the two MAC addresses in front of a VLAN tag.
const ADDRESSES_LEN: usize = 12;

/// One Ethernet frame in a buffer of its own, without the frame check sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Frame {
    /// An empty frame with room for `capacity` bytes and VLAN tags.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            buffer: vec![0; FRONT + capacity].into(),
            start: FRONT,
            end: FRONT,
        }
    }

    /// The bytes of the frame, from the destination address on.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// The bytes of the frame, for changing them.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }

    /// All the room behind the place of VLAN tags, to receive into; [`Frame::set_len`] says how much was.
    pub fn room(&mut self) -> &mut [u8] {
        self.start = FRONT;
        &mut self.buffer[FRONT..]
    }

    /// Makes the first `len` bytes of the room the frame; a longer `len` than the room is cut.
    pub fn set_len(&mut self, len: usize) {
        self.start = FRONT;
        self.end = (FRONT + len).min(self.buffer.len());
    }

    /// Puts a VLAN tag behind the addresses: tag protocol id (0x8100, 0x88a8) and tag control information.
    /// Frames shorter than their addresses stay as they are.
    pub fn insert_vlan(&mut self, protocol: u16, control: u16) {
        if self.start < VLAN_TAG_LEN || self.end - self.start < ADDRESSES_LEN {
            return;
        }
        let old = self.start;
        self.start -= VLAN_TAG_LEN;
        self.buffer
            .copy_within(old..old + ADDRESSES_LEN, self.start);
        let tag = self.start + ADDRESSES_LEN;
        self.buffer[tag..tag + 2].copy_from_slice(&protocol.to_be_bytes());
        self.buffer[tag + 2..tag + 4].copy_from_slice(&control.to_be_bytes());
    }

    /// Takes the outer tag out, if it is of this VLAN; `false`: it is not.
    pub fn remove_vlan(&mut self, protocol: u16, id: u16) -> bool {
        let tag: Option<[u8; 4]> = self
            .bytes()
            .get(ADDRESSES_LEN..ADDRESSES_LEN + VLAN_TAG_LEN)
            .and_then(|tag| tag.try_into().ok());
        let is_it = tag.is_some_and(|[p0, p1, c0, c1]| {
            u16::from_be_bytes([p0, p1]) == protocol && u16::from_be_bytes([c0 & 0xf, c1]) == id
        });
        if is_it {
            let start = self.start;
            self.start += VLAN_TAG_LEN;
            self.buffer
                .copy_within(start..start + ADDRESSES_LEN, self.start);
        }
        is_it
    }

    /// Replaces the content with that of another frame of the same pool.
    fn copy_from(&mut self, other: &Self) {
        let len = other.bytes().len().min(self.room().len());
        self.room()[..len].copy_from_slice(&other.bytes()[..len]);
        self.set_len(len);
    }
}

/// Frames that are not in use. Grows with what is in flight, never shrinks; the queue's limit bounds it.
#[derive(Debug)]
pub struct Pool {
    capacity: usize,
    free: Vec<Frame>,
}

impl Pool {
    /// A pool of frames with room for `capacity` bytes each.
    pub fn new(capacity: usize) -> Self {
        // A tagged frame that carries its tags in front of the room is copied into the room.
        Self {
            capacity: capacity + FRONT,
            free: Vec::new(),
        }
    }

    /// An empty frame.
    pub fn take(&mut self) -> Frame {
        self.free
            .pop()
            .unwrap_or_else(|| Frame::with_capacity(self.capacity))
    }

    /// A copy of a frame.
    pub fn copy(&mut self, frame: &Frame) -> Frame {
        let mut copy = self.take();
        copy.copy_from(frame);
        copy
    }

    /// Takes a frame back.
    pub fn give(&mut self, mut frame: Frame) {
        frame.set_len(0);
        self.free.push(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(pool: &mut Pool, bytes: &[u8]) -> Frame {
        let mut frame = pool.take();
        frame.room()[..bytes.len()].copy_from_slice(bytes);
        frame.set_len(bytes.len());
        frame
    }

    #[test]
    fn a_vlan_tag_goes_back_where_it_was() {
        let mut pool = Pool::new(64);
        let mut tagged = frame(&mut pool, b"ddddddssssss\x08\x00payload");
        tagged.insert_vlan(0x8100, 0x2007);
        assert_eq!(
            tagged.bytes(),
            b"ddddddssssss\x81\x00\x20\x07\x08\x00payload"
        );
        let copy = pool.copy(&tagged);
        assert_eq!(copy.bytes(), tagged.bytes());
    }

    #[test]
    fn the_longest_frame_has_room_for_all_tags() {
        let mut pool = Pool::new(64);
        let mut tagged = frame(&mut pool, &[7; 64]);
        for id in [3, 2, 1] {
            tagged.insert_vlan(0x8100, id);
        }
        assert_eq!(tagged.bytes().len(), 64 + 12);
        let mut copy = pool.copy(&tagged);
        assert_eq!(copy.bytes(), tagged.bytes());
        assert!(!copy.remove_vlan(0x8100, 2) && !copy.remove_vlan(0x88a8, 1));
        assert!([1, 2, 3].iter().all(|&id| copy.remove_vlan(0x8100, id)));
        assert_eq!(copy.bytes(), [7; 64]);
    }

    #[test]
    fn a_runt_gets_no_tag() {
        let mut pool = Pool::new(64);
        let mut runt = frame(&mut pool, b"short");
        runt.insert_vlan(0x8100, 1);
        assert_eq!(runt.bytes(), b"short");
    }

    #[test]
    fn recycled_frames_are_empty_and_whole() {
        let mut pool = Pool::new(16);
        let mut tagged = frame(&mut pool, b"ddddddssssss\x08\x00ab");
        tagged.insert_vlan(0x8100, 1);
        pool.give(tagged);
        let mut again = pool.take();
        assert!(again.bytes().is_empty());
        assert_eq!(again.room().len(), 16 + FRONT);
    }
}
