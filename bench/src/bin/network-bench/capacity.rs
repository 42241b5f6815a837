//! What the relay itself carries: what is measured above that is a measurement of the relay.

use std::time::{Duration, Instant};

use blk_bench::lab::hosts::{Host, Hosts, Link};
use blk_bench::lab::trace::Trace;
use blk_bench::lab::traffic::on_host;
use blk_bench::lab::{Directory, within};
use blk_bench::wire::frame::Pool;
use blk_bench::wire::socket::{BATCH, PacketSocket};

use super::row::{Row, Sample, repeat};
use super::scene::MTU;

/// How long frames are sent.
const TIME: Duration = Duration::from_secs(2);

/// An EtherType for experiments (IEEE 802): no host answers it.
const EXPERIMENT: [u8; 2] = [0x88, 0xb5];

/// Frames per second in one direction, small and large.
pub fn measure(runs: u32) -> Vec<Row> {
    [("64", 64), ("3512", MTU as usize + 14)]
        .map(|(name, len)| {
            let name = format!("relay, one direction, frames of {name} bytes");
            let [samples] = repeat(&name, runs, || [one(len)]);
            Row::new(name, "frames/s", None, samples)
        })
        .to_vec()
}

fn one(len: usize) -> Sample {
    let directory = Directory::new();
    let path = directory.join("trace");
    let trace = path
        .to_str()
        .expect("the target directory has a plain path");
    let wire = ["--delay", "100us", "--trace", trace];
    let hosts = Hosts::up(Link {
        mtu: MTU,
        wire: &wire,
    });
    let sent = on_host(&hosts, Host::Client, move || send(len))
        .join()
        .expect("the sender failed");
    let read = || Trace::read(&path).of(Host::Client);
    // What waits in the relay's socket still comes.
    let mut last = 0;
    within(Duration::from_secs(5), || {
        std::thread::sleep(Duration::from_millis(200));
        let total = read().total();
        std::mem::replace(&mut last, total) == total
    });
    let series = read();
    let (start, end) = series.span(len as u64).unwrap_or_default();
    let rate = series.bytes(start, end) as f64 / len as f64 * 1e3
        / end.saturating_sub(start).max(1) as f64;
    let details = format!(
        "{:.2} Gb/s; {:.1} % of {sent} frames came through",
        rate * len as f64 * 8.0 / 1e9,
        100.0 * series.total() as f64 / len as f64 / sent as f64
    );
    (rate, details)
}

/// Sends frames as fast as the interface takes them. Gives how many.
fn send(len: usize) -> u64 {
    let socket =
        PacketSocket::open(Host::Client.interface(), 4 << 20).expect("cannot open a packet socket");
    let mut pool = Pool::new(len);
    let frames: Vec<_> = (0..BATCH)
        .map(|_| {
            let mut frame = pool.take();
            frame.set_len(len);
            let bytes = frame.bytes_mut();
            bytes[..6].copy_from_slice(&[0x02, 0, 0x0a, 0x4d, 0, 1]);
            bytes[6..12].copy_from_slice(&[0x02, 0, 0x0a, 0x4d, 0, 2]);
            bytes[12..14].copy_from_slice(&EXPERIMENT);
            frame
        })
        .collect();
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < TIME {
        match socket.send(&frames) {
            Ok(count) => sent += count as u64,
            Err(_) => std::thread::sleep(Duration::from_micros(50)),
        }
    }
    sent
}
