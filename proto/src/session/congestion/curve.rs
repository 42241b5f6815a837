//! The window's growth in CUBIC (RFC 9438, section 4), after a cut.
//!
//! ```text
//!   window                            probing beyond it ╱
//!   w_max ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄╭──────────╮┄┄┄┄┄┄┄┄┄┄╱
//!                          ╭─────╯            ╰───────╯
//!   0.7 w_max ╱────────────╯   fast back, then careful      time ─►      but never slower than Reno would be
//! ```

/// The constant C of the curve, in packets a second cubed.
const C: f64 = 0.4;
/// The window is multiplied by this in a cut.
const BETA: f64 = 0.7;
/// Growth of the Reno-friendly estimate, in packets a round: 3 (1 - beta) / (1 + beta).
const ALPHA: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

/// What the growth of a window depends on.
#[derive(Copy, Clone, Debug)]
pub(super) struct Growth {
    pub(super) now: u64,
    pub(super) srtt: u64,
    pub(super) packet_size: u64,
    pub(super) acked: u64,
}

#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Curve {
    /// Window at the last cut, in bytes.
    w_max: f64,
    /// When the growth began; none yet since the last cut.
    epoch: Option<u64>,
    /// Seconds from there until the curve is back at `w_max`.
    k: f64,
    /// What Reno's window would be, in bytes.
    reno: f64,
    /// The window before the cut: from there on Reno grows by a full packet.
    prior: f64,
    /// Part of a byte that the window did not grow by yet.
    fraction: f64,
}

impl Curve {
    /// The window is to be cut; gives what it becomes.
    pub(super) fn cut(&mut self, window: u64) -> u64 {
        let window = window as f64;
        self.prior = window;
        // Fast convergence (section 4.7): who has to yield twice makes room for others.
        self.w_max = if window < self.w_max {
            window * (1.0 + BETA) / 2.0
        } else {
            window
        };
        self.epoch = None;
        (window * BETA) as u64
    }

    /// Starts the growth over, towards `w_max` bytes.
    pub(super) fn aim(&mut self, w_max: u64) {
        *self = Self {
            w_max: w_max as f64,
            prior: w_max as f64,
            ..Self::default()
        };
    }

    /// The sender had nothing to send: the time does not count.
    pub(super) fn pause(&mut self) {
        self.epoch = None;
    }

    /// Gives the window after this growth.
    pub(super) fn grow(&mut self, window: u64, growth: &Growth) -> u64 {
        let (current, packet) = (window as f64, growth.packet_size as f64);
        let epoch = *self.epoch.get_or_insert_with(|| {
            self.w_max = self.w_max.max(current);
            self.k = ((self.w_max - current) / packet / C).cbrt();
            self.reno = current;
            growth.now
        });
        let time = (growth.now.saturating_sub(epoch) + growth.srtt) as f64 / 1e9 - self.k;
        let goal = (C * time * time * time * packet + self.w_max).clamp(current, current * 1.5);
        let acked = growth.acked as f64;
        let reno = if self.reno < self.prior { ALPHA } else { 1.0 };
        self.reno += reno * packet * acked / current;
        let grown = (current + (goal - current) * acked / current).max(self.reno) + self.fraction;
        self.fraction = grown.fract();
        grown as u64
    }
}
