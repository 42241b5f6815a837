//! `blkcp ping`.

use std::ffi::OsString;
use std::net::Ipv6Addr;
use std::time::Duration;

use blk_client::{Connection, DatapathInfo, Description, Location, RemotePath};
use clap::Parser;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::Scene;
use super::connect::ConnectArguments;
use super::quote::visible;
use crate::failure::Failure;

/// Ask the blockd of a host what it is, and measure how long its answers take.
///
/// A probe is a request that no disk has a part in: its round trip is that of the network, and of the threads at both ends. Both ends
/// say how packets cross their kernel; what the path takes is found out by the session in its first round trips.
#[derive(Debug, Parser)]
#[command(name = "ping", after_help = AFTER_HELP)]
pub struct PingArguments {
    /// The host
    #[arg(value_name = "HOST")]
    pub host: OsString,
    /// Probes
    #[arg(short, long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub count: u32,
    /// Milliseconds from one probe to the next
    #[arg(short, long, value_name = "MILLISECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=60_000))]
    pub interval: u64,
    /// The result as one line of JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub connect: ConnectArguments,
}

const AFTER_HELP: &str = "\
`auto` is UDP sockets here: say --datapath zerocopy (or copy) to measure over AF_XDP.

Exit codes are those of blkcp: 3 when the host or its port cannot be reached, 12 when it has gone silent.

Examples:
  blkcp ping storage1
  blkcp ping --datapath zerocopy -c 1000 -i 1 --json fd00::5";

#[derive(Serialize)]
struct Json<'a> {
    host: &'a str,
    address: String,
    version: &'a str,
    worker: Option<u32>,
    client_datapath: &'a str,
    client_datapath_reason: Option<&'a str>,
    server_datapath: &'a str,
    interface: &'a str,
    mtu: u32,
    payload: u16,
    connect_seconds: f64,
    probes: usize,
    round_trip_seconds: JsonTimes,
    retransmitted: u64,
}

#[derive(Serialize)]
struct JsonTimes {
    min: f64,
    median: f64,
    max: f64,
}

pub async fn run(words: &PingArguments, scene: &mut Scene<'_>) -> Result<(), Failure> {
    let host = host(&words.host)?;
    let begun = Instant::now();
    let connection = scene.hosts.of(&host).await?;
    let connected = begun.elapsed();
    let (description, times) = probe(words, &connection).await?;
    let stats = connection.statistics().await?;
    let flows = connection.flows().await;
    let datapath = connection.datapath();
    let result = Ping {
        host: &host.host,
        connection: &connection,
        description: &description,
        datapath,
        payload: stats.payload_limit,
        worker: flows.first().map(|flow| flow.worker),
        retransmitted: stats.retransmitted,
        connected,
        times,
    };
    if words.json {
        scene.output.json(&result.json())?;
    } else {
        for line in result.lines() {
            scene.output.line(&line);
        }
    }
    scene.output.pass_on().await
}

/// Sends the probes: what the server is, and the round trips, the shortest first.
async fn probe(
    words: &PingArguments,
    connection: &Connection,
) -> Result<(Description, Vec<Duration>), Failure> {
    let interval = Duration::from_millis(words.interval);
    let mut due = Instant::now();
    let mut description = connection.describe().await?;
    let mut times = vec![description.round_trip];
    for _ in 1..words.count {
        due += interval;
        sleep_until(due).await;
        description = connection.describe().await?;
        times.push(description.round_trip);
    }
    times.sort_unstable();
    Ok((description, times))
}

/// What was found.
struct Ping<'a> {
    host: &'a str,
    connection: &'a Connection,
    description: &'a Description,
    datapath: &'a DatapathInfo,
    payload: u16,
    worker: Option<u32>,
    retransmitted: u64,
    connected: Duration,
    /// The shortest first; at least one.
    times: Vec<Duration>,
}

impl Ping<'_> {
    fn lines(&self) -> Vec<String> {
        let Description {
            version, datapath, ..
        } = self.description;
        let here = self.datapath;
        let reason = here.reason.as_ref();
        let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
        let [min, median, max] = summary(&self.times).map(|time| 1e3 * time.as_secs_f64());
        let [host, version, datapath] = [self.host, version, datapath].map(visible);
        vec![
            format!("{host} ({}): blockd {version}", self.connection.remote()),
            format!(
                "here: {} on {}, MTU {}{reason}",
                here.mode, here.interface, here.mtu
            ),
            format!("there: {datapath}"),
            format!("a packet carries up to {} bytes of a file", self.payload),
            format!("connected in {:.3} ms", 1e3 * self.connected.as_secs_f64()),
            format!(
                "round trip of {} probes: min {min:.3} ms, median {median:.3} ms, max {max:.3} ms",
                self.times.len()
            ),
        ]
    }

    fn json(&self) -> Json<'_> {
        let [min, median, max] = summary(&self.times).map(|time| time.as_secs_f64());
        Json {
            host: self.host,
            address: self.connection.remote().to_string(),
            version: &self.description.version,
            worker: self.worker,
            client_datapath: self.datapath.mode,
            client_datapath_reason: self.datapath.reason.as_deref(),
            server_datapath: &self.description.datapath,
            interface: &self.datapath.interface,
            mtu: self.datapath.mtu,
            payload: self.payload,
            connect_seconds: self.connected.as_secs_f64(),
            probes: self.times.len(),
            round_trip_seconds: JsonTimes { min, median, max },
            retransmitted: self.retransmitted,
        }
    }
}

/// The shortest, the median and the longest of sorted times; of an even number, the median is the longer one of the middle.
fn summary(times: &[Duration]) -> [Duration; 3] {
    let at = |index: usize| times.get(index).copied().unwrap_or_default();
    [
        at(0),
        at(times.len() / 2),
        at(times.len().saturating_sub(1)),
    ]
}

/// Reads `HOST`, an IPv6 address with or without brackets; an export behind it says nothing more.
fn host(word: &OsString) -> Result<RemotePath, Failure> {
    let usage = || Failure::Usage(format!("{} is no host", word.display()));
    let text = word.to_str().ok_or_else(usage)?;
    let bare = |host: &str| RemotePath {
        host: host.to_owned(),
        export: String::new(),
        path: Vec::new(),
        trailing_slash: false,
    };
    let inside = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    if inside.unwrap_or(text).parse::<Ipv6Addr>().is_ok() {
        return Ok(bare(inside.unwrap_or(text)));
    }
    match Location::parse(word)? {
        Location::Remote(path) => Ok(bare(&path.host)),
        Location::Local(_) if text.contains('/') => Err(usage()),
        Location::Local(_) => Ok(bare(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_named_in_several_ways() {
        for (word, name) in [
            ("storage1", "storage1"),
            ("192.0.2.1", "192.0.2.1"),
            ("fd00::5", "fd00::5"),
            ("[fd00::5]", "fd00::5"),
            ("[fd00::5]:data/x", "fd00::5"),
            ("storage1:data", "storage1"),
        ] {
            assert_eq!(host(&word.into()).unwrap().host, name, "{word}");
        }
        for bad in ["", "a/b", "storage1:", "[fd00::5"] {
            assert_eq!(host(&bad.into()).unwrap_err().exit_code(), 2, "{bad}");
        }
    }

    #[test]
    fn times_are_summed_up() {
        let times = [1, 2, 3, 9].map(Duration::from_millis);
        assert_eq!(summary(&times), [1, 3, 9].map(Duration::from_millis));
        assert_eq!(summary(&times[..1]), [1; 3].map(Duration::from_millis));
    }
}
