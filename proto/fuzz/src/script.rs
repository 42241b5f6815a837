//! What happens in a [`World`], written down in bytes.
//!
//! Each step takes eight: whatever a fuzzer does to them, they still mean something, and a step that goes away takes
//! nothing else with it. `examples/corpus.rs` writes them.

use arbitrary::{Arbitrary, Unstructured};
use blk_proto::net::Ecn;
use blk_proto::session::Congestion;
use blk_proto::wire::Kind;

use crate::change;
use crate::world::{SERVER, World};

/// Bytes of a step.
const STEP_LEN: usize = 8;
/// Most steps that are played.
const MAX_STEPS: usize = 400;

/// What to do. A step's first byte, modulo their count.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Op {
    /// Send all that there is to send.
    Transmit,
    /// The next `a` packets arrive, marked as delayed by congestion if `b` is odd.
    Deliver,
    /// The packet at place `a` arrives, out of order; marked like that.
    Overtake,
    /// The packet at place `a` arrives, and stays on the way.
    Duplicate,
    /// The next `a` packets are lost.
    Lose,
    /// Byte `a` of the next packet changes by `b`.
    Corrupt,
    /// The same, and the checksum is right again.
    Tamper,
    /// The next packet loses its end, from byte `a` on; with `b` odd the checksum is right again.
    Truncate,
    /// A packet that nobody sent; `a` and `b` say what it is.
    Forge,
    /// `a` units of time pass: nanoseconds, microseconds or milliseconds by `b`.
    Advance,
    /// Time passes to the side's next deadline.
    Sleep,
    /// The application queues `a` blocks of length `b`.
    Queue,
    /// It cancels transfer `a`.
    Cancel,
    /// It releases `a` blocks.
    Release,
    /// It sets its window to `a` blocks.
    Window,
    /// It sends a message of length `b`.
    Message,
    /// It closes the session.
    Close,
    /// The longest packet that gets through has 1200 bytes and `a` more.
    Mtu,
}

impl Op {
    const ALL: [Self; 18] = [
        Self::Transmit,
        Self::Deliver,
        Self::Overtake,
        Self::Duplicate,
        Self::Lose,
        Self::Corrupt,
        Self::Tamper,
        Self::Truncate,
        Self::Forge,
        Self::Advance,
        Self::Sleep,
        Self::Queue,
        Self::Cancel,
        Self::Release,
        Self::Window,
        Self::Message,
        Self::Close,
        Self::Mtu,
    ];
}

/// One step.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What to do.
    pub op: Op,
    /// [`crate::world::CLIENT`] or [`SERVER`]. Of packets: who gets them.
    pub side: usize,
    /// A number.
    pub a: u16,
    /// Another one.
    pub b: u32,
}

impl Step {
    /// The step in bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; STEP_LEN] {
        let ([a0, a1], [b0, b1, b2, b3]) = (self.a.to_le_bytes(), self.b.to_le_bytes());
        [self.op as u8, self.side as u8, a0, a1, b0, b1, b2, b3]
    }

    /// The step that these bytes stand for.
    #[must_use]
    pub fn from_bytes([op, side, a0, a1, b0, b1, b2, b3]: [u8; STEP_LEN]) -> Self {
        Self {
            op: Op::ALL[usize::from(op) % Op::ALL.len()],
            side: usize::from(side) & SERVER,
            a: u16::from_le_bytes([a0, a1]),
            b: u32::from_le_bytes([b0, b1, b2, b3]),
        }
    }
}

/// Steps in a row, after the handshake or from the first Hello on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Whether the handshake is behind.
    pub connected: bool,
    /// Which congestion controller both sides use.
    pub congestion: Congestion,
    /// What happens.
    pub steps: Vec<Step>,
}

impl Script {
    /// The script in bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let cubic = self.congestion == Congestion::Cubic;
        let mut bytes = vec![u8::from(self.connected) | u8::from(cubic) << 1];
        for step in &self.steps {
            bytes.extend(step.to_bytes());
        }
        bytes
    }

    /// Plays it.
    ///
    /// # Panics
    /// Something that must hold in a [`World`] does not.
    pub fn play(&self) {
        let mut world = if self.connected {
            World::connected(self.congestion)
        } else {
            World::greeting(self.congestion)
        };
        for step in &self.steps {
            perform(&mut world, *step);
            world.check();
        }
        world.finish();
    }
}

impl<'a> Arbitrary<'a> for Script {
    fn arbitrary(input: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let setup: u8 = input.arbitrary()?;
        let congestion = match setup & 2 {
            0 => Congestion::Delay,
            _ => Congestion::Cubic,
        };
        let connected = setup & 1 == 1;
        let mut steps = Vec::new();
        while input.len() >= STEP_LEN && steps.len() < MAX_STEPS {
            steps.push(Step::from_bytes(input.arbitrary()?));
        }
        Ok(Self {
            connected,
            congestion,
            steps,
        })
    }
}

fn perform(world: &mut World, step: Step) {
    let Step { op, side, a, b } = step;
    let (count, place) = (usize::from(a % 64), usize::from(a));
    let ecn = if b & 1 == 0 {
        Ecn::Capable0
    } else {
        Ecn::Congested
    };
    match op {
        Op::Transmit => world.transmit(side),
        Op::Deliver => (0..count.max(1)).for_each(|_| world.deliver(side, 0, ecn)),
        Op::Overtake => world.deliver(side, place, ecn),
        Op::Duplicate => world.duplicate(side, place),
        Op::Lose => world.lose(side, count),
        Op::Corrupt => world.corrupt(side, place, b as u8),
        Op::Tamper => world.tamper(side, |packet| change(packet, place, b as u8)),
        Op::Truncate if b & 1 == 0 => world.truncate(side, place),
        Op::Truncate => world.tamper(side, |packet| packet.truncate(place)),
        Op::Forge => forge(world, side, a, b),
        Op::Advance => world.advance(u64::from(a) * [1, 1000, 1_000_000][b as usize % 3]),
        Op::Sleep => world.sleep(side),
        Op::Queue => world.queue(side, count, b as u16),
        Op::Cancel => world.cancel(side, u32::from(a)),
        Op::Release => world.release(side, a.into()),
        Op::Window => world.set_window(side, a.into()),
        Op::Message => world.send_message(side, b as usize % 70_000),
        Op::Close => world.close(side, b),
        Op::Mtu => world.set_mtu(1200 + place),
    }
}

/// Any kind, numbers where arithmetic goes wrong.
fn forge(world: &mut World, side: usize, a: u16, b: u32) {
    const EDGES: [u64; 8] = [
        0,
        1,
        63,
        (1 << 20) - 1,
        u32::MAX as u64,
        (1 << 62) - 1,
        1 << 62,
        u64::MAX,
    ];
    let Some(kind) = Kind::from_byte((a % 11) as u8) else {
        return;
    };
    let edge = |shift: u32| EDGES[(b >> shift) as usize % EDGES.len()];
    let numbers = [edge(0), edge(3), edge(6)];
    // Mostly what the head of an Ack looks like.
    let mut payload = Vec::new();
    for value in [edge(9), edge(12), edge(15)] {
        payload.extend_from_slice(&value.to_le_bytes());
    }
    payload.resize((b >> 18) as usize % 400, (b >> 26) as u8);
    world.forge_with(side, kind, numbers, u32::from(a >> 4), &payload);
}
