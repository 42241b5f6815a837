//! Release binaries of blockd and blkcp on two hosts in network namespaces, over AF_XDP and over UDP.
//!
//! Needs root and `cargo build --release --workspace --bins`; without, each test says that it is skipped, and in CI
//! (`CI=true`) it fails. `BLK_TEST_BIG=1` makes the largest file 2 GiB instead of 256 MiB. Run them one at a time
//! (`--test-threads=1`): some look at the clock. `scripts/test` does all of that.

mod admission;
mod bystanders;
mod dump;
mod flood;
mod flows;
mod impaired;
mod interrupted;
mod kept_out;
mod library;
mod library_streams;
mod long;
mod measured;
mod misplaced;
mod modes;
mod own_queue;
mod path_mtu;
mod probe;
mod ranged;
mod reading;
mod refused;
mod resume;
mod roundtrip;
mod routed;
mod shared;
mod sharing;
mod sharing_daemon;
mod small;
mod sparse;
mod sparse_get;
mod spray;
mod stalled;
mod tree_links;
mod trees;
mod udp;
mod verbs;
mod verbs_contents;
mod vlan;
mod way;
mod wire;
mod workers;

#[path = "../../../datapath/tests/support/pcapng.rs"]
mod pcapng;

use blk_bench::lab as support;
