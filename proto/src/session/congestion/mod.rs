//! How many bytes may be in flight, and how fast they go out: one trait, two controllers.
//!
//! | controller | signal | for |
//! |---|---|---|
//! | [`Delay`] | queueing delay, loss, ECN | the default: short queues, little loss |
//! | [`Cubic`] | loss, ECN | RFC 9438, as TCP does it |
//!
//! A *round* is a round trip, told by packet numbers: it ends when a packet is acknowledged that was sent after the
//! round began. Times are nanoseconds, sizes bytes of UDP payload.

mod ambient;
mod base;
mod cubic;
mod curve;
mod delay;
mod hystart;

pub(super) use cubic::Cubic;
pub(super) use delay::Delay;

use super::config::Congestion;

/// Bytes that may be in flight before anything is known about the path: 36 packets of 3.6 KB.
const INITIAL_WINDOW: u64 = 128 << 10;
/// A window is never smaller than so many packets: one less and a single loss would wait for the probe timeout.
const MIN_PACKETS: u64 = 4;
/// But of longer packets than this, somewhat more than the longest with a short block, it may be fewer: four of 54 KB would
/// overflow many a queue for ever.
pub(super) const MIN_WINDOW_PACKET: u64 = 3800;
/// Size of a packet until one was sent.
pub(super) const FIRST_PACKET: u64 = 1200;

/// What an Ack says.
#[derive(Copy, Clone, Debug)]
pub(super) struct AckSample {
    pub(super) now: u64,
    /// Bytes acknowledged for the first time.
    pub(super) bytes: u64,
    /// The same in packets.
    pub(super) packets: u64,
    /// Of these packets, how many arrived with a mark of congestion.
    pub(super) ce_packets: u64,
    /// Largest packet number that this Ack acknowledges.
    pub(super) largest: u64,
    /// Number of the next packet to be sent.
    pub(super) next: u64,
    /// Round trip of `largest` without the peer's delay, if this Ack is the first to acknowledge it.
    pub(super) rtt: Option<u64>,
    /// Smoothed round trip.
    pub(super) srtt: u64,
    /// Size of the largest packet sent so far, or since the path was found to take less.
    pub(super) packet_size: u64,
    /// The window, and not a lack of data or credit, held the sender back when these packets were in flight.
    pub(super) limited: bool,
}

/// A packet that was declared lost, or, later, found not to be.
#[derive(Copy, Clone, Debug)]
pub(super) struct LossSample {
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// Number of the next packet to be sent.
    pub(super) next: u64,
}

/// A congestion controller.
pub(super) trait Controller {
    /// Bytes that may be in flight.
    fn window(&self) -> u64;

    /// Bytes a second at which to send, for this smoothed round trip.
    fn pacing_rate(&self, srtt: u64) -> u64;

    /// Packets arrived.
    fn on_ack(&mut self, sample: &AckSample);

    /// A packet was lost.
    fn on_loss(&mut self, sample: &LossSample);

    /// A packet that was declared lost has arrived: the reaction, if all its losses were none, is taken back (the idea
    /// of Eifel, RFC 4015, and of RFC 9438, section 4.9).
    fn on_spurious_loss(&mut self, sample: &LossSample);

    /// Nothing at all came through for several probe timeouts.
    fn on_persistent_congestion(&mut self);
}

/// The controller that the configuration chose.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a session has one, and never moves it"
)]
pub(super) enum Chosen {
    Delay(Delay),
    Cubic(Cubic),
}

impl Chosen {
    /// `max_window`: most bytes in flight.
    pub(super) fn new(congestion: Congestion, max_window: u64) -> Self {
        match congestion {
            Congestion::Delay => Self::Delay(Delay::new(max_window)),
            Congestion::Cubic => Self::Cubic(Cubic::new(max_window)),
        }
    }
}

macro_rules! each {
    ($self:ident, $controller:ident => $call:expr) => {
        match $self {
            Self::Delay($controller) => $call,
            Self::Cubic($controller) => $call,
        }
    };
}

impl Controller for Chosen {
    fn window(&self) -> u64 {
        each!(self, controller => controller.window())
    }

    fn pacing_rate(&self, srtt: u64) -> u64 {
        each!(self, controller => controller.pacing_rate(srtt))
    }

    fn on_ack(&mut self, sample: &AckSample) {
        each!(self, controller => controller.on_ack(sample));
    }

    fn on_loss(&mut self, sample: &LossSample) {
        each!(self, controller => controller.on_loss(sample));
    }

    fn on_spurious_loss(&mut self, sample: &LossSample) {
        each!(self, controller => controller.on_spurious_loss(sample));
    }

    fn on_persistent_congestion(&mut self) {
        each!(self, controller => controller.on_persistent_congestion());
    }
}

/// The smallest window for packets of this size.
fn least_window(packet_size: u64) -> u64 {
    MIN_PACKETS * packet_size.min(MIN_WINDOW_PACKET)
}

/// `window` bytes a round trip of `srtt` nanoseconds, times `quarters` / 4, in bytes a second.
fn rate(window: u64, srtt: u64, quarters: u64) -> u64 {
    let rate = u128::from(window) * u128::from(quarters) * 250_000_000 / u128::from(srtt.max(1));
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
