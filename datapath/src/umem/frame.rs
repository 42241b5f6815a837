//! Move-only frame tokens. A token is the right to touch one frame in one state.

use std::marker::PhantomData;

use super::state::State;

/// The number of a frame within its UMEM, from 0.
///
/// An index only names a frame (as a key, or in a log); it gives no access to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FrameIndex(pub u32);

mod sealed {
    use super::State;

    /// Closes [`FrameState`](super::FrameState) and ties each marker to its entry in the state table.
    pub trait Sealed {
        const STATE: State;
    }
}

pub(crate) use sealed::Sealed;

/// A state in which user space holds a frame: [`Free`], [`Rx`], [`Disk`], [`Held`], and the queues of a UDP socket.
pub trait FrameState: Sealed {}

/// A state in which a packet may be composed in the frame: [`Free`] and [`Held`].
pub trait Transmittable: FrameState {}

/// A state in which the frame carries a payload of known length: [`Disk`] and [`Held`].
pub trait HasPayload: FrameState {}

/// A state in which the payload area may be written: [`Free`], [`Disk`] and [`Held`].
pub trait PayloadWritable: FrameState {}

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident: $($also:ident),*;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub enum $name {}
        impl Sealed for $name {
            const STATE: State = State::$name;
        }
        impl FrameState for $name {}
        $(impl $also for $name {})*
    )*};
}

states! {
    /// Allocated and empty.
    Free: Transmittable, PayloadWritable;
    /// Put aside for reception by a UDP socket, which has it only during a system call.
    Fill: ;
    /// Holds a received packet.
    Rx: ;
    /// Belongs to a disk operation (or is about to, or just did).
    Disk: HasPayload, PayloadWritable;
    /// Holds a payload that is kept until it is acknowledged.
    Held: Transmittable, HasPayload, PayloadWritable;
    /// Queued for a UDP socket; free once sent.
    TxFree: ;
    /// Queued for a UDP socket; [`Held`] again once sent.
    TxHeld: ;
}

/// The right to use one frame of one [`Umem`](super::Umem), in state `S`.
///
/// Neither `Clone` nor `Copy`: whoever has the token is the only one that touches the frame. It goes back by
/// [`Umem::release`](super::Umem::release), into a ring by the socket, or into a disk operation. A dropped
/// token leaks its frame until the UMEM ends; the counts then show it in the state it was lost in.
#[must_use = "a dropped token leaks its frame; give it back with Umem::release"]
#[derive(Debug)]
pub struct Frame<S> {
    index: u32,
    len: u16,
    /// Which UMEM the frame is of: a token of another one must not pass.
    pool: u16,
    state: PhantomData<S>,
}

impl<S: FrameState> Frame<S> {
    /// Makes the token; only the owner of the state table may, right after the transition into `S`.
    #[inline]
    pub(super) fn new(index: u32, len: u16, pool: u16) -> Self {
        Self {
            index,
            len,
            pool,
            state: PhantomData,
        }
    }

    /// Which frame this is.
    #[inline]
    pub fn index(&self) -> FrameIndex {
        FrameIndex(self.index)
    }

    /// Bytes: of the packet for [`Rx`], of the payload for [`Disk`] and [`Held`], 0 for [`Free`].
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether [`len`](Self::len) is 0.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Which UMEM this token belongs to.
    #[inline]
    pub(super) fn pool(&self) -> u16 {
        self.pool
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_eight_bytes() {
        assert_eq!(size_of::<Frame<Rx>>(), 8);
        assert_eq!(size_of::<Option<Frame<Held>>>(), 12);
    }
}
