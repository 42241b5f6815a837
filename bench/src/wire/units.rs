//! Command-line values as tc(8) writes them: shares, times, rates, lengths of queues, losses in bursts.

use super::burst::BurstLoss;
use super::line::Depth;

/// A share of all frames: `1%`, `0.5%` or a bare number of percent. Gives 0..=1.
///
/// # Errors
/// Says what is wrong, for the command line.
pub fn share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(format!("`{text}` is not a share from 0% to 100%")),
    }
}

/// A time with its unit: `500us`, `10ms`, `1s`, `20ns`. Gives nanoseconds, at most one minute.
///
/// # Errors
/// Says what is wrong, for the command line.
pub fn time(text: &str) -> Result<u64, String> {
    let error = || format!("`{text}` is not a time like 500us, 10ms or 1s (at most 60s)");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ if text == "0" => 0.0,
        _ => return Err(error()),
    };
    match digits.parse::<f64>() {
        Ok(number) if number >= 0.0 && number * unit <= 60e9 => Ok((number * unit).round() as u64),
        _ => Err(error()),
    }
}

/// A line rate: `100mbit`, `1gbit`, `500kbit`, or bits per second. Gives bits per second, never 0.
///
/// # Errors
/// Says what is wrong, for the command line.
pub fn rate(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &lower[digits.len()..] {
        "" | "bit" => 1.0,
        "kbit" => 1e3,
        "mbit" => 1e6,
        "gbit" => 1e9,
        _ => return Err(format!("`{text}` is not a rate like 100mbit or 1gbit")),
    };
    match digits.parse::<f64>() {
        Ok(number) if number * unit >= 1.0 && number * unit <= 1e15 => {
            Ok((number * unit).round() as u64)
        }
        _ => Err(format!("`{text}` is not a rate like 100mbit or 1gbit")),
    }
}

/// The length of a queue: bytes (`125000`, `125kb`, `1mb`; 1 kb = 1000 bytes) or frames (`100p`).
///
/// # Errors
/// Says what is wrong, for the command line.
pub fn depth(text: &str) -> Result<Depth, String> {
    let error = || format!("`{text}` is not a length of a queue like 125kb, 1mb or 100p");
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: f64 = digits.parse().map_err(|_| error())?;
    if !(1.0..=1e12).contains(&number) {
        return Err(error());
    }
    match &lower[digits.len()..] {
        "p" if number <= 1e9 => Ok(Depth::Frames(number as usize)),
        "" | "b" => Ok(Depth::Bytes(number as u64)),
        "kb" => Ok(Depth::Bytes((number * 1e3) as u64)),
        "mb" => Ok(Depth::Bytes((number * 1e6) as u64)),
        _ => Err(error()),
    }
}

/// Losses in bursts, as netem's gemodel: `P%,R%[,B%[,G%]]`, the chance that a burst begins, that it ends, and the loss
/// within (default 100 %) and without (default 0 %), for each frame.
///
/// # Errors
/// Says what is wrong, for the command line.
pub fn burst(text: &str) -> Result<BurstLoss, String> {
    let shares: Result<Vec<f64>, String> = text.split(',').map(share).collect();
    match shares?.as_slice() {
        &[enter, leave, ref rest @ ..] if rest.len() <= 2 => Ok(BurstLoss {
            enter,
            leave,
            bad: rest.first().copied().unwrap_or(1.0),
            good: rest.get(1).copied().unwrap_or(0.0),
        }),
        _ => Err(format!("`{text}` is not a pair of shares like 0.1%,25%")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depths() {
        assert_eq!(depth("100p"), Ok(Depth::Frames(100)));
        assert_eq!(depth("1.5kb"), Ok(Depth::Bytes(1_500)));
        assert_eq!(depth("9000"), Ok(Depth::Bytes(9_000)));
        for bad in ["", "0", "p", "-1kb", "1gb", "nankb", "1e30mb"] {
            assert!(depth(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bursts() {
        let all = BurstLoss {
            enter: 0.01,
            leave: 0.25,
            bad: 1.0,
            good: 0.0,
        };
        assert_eq!(burst("1%,25%"), Ok(all));
        let some = BurstLoss {
            bad: 0.5,
            good: 0.001,
            ..all
        };
        assert_eq!(burst("1%,25%,50%,0.1%"), Ok(some));
        for bad in ["", "1%", "1%,", "1%,2%,3%,4%,5%", "x,y"] {
            assert!(burst(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shares() {
        assert_eq!(share("1%"), Ok(0.01));
        assert_eq!(share("100"), Ok(1.0));
        assert_eq!(share("0"), Ok(0.0));
        for bad in ["", "%", "-1%", "101%", "nan", "x", "1%%"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time("500us"), Ok(500_000));
        assert_eq!(time("1.5ms"), Ok(1_500_000));
        assert_eq!(time("0"), Ok(0));
        for bad in ["", "5", "ms", "-1ms", "61s", "1h", "infs", "1 ms"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!(rate("1gbit"), Ok(1_000_000_000));
        assert_eq!(rate("2.5Mbit"), Ok(2_500_000));
        assert_eq!(rate("9600"), Ok(9_600));
        for bad in ["", "0", "gbit", "-1gbit", "1gb", "infbit"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}
