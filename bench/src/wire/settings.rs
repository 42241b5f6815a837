//! What a wire shall do, as options of a command line and as a file that may change while it runs.

use std::path::Path;

use clap::{Args, Parser};

use super::burst::BurstLoss;
use super::impairment::Impairment;
use super::line::Depth;
use super::units;

/// The options of an impairment. They hold for each direction on its own.
#[derive(Debug, Clone, Args)]
pub struct ImpairmentOptions {
    /// Share of frames to drop.
    #[arg(long, value_name = "P%", default_value = "0", value_parser = units::share)]
    loss: f64,
    /// Losses in bursts (Gilbert and Elliott): chance for each frame that a burst begins, that it ends, loss within it
    /// (default 100%), and outside (default 0%).
    #[arg(long, value_name = "P%,R%[,B%[,G%]]", value_parser = units::burst)]
    burst_loss: Option<BurstLoss>,
    /// Time for which each frame is held (500us, 10ms, 1s).
    #[arg(long, value_name = "T", default_value = "0", value_parser = units::time)]
    delay: u64,
    /// The delay varies by up to this much in either direction, evenly spread.
    #[arg(long, value_name = "T", default_value = "0", value_parser = units::time)]
    jitter: u64,
    /// Share of frames that skip the delay; without a delay, that fall behind the next one to three.
    #[arg(long, value_name = "P%", default_value = "0", value_parser = units::share)]
    reorder: f64,
    /// Share of frames to send twice.
    #[arg(long, value_name = "P%", default_value = "0", value_parser = units::share)]
    duplicate: f64,
    /// Share of frames to flip one random bit of.
    #[arg(long, value_name = "P%", default_value = "0", value_parser = units::share)]
    corrupt: f64,
    /// Line rate (100mbit, 1gbit). Not limited by default.
    #[arg(long, value_name = "R", value_parser = units::rate)]
    rate: Option<u64>,
    /// What may wait for the line (125kb, 100p); more is dropped at the tail.
    #[arg(long, value_name = "N", requires = "rate", value_parser = units::depth)]
    queue: Option<Depth>,
    /// When more than this waits for the line (60kb, 50p), ECN-capable packets are marked.
    #[arg(long, value_name = "N", requires = "rate", value_parser = units::depth)]
    mark: Option<Depth>,
    /// The longest packet, without the Ethernet header; longer ones vanish, as on a path that has a smaller MTU and sends no ICMP.
    #[arg(long, alias = "path-mtu", value_name = "BYTES", value_parser = clap::value_parser!(u32).range(68..=65_535))]
    mtu: Option<u32>,
    /// Frames that may be on the way in one direction; more are dropped.
    #[arg(long, value_name = "N", default_value_t = 65_536)]
    limit: usize,
}

impl ImpairmentOptions {
    /// What the options say.
    pub fn impairment(&self) -> Impairment {
        Impairment {
            loss: self.loss,
            duplicate: self.duplicate,
            corrupt: self.corrupt,
            reorder: self.reorder,
            delay: self.delay,
            jitter: self.jitter,
            burst: self.burst_loss,
            mtu: self.mtu.map(|mtu| mtu as usize),
            rate: self.rate,
            queue: self.queue,
            mark: self.mark,
            limit: self.limit,
        }
    }
}

/// Only the options of an impairment.
#[derive(Parser)]
#[command(no_binary_name = true)]
struct Lone {
    #[command(flatten)]
    options: ImpairmentOptions,
}

/// Reads an impairment from a file that holds its options as on a command line, apart by white space.
///
/// # Errors
/// Says what is wrong with the file, for the operator.
pub fn read(path: &Path) -> Result<Impairment, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    parse(&text).map_err(|error| format!("{}: {error}", path.display()))
}

fn parse(text: &str) -> Result<Impairment, String> {
    Lone::try_parse_from(text.split_whitespace())
        .map(|lone| lone.options.impairment())
        .map_err(|error| error.render().to_string().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_options() {
        let read = parse(
            " --rate 1gbit --queue 100p\n--mark 60kb --path-mtu 1400 --loss 1% --burst-loss 1%,50% ",
        )
        .unwrap();
        let expected = Impairment {
            loss: 0.01,
            burst: Some(BurstLoss {
                enter: 0.01,
                leave: 0.5,
                bad: 1.0,
                good: 0.0,
            }),
            mtu: Some(1_400),
            rate: Some(1_000_000_000),
            queue: Some(Depth::Frames(100)),
            mark: Some(Depth::Bytes(60_000)),
            ..Impairment::default()
        };
        assert_eq!(read, expected);
        assert_eq!(parse(""), Ok(Impairment::default()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            "--queue 10p",
            "--mark 10p",
            "--mtu 10",
            "--speed 3",
            "loss 1%",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
