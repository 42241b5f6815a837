//! The sending half: onto the TX ring, and back from the completion ring.

use std::os::fd::AsFd;

use rustix::{
    io::Errno,
    net::{SendFlags, send},
};
use xsk_rs::FrameDesc;

use super::XskSocket;
use crate::chain::Chain;
use crate::umem::{Frame, Free, Held, Transmittable, Umem};
use crate::xsk::XskError;

/// Set in the descriptors of all frames of a packet but its last (include/uapi/linux/if_xdp.h).
const XDP_PKT_CONTD: u32 = 1;

/// What [`XskSocket::transmit_parts`] was given, and did not take.
#[derive(Debug)]
pub struct Parts {
    /// Frames that would have been free afterwards, and how much of each is sent.
    pub parts: Vec<(Frame<Free>, usize)>,
    /// Frames that would have come back.
    pub held: Chain<Frame<Held>>,
}

impl XskSocket {
    /// Queues the first `packet_len` bytes of the frame's packet area; its completion frees the frame. `Err`
    /// gives it back: the TX ring is full. Nothing moves before [`kick`](Self::kick).
    pub fn transmit(
        &mut self,
        umem: &mut Umem,
        frame: Frame<Free>,
        packet_len: usize,
    ) -> Result<(), Frame<Free>> {
        self.check(umem);
        let descriptor = umem.transmit_descriptor(&frame, packet_len);
        self.take_down(umem, &frame, packet_len);
        if !self.queue(&descriptor) {
            return Err(frame);
        }
        umem.transmitted_free(&frame);
        Ok(())
    }

    /// As [`transmit`](Self::transmit), but [`complete`](Self::complete) hands the frame back.
    pub fn transmit_held(
        &mut self,
        umem: &mut Umem,
        frame: Frame<Held>,
        packet_len: usize,
    ) -> Result<(), Frame<Held>> {
        self.check(umem);
        let descriptor = umem.transmit_descriptor(&frame, packet_len);
        self.take_down(umem, &frame, packet_len);
        if !self.queue(&descriptor) {
            return Err(frame);
        }
        umem.transmitted_held(&frame);
        Ok(())
    }

    /// Queues one packet: the first bytes of these frames' packet areas, as many as are said of each, and the payloads of
    /// the `held` ones. Completions free the former, and hand the latter back. `Err` gives all back: the TX ring has no room for
    /// all of them.
    ///
    /// # Panics
    ///
    /// When there are several frames in all, and the UMEM is not made for that.
    pub fn transmit_parts(
        &mut self,
        umem: &mut Umem,
        parts: Vec<(Frame<Free>, usize)>,
        held: Chain<Frame<Held>>,
    ) -> Result<(), Parts> {
        self.check(umem);
        assert!(umem.has_fragments(), "a UMEM without fragments");
        self.filling.clear();
        for (frame, len) in &parts {
            self.filling.push(umem.transmit_descriptor(frame, *len));
        }
        for frame in held.as_slice() {
            // A payload begins where a fragment does (`FRAGMENT_START`).
            self.filling
                .push(umem.transmit_descriptor(frame, frame.len()));
        }
        let count = self.filling.len();
        if let Some((_, before)) = self.filling.split_last_mut() {
            before
                .iter_mut()
                .for_each(|descriptor| descriptor.set_options(XDP_PKT_CONTD));
        }
        if self.tap.is_some() {
            self.take_down_parts(umem, &parts, held.as_slice());
        }
        // SAFETY: the caller's tokens are consumed on success: nobody touches the frames until they are completed. The ring
        // takes all or nothing.
        if unsafe { self.tx.produce(&self.filling) } != count {
            return Err(Parts { parts, held });
        }
        for (frame, _) in parts {
            umem.transmitted_free(&frame);
        }
        held.for_each(|frame| umem.transmitted_held(&frame));
        self.tx_fragments += count as u64;
        Ok(())
    }

    /// Shows a packet in several frames to the tap, if the ring has room for it.
    #[cold]
    fn take_down_parts(
        &mut self,
        umem: &Umem,
        parts: &[(Frame<Free>, usize)],
        held: &[Frame<Held>],
    ) {
        if self.transmit_space() < parts.len() + held.len() {
            return;
        }
        let mut packet = Vec::new();
        for (frame, len) in parts {
            packet.extend_from_slice(umem.packet_to_send(frame, *len));
        }
        for frame in held {
            packet.extend_from_slice(umem.payload(frame));
        }
        if let Some(tap) = &mut self.tap {
            tap.sent(&packet);
        }
    }

    /// Shows a packet that is about to be queued to the tap, while the frame is still ours. One that finds the ring full
    /// is not sent.
    #[inline]
    fn take_down<S: Transmittable>(&mut self, umem: &Umem, frame: &Frame<S>, packet_len: usize) {
        if self.tap.is_some()
            && self.transmit_space() > 0
            && let Some(tap) = &mut self.tap
        {
            tap.sent(umem.packet_to_send(frame, packet_len));
        }
    }

    fn queue(&mut self, descriptor: &FrameDesc) -> bool {
        // SAFETY: the caller has the frame's token, which it consumes on success: nobody touches the frame until
        // it is completed.
        unsafe { self.tx.produce_one(descriptor) == 1 }
    }

    /// Makes the kernel transmit what is queued: in copy mode as much as it takes now, in zero-copy mode by
    /// waking the driver. What stays queued (no memory, device busy) goes with a later kick. No system call
    /// when nothing is queued or the driver is awake.
    pub fn kick(&mut self) -> Result<(), XskError> {
        let mut queued = self.queued();
        while queued > 0 && self.tx.needs_wakeup() {
            match send(self.as_fd(), &[], SendFlags::DONTWAIT) {
                Ok(_) => return Ok(()),
                // Also what the kernel says after its budget of packets per call, with more to come.
                Err(Errno::AGAIN) => {
                    let left = self.queued();
                    if left >= queued {
                        return Ok(());
                    }
                    queued = left;
                }
                Err(Errno::NOBUFS | Errno::BUSY | Errno::INTR) => return Ok(()),
                Err(errno) => {
                    return Err(XskError::Transmit {
                        source: errno.into(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Frames on the TX ring that the kernel has not taken yet.
    pub fn queued(&mut self) -> usize {
        self.tx_ring.saturating_sub(self.tx.nb_free_exact()) as usize
    }

    /// Takes all transmitted frames off the completion ring: free ones are freed, held ones appended to
    /// `returned`. Returns how many there were in all.
    pub fn complete(&mut self, umem: &mut Umem, returned: &mut Vec<Frame<Held>>) -> usize {
        self.check(umem);
        let mut total = 0;
        loop {
            // SAFETY: the frames are of the UMEM that this socket was opened on.
            let count = unsafe { self.completion.consume(&mut self.batch[..]) };
            for descriptor in &self.batch[..count] {
                returned.extend(umem.completed(descriptor));
            }
            total += count;
            if count < self.batch.len() {
                return total;
            }
        }
    }

    /// Frames that the TX ring has room for.
    pub fn transmit_space(&mut self) -> usize {
        self.tx.nb_free_exact() as usize
    }
}
