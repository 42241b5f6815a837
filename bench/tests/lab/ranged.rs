//! Files of a server read and written in place, against a model in memory.

use std::path::Path;
use std::pin::pin;
use std::task::Poll;

use blk_bench::lab::inside::on_client;
use blk_bench::wire::random::Random;
use blk_client::{ClientError, Connection, ErrorKind, OpenOptions, RemoteFile, RemotePath};
use futures_util::future::{join_all, try_join_all};
use rustix::process::Signal;

use super::support::daemon::Daemon;
use super::support::hosts::{Hosts, Link};
use super::support::{Directory, ready};

fn path(name: &str) -> RemotePath {
    RemotePath {
        host: "10.77.0.1".to_owned(),
        export: "data".to_owned(),
        path: name.as_bytes().to_vec(),
        trailing_slash: false,
    }
}

async fn open(connection: &Connection, name: &str) -> RemoteFile {
    let create = Some(0o644);
    let path = path(name);
    let file = connection.open_file(&path, OpenOptions { create }).await;
    file.expect("the file can be opened")
}

fn bytes(random: &mut Random, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&random.bits().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Few bytes, some pages, or much.
fn length(random: &mut Random) -> usize {
    let most = [200, 9000, 70_000, 300_000, 3_000_000];
    let most = most[random.below(5) as usize];
    1 + random.below(most) as usize
}

/// A file and what it must hold.
struct Model {
    file: RemoteFile,
    bytes: Vec<u8>,
}

/// Sizes stay around this.
const SIZE: u64 = 6 << 20;

impl Model {
    async fn step(&mut self, random: &mut Random) {
        let offset = random.below(SIZE) as usize;
        match random.below(20) {
            0..7 => {
                let len = length(random);
                self.write(offset, bytes(random, len)).await;
            }
            7..14 => self.check(offset, length(random)).await,
            14 => {
                self.file.set_len(offset as u64).await.expect("set_len");
                self.bytes.resize(offset, 0);
            }
            15 | 16 => {
                let len = length(random);
                let hole = self.file.punch_hole(offset as u64, len as u64).await;
                hole.expect("punch_hole");
                let end = (offset + len).min(self.bytes.len());
                if offset < end {
                    self.bytes[offset..end].fill(0);
                }
            }
            17 => {
                let len = length(random);
                let reserved = self.file.allocate(offset as u64, len as u64).await;
                reserved.expect("allocate");
                let end = self.bytes.len().max(offset + len);
                self.bytes.resize(end, 0);
            }
            18 => self.file.sync().await.expect("sync"),
            _ => {
                let len = self.file.len().await.expect("len");
                assert_eq!(len, self.bytes.len() as u64);
            }
        }
    }

    async fn write(&mut self, offset: usize, bytes: Vec<u8>) {
        let written = self.file.write_at(&bytes, offset as u64).await;
        written.expect("write_at");
        let end = self.bytes.len().max(offset + bytes.len());
        self.bytes.resize(end, 0);
        self.bytes[offset..offset + bytes.len()].copy_from_slice(&bytes);
    }

    async fn check(&self, offset: usize, len: usize) {
        let mut buffer = vec![0xee; len];
        let read = self.file.read_at(&mut buffer, offset as u64).await;
        let count = read.expect("read_at");
        let end = self.bytes.len().min(offset + len);
        let expected = self.bytes.get(offset..end).unwrap_or_default();
        assert_eq!(count, expected.len(), "bytes read at {offset}+{len}");
        assert_same(&buffer[..count], expected, offset);
    }
}

/// Without printing megabytes.
#[track_caller]
fn assert_same(found: &[u8], expected: &[u8], offset: usize) {
    assert_eq!(found.len(), expected.len());
    if let Some(at) = (0..found.len()).find(|&at| found[at] != expected[at]) {
        let wrong = (at..found.len())
            .filter(|&at| found[at] != expected[at])
            .count();
        panic!(
            "byte {} is {:02x}, not {:02x}, and {wrong} in all are wrong",
            offset + at,
            found[at],
            expected[at]
        );
    }
}

fn assert_file(path: &Path, expected: &[u8]) {
    assert_same(
        &std::fs::read(path).expect("the file is there"),
        expected,
        0,
    );
}

#[test]
fn whatever_is_done_in_place_the_file_is_what_the_model_says() {
    if !ready("whatever_is_done_in_place_the_file_is_what_the_model_says") {
        return;
    }
    for (mtu, seed) in [(1500, 1), (3498, 2), (9000, 3)] {
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        let hosts = Hosts::up(Link::of(mtu));
        let _daemon = Daemon::start(&hosts, &export, &directory);
        let expected = on_client(&hosts, async |connection| {
            let mut random = Random::new(seed);
            let mut model = Model {
                file: open(connection, "new/file").await,
                bytes: Vec::new(),
            };
            for _ in 0..200 {
                model.step(&mut random).await;
            }
            model.file.close().await.expect("close");
            model.bytes
        });
        assert_file(&export.join("new/file"), &expected);
    }
}

#[test]
fn concurrent_writes_beside_each_other_lose_nothing() {
    if !ready("concurrent_writes_beside_each_other_lose_nothing") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let hosts = Hosts::up(Link::of(3498));
    let _daemon = Daemon::start(&hosts, &export, &directory);
    on_client(&hosts, async |connection| {
        let (file, other) = (
            open(connection, "file").await,
            open(connection, "file").await,
        );
        let mut random = Random::new(7);
        for _ in 0..6 {
            let whole = bytes(&mut random, SIZE as usize + 77);
            // Cut anywhere: neighbours share pages, and some ranges are a few bytes.
            let mut cuts: Vec<usize> = (0..40)
                .map(|_| random.below(whole.len() as u64) as usize)
                .chain([0, 4097, 4099, whole.len()])
                .collect();
            cuts.sort_unstable();
            cuts.dedup();
            let writes = cuts.windows(2).enumerate().map(|(number, cut)| {
                let file = if number % 3 == 0 { &other } else { &file };
                file.write_at(&whole[cut[0]..cut[1]], cut[0] as u64)
            });
            // What is read meanwhile brings pages into the server's cache.
            let reads = cuts.iter().map(async |cut| {
                let mut buffer = vec![0; 20_000];
                let offset = (*cut as u64).saturating_sub(10_000);
                other.read_at(&mut buffer, offset).await.map(|_| ())
            });
            let (written, read) =
                futures_util::future::join(try_join_all(writes), try_join_all(reads)).await;
            written.expect("writes");
            read.expect("reads");
            file.sync().await.expect("sync");
            let mut buffer = vec![0; whole.len()];
            let count = file.read_at(&mut buffer, 0).await.expect("read_at");
            assert_same(&buffer[..count], &whole, 0);
            // Through the cache, byte by byte of every page.
            assert_file(&export.join("file"), &whole);
        }
    });
}

#[test]
fn a_write_that_is_given_up_leaves_the_connection_well() {
    if !ready("a_write_that_is_given_up_leaves_the_connection_well") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let hosts = Hosts::up(Link::of(3498));
    let _daemon = Daemon::start(&hosts, &export, &directory);
    let expected = on_client(&hosts, async |connection| {
        let file = open(connection, "file").await;
        let whole = bytes(&mut Random::new(5), 5_000_000);
        file.write_at(&whole, 0).await.expect("write_at");
        let mut buffer = vec![0; whole.len()];
        let path = path("file");
        for polls in 0..40 {
            // The same bytes again: how far this gets makes no difference to the file.
            give_up(file.write_at(&whole, 0), polls).await;
            give_up(file.read_at(&mut buffer, 0), polls).await;
            give_up(file.sync(), polls).await;
            give_up(connection.open_file(&path, OpenOptions::default()), polls).await;
        }
        // Ranges that were locked are free, and there is room for as many transfers as before.
        file.write_at(&whole[..4_000_000], 1)
            .await
            .expect("write_at");
        file.set_len(4_000_001).await.expect("set_len");
        let files = (0..40).map(|_| open(connection, "file"));
        let files = join_all(files).await;
        let mut byte = [0];
        for file in &files {
            assert_eq!(file.read_at(&mut byte, 1).await.expect("read_at"), 1);
        }
        let mut expected = whole[..1].to_vec();
        expected.extend_from_slice(&whole[..4_000_000]);
        expected
    });
    assert_file(&export.join("file"), &expected);
}

/// Polls a future some times, and drops it.
async fn give_up<T>(future: impl Future<Output = T>, polls: usize) {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if left == 0 || future.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        left -= 1;
        Poll::Pending
    })
    .await;
}

#[test]
fn what_was_synced_outlives_the_daemon() {
    if !ready("what_was_synced_outlives_the_daemon") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let hosts = Hosts::up(Link::of(1500));
    let mut daemon = Daemon::start(&hosts, &export, &directory);
    let whole = bytes(&mut Random::new(9), 3_000_017);
    let lost = on_client(&hosts, async |connection| {
        let file = open(connection, "file").await;
        file.write_at(&whole, 5).await.expect("write_at");
        file.sync().await.expect("sync");
        daemon.signal(Signal::KILL);
        daemon.wait(std::time::Duration::from_secs(10));
        file.write_at(&whole, 1 << 30).await
    });
    match lost {
        Err(error @ ClientError::Lost { .. }) => assert_eq!(error.kind(), ErrorKind::Lost),
        outcome => panic!("{outcome:?}"),
    }
    let mut expected = vec![0; 5];
    expected.extend_from_slice(&whole);
    let _daemon = Daemon::start(&hosts, &export, &directory);
    on_client(&hosts, async |connection| {
        let path = path("file");
        let file = connection.open_file(&path, OpenOptions::default()).await;
        let file = file.expect("the file is there");
        let mut buffer = vec![0; expected.len() + 100];
        let count = file.read_at(&mut buffer, 0).await.expect("read_at");
        assert_same(&buffer[..count.min(expected.len())], &expected, 0);
    });
    let found = std::fs::read(export.join("file")).expect("the file is there");
    assert_same(&found[..expected.len()], &expected, 0);
}

#[test]
fn what_cannot_be_done_is_said() {
    if !ready("what_cannot_be_done_is_said") {
        return;
    }
    let mut directory = Directory::new();
    let export = directory.small_disk("disk", 32);
    std::fs::create_dir(export.join("directory")).expect("cannot make a directory");
    let hosts = Hosts::up(Link::of(3498));
    let _daemon = Daemon::start(&hosts, &export, &directory);
    on_client(&hosts, async |connection| {
        let kind = async |name: &str, options| {
            let opened = connection.open_file(&path(name), options).await;
            opened.map(|_| ()).map_err(|error| error.kind())
        };
        let create = OpenOptions {
            create: Some(0o600),
        };
        let missing = OpenOptions::default();
        assert_eq!(kind("missing", missing).await, Err(ErrorKind::NotFound));
        assert_eq!(kind("directory", create).await, Err(ErrorKind::WrongKind));
        assert_eq!(kind("../up", create).await, Err(ErrorKind::NotAllowed));

        let file = open(connection, "file").await;
        let much = vec![1; 4 << 20];
        let mut offset = 0;
        let full = loop {
            match file.write_at(&much, offset).await {
                Ok(()) => offset += much.len() as u64,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), ErrorKind::NoSpace, "{full}");
        assert!(offset >= 16 << 20, "only {offset} bytes fit");
        let reserved = file.allocate(0, 1 << 30).await.unwrap_err();
        assert_eq!(reserved.kind(), ErrorKind::NoSpace, "{reserved}");
        // The file goes on: there is room again.
        file.set_len(1 << 20).await.expect("set_len");
        file.write_at(&much, 1 << 20).await.expect("write_at");
        file.sync().await.expect("sync");
        let beyond = file.write_at(b"x", u64::MAX - 5).await.unwrap_err();
        assert!(matches!(beyond, ClientError::Refused { .. }), "{beyond}");
        assert_eq!(file.len().await.expect("len"), 5 << 20);
    });
}
