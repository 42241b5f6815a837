//! Which of two measured data paths is taken.

use super::record::{Carrier, Cost};

/// What is less than this part of something is worse by far: runs of one and the same path differ by some percent.
const MARGIN: f64 = 0.9;

/// The carrier to take where there is no zero-copy, by what both have cost in one run.
///
/// The one with less CPU time per byte wins, as time on the CPU is what a host has other uses for, unless its rate is below
/// 0.9 of the other's: then the faster one does. UDP sockets win unless AF_XDP is better by a tenth, since it slows everybody else on a
/// software interface down.
#[must_use]
pub fn choose(udp: Cost, copy: Cost) -> Carrier {
    let far_slower = |one: Cost, other: Cost| one.rate < MARGIN * other.rate;
    let cheaper = copy.cpu_per_gb < udp.cpu_per_gb && copy.cpu_per_gb <= MARGIN * udp.cpu_per_gb;
    match !far_slower(copy, udp) && (cheaper || far_slower(udp, copy)) {
        true => Carrier::Copy,
        false => Carrier::Udp,
    }
}

#[cfg(test)]
mod tests {
    use super::Carrier::{Copy, Udp};
    use super::*;
    use proptest::prelude::*;

    fn cost(rate: f64, cpu_per_gb: f64) -> Cost {
        Cost {
            rate: rate * 1e9,
            cpu_per_gb,
        }
    }

    #[test]
    fn examples() {
        // Rate and CPU time of UDP sockets and of copy mode.
        let cases = [
            ((1.2, 0.9), (0.8, 2.0), Udp),
            ((0.8, 2.0), (1.2, 0.9), Copy),
            ((1.0, 1.0), (1.0, 1.0), Udp),
            // Better by less than a tenth.
            ((1.0, 1.0), (1.05, 0.95), Udp),
            // Cheaper by far, a little slower.
            ((1.0, 1.0), (0.95, 0.5), Copy),
            ((1.0, 1.0), (0.91, 0.89), Copy),
            // Cheaper by far, and slower than anybody wants.
            ((1.0, 1.0), (0.89, 0.1), Udp),
            // Faster, at the same cost, and at a higher one.
            ((1.0, 1.0), (1.2, 1.0), Copy),
            ((1.0, 1.0), (1.2, 1.15), Copy),
            ((1.0, 1.0), (1.1, 1.0), Udp),
            // No CPU time at all, to the clock's resolution.
            ((1.0, 0.0), (1.0, 0.0), Udp),
        ];
        for (udp, copy, taken) in cases {
            let of = choose(cost(udp.0, udp.1), cost(copy.0, copy.1));
            assert_eq!(of, taken, "UDP {udp:?}, copy {copy:?}");
        }
    }

    fn costs() -> impl Strategy<Value = Cost> {
        (0.01..20.0, 0.01..20.0).prop_map(|(rate, cpu)| cost(rate, cpu))
    }

    proptest! {
        /// What is better by more than a tenth in both is taken.
        #[test]
        fn the_better_one_is_taken(worse in costs(), rate in 1.12..5.0, cpu in 0.1..0.89) {
            let better = Cost { rate: worse.rate * rate, cpu_per_gb: worse.cpu_per_gb * cpu };
            prop_assert_eq!(choose(worse, better), Copy);
            prop_assert_eq!(choose(better, worse), Udp);
        }

        /// What is not better by a tenth in either is no reason to attach a program.
        #[test]
        fn udp_needs_no_reason(udp in costs(), rate in 0.01..1.1, cpu in 0.91..5.0) {
            let copy = Cost { rate: udp.rate * rate, cpu_per_gb: udp.cpu_per_gb * cpu };
            prop_assert_eq!(choose(udp, copy), Udp);
        }

        /// Copy mode that becomes better stays taken.
        #[test]
        fn better_figures_never_lose(udp in costs(), copy in costs(), rate in 1.0..5.0, cpu in 0.1..1.0) {
            prop_assume!(choose(udp, copy) == Copy);
            let better = Cost { rate: copy.rate * rate, cpu_per_gb: copy.cpu_per_gb * cpu };
            prop_assert_eq!(choose(udp, better), Copy);
        }
    }
}
