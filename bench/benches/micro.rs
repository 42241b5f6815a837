//! What the parts of a block's way cost alone, on one core and without any network.
//!
//! ```text
//! cargo bench -p blk-bench --bench micro
//!
//!   packet ─► headers parsed ─► opened (CRC) ─► session ─► gathered ─► frame back in the pool
//!   file   ─► planned        ─► sealed (CRC) ─► headers written
//! ```

use std::hint::black_box;

use blk_datapath::chain::Chain;
use blk_datapath::engine::{Cutter, Gather};
use blk_datapath::umem::Umem;
use blk_proto::net::{self, Path};
use blk_proto::time::Time;
use blk_proto::wire::{self, HEADER_LEN, Header, Kind};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use zerocopy::IntoBytes;

/// Payloads: none, of MTU 1500, of a full frame.
const PAYLOADS: [usize; 3] = [0, 1024, 3584];

/// Bytes from a protocol header to its payload, over IPv4.
const SPAN: usize = 86;

const NOW: Time = Time::from_nanos(1);

fn path() -> Path {
    let address = |text: &str| text.parse().expect("an address");
    Path::new(
        [2; 6],
        [4; 6],
        address("10.77.0.2:40000"),
        address("10.77.0.1:7440"),
    )
}

/// The protocol's part of a packet with so much payload.
fn sealed(payload: usize) -> Vec<u8> {
    let payload = vec![7; payload];
    let mut header = Header::new(Kind::Data, 1);
    header.span = (SPAN as u16).into();
    header.payload_len = (payload.len() as u16).into();
    wire::seal(&mut header, wire::payload_crc(&payload));
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(SPAN, 0);
    bytes.extend_from_slice(&payload);
    bytes
}

fn headers(c: &mut Criterion) {
    let path = path();
    let mut packet = vec![0; path.header_len() + SPAN + 1024];
    let len = SPAN + 1024;
    let mut group = c.benchmark_group("headers");
    group.bench_function("write", |b| {
        b.iter(|| black_box(&path).write_headers(black_box(&mut packet), len));
    });
    group.bench_function("parse", |b| {
        b.iter(|| net::parse(black_box(&packet)).map(|udp| udp.source))
    });
    group.finish();
}

fn checksums(c: &mut Criterion) {
    let mut group = c.benchmark_group("packet");
    for payload in PAYLOADS {
        let bytes = sealed(payload);
        group.throughput(Throughput::Bytes(payload.max(HEADER_LEN) as u64));
        group.bench_with_input(BenchmarkId::new("open", payload), &bytes, |b, bytes| {
            b.iter(|| wire::open(black_box(bytes)).map(|packet| packet.kind));
        });
        let mut header = Header::new(Kind::Data, 1);
        let content = vec![7; payload];
        group.bench_function(BenchmarkId::new("seal", payload), |b| {
            b.iter(|| {
                let crc = wire::payload_crc(black_box(&content));
                wire::seal(black_box(&mut header), crc);
            });
        });
    }
    group.finish();
}

fn frames(c: &mut Criterion) {
    let mut umem = Umem::anonymous(4096).expect("memory");
    c.bench_function("frame allocated and released", |b| {
        b.iter(|| {
            let frame = umem.allocate().expect("a free frame");
            umem.release(black_box(frame));
        });
    });
}

/// Blocks of one chunk of the grid.
fn planner(c: &mut Criterion) {
    const LEN: u32 = 3584;
    let blocks = blk_proto::geometry::GRID / u64::from(LEN);
    let mut group = c.benchmark_group("chunk");
    group.throughput(Throughput::Elements(blocks));
    group.bench_function("gathered", |b| {
        let size = blk_proto::geometry::GRID;
        let mut runs = Vec::new();
        b.iter(|| {
            let mut gather = Gather::new(size, 256);
            for block in 0..blocks {
                let offset = block * u64::from(LEN);
                let taken = gather.insert(NOW, offset, LEN, 7, Chain::One(block), &mut runs);
                assert!(taken.is_ok(), "no two blocks overlap");
            }
            runs.drain(..).count()
        });
    });
    group.bench_function("planned", |b| {
        b.iter(|| {
            let mut cutter = Cutter::new(0, blk_proto::geometry::GRID);
            let mut count = 0;
            while let Some(plan) = cutter.plan(LEN as u16) {
                count += plan.frames();
                cutter.reading(plan);
            }
            count
        });
    });
    group.finish();
}

criterion_group!(benches, headers, checksums, frames, planner);
criterion_main!(benches);
