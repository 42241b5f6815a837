//! Remote files as streams, against files on the disk.

use std::fs::File;
use std::io::{BufRead, Read, Seek, SeekFrom, Write};

use blk_client::blocking::{self, block_on};
use blk_client::{ClientError, Datapath, ErrorKind, OpenOptions};
use futures_util::future::FutureExt;
use futures_util::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use futures_util::stream::StreamExt;

use super::library::{DATAPATHS, Scene};
use super::support::files::{assert_same, write};
use super::support::{Directory, ready};
use blk_bench::wire::random::Random;

const MIB: u64 = 1 << 20;

/// Around the pieces that streams are cut in.
const SIZES: [u64; 9] = [
    0,
    1,
    4096,
    MIB - 1,
    MIB,
    MIB + 1,
    4 * MIB,
    9 * MIB + 4097,
    33_333_333,
];

#[test]
fn a_file_that_is_read_as_a_stream_is_the_file() {
    if !ready("a_file_that_is_read_as_a_stream_is_the_file") {
        return;
    }
    for datapath in DATAPATHS {
        Scene::over(datapath).inside(|scene| {
            let client = scene.connect();
            for size in SIZES {
                let path = scene.export.join("file");
                write(&path, size, size);
                let expected = std::fs::read(&path).expect("the file");
                let (blocks, bytes) = block_on(async {
                    let mut stream = client.reader("data/file").await.expect("a reader");
                    let mut blocks = Vec::new();
                    while let Some(block) = stream.next().await {
                        blocks.extend(block.expect("a block"));
                    }
                    assert!(stream.next().await.is_none());
                    let mut reader = client.reader("data/file").await.expect("a reader");
                    let mut bytes = Vec::new();
                    reader.read_to_end(&mut bytes).await.expect("bytes");
                    (blocks, bytes)
                });
                assert_eq!(
                    crc32fast::hash(&blocks),
                    crc32fast::hash(&expected),
                    "{size}"
                );
                assert!(blocks == expected && bytes == expected, "{size} bytes");
            }
        });
    }
}

#[test]
fn seeks_go_where_they_say() {
    if !ready("seeks_go_where_they_say") {
        return;
    }
    Scene::over(Datapath::Udp).inside(|scene| {
        let path = scene.export.join("file");
        let size = 12 * MIB + 7;
        write(&path, size, 8);
        let client = blocking::Client::of(scene.connect());
        let mut reader = client.reader("data/file").expect("a reader");
        let mut file = File::open(&path).expect("the file");
        let mut random = Random::new(11);
        for _ in 0..150 {
            let to = match random.below(4) {
                0 => SeekFrom::Start(random.below(size + 5000)),
                1 => SeekFrom::End(-(random.below(size) as i64)),
                2 => SeekFrom::Current(random.below(5000) as i64),
                _ => SeekFrom::Current(-(random.below(5000) as i64)),
            };
            // Both refuse what lies before the first byte, and stay.
            let (here, there) = (file.seek(to).ok(), reader.seek(to).ok());
            assert_eq!(here, there, "{to:?}");
            let mut expected = vec![0; random.below(2_000_000) as usize];
            let mut found = expected.clone();
            let count = read_up_to(&mut file, &mut expected);
            assert_eq!(read_up_to(&mut reader, &mut found), count, "{to:?}");
            assert!(found == expected, "{count} bytes after {to:?}");
            assert_eq!(
                reader.position(),
                file.stream_position().expect("a position")
            );
        }
        // Lines, over the bounds of pieces.
        let mut here = std::io::BufReader::new(File::open(&path).expect("the file"));
        let (mut line, mut other) = (Vec::new(), Vec::new());
        reader.rewind().expect("a seek");
        loop {
            let count = here.read_until(b'\n', &mut line).expect("a line");
            assert_eq!(reader.read_until(b'\n', &mut other).expect("a line"), count);
            assert!(line == other);
            if count == 0 {
                break;
            }
            line.clear();
            other.clear();
        }
        // It grows, and goes on being read.
        let mut more = File::options().append(true).open(&path).expect("the file");
        more.write_all(b"more").expect("a write");
        let mut found = Vec::new();
        reader.read_to_end(&mut found).expect("bytes");
        assert_eq!(found, b"more");
        // A seek that is given up leaves no answer to the next one, and what is added is read as what was there.
        let added = vec![5; 5 * MIB as usize + 1];
        block_on(async {
            let mut reader = client.as_async().reader("data/file").await.expect("open");
            drop(reader.seek(SeekFrom::End(0)).now_or_never());
            reader.read_exact(&mut [0]).await.expect("a byte");
            more.write_all(&added).expect("a write");
            let end = reader.seek(SeekFrom::End(0)).await.expect("a seek");
            assert_eq!(end, size + 4 + added.len() as u64);
            let back = reader.seek(SeekFrom::Start(size)).await.expect("a seek");
            assert_eq!(back, size);
            let mut found = Vec::new();
            reader.read_to_end(&mut found).await.expect("bytes");
            assert_eq!(found[..4], *b"more");
            assert!(found[4..] == added);
        });
    });
}

fn read_up_to(source: &mut impl Read, buffer: &mut [u8]) -> usize {
    let mut count = 0;
    loop {
        match source.read(&mut buffer[count..]).expect("a read") {
            0 => return count,
            some => count += some,
        }
    }
}

#[test]
fn what_is_written_as_a_stream_is_the_file() {
    if !ready("what_is_written_as_a_stream_is_the_file") {
        return;
    }
    for datapath in DATAPATHS {
        Scene::over(datapath).inside(|scene| {
            let source = scene.local.join("source");
            let client = blocking::Client::of(scene.connect());
            let mut random = Random::new(9);
            for size in SIZES {
                write(&source, size, size);
                let bytes = std::fs::read(&source).expect("the source");
                let mut writer = client.writer("data/new/file").expect("a writer");
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let most = [100, 5000, 3_000_000][random.below(3) as usize];
                    let (now, later) =
                        rest.split_at(rest.len().min(1 + random.below(most) as usize));
                    writer.write_all(now).expect("a write");
                    rest = later;
                    if random.below(20) == 0 {
                        writer.flush().expect("a flush");
                        let written = size - rest.len() as u64;
                        assert_eq!(client.stat("data/new/file").expect("stat").size, written);
                    }
                }
                assert_eq!(writer.position(), size);
                writer.close().expect("close");
                assert_same(&source, &scene.export.join("new/file"));
            }
            // From somewhere in the middle on; the rest stays.
            let options = OpenOptions::default();
            block_on(async {
                let client = client.as_async();
                let file = client.open("data/new/file", options).await.expect("open");
                let mut writer = client.write_from(file, 1_000_001);
                writer.write_all(b"here").await.expect("a write");
                writer.close().await.expect("close");
                writer.close().await.expect("closed it is already");
                assert!(writer.write_all(b"x").await.is_err());
                let file = client.open("data/new/file", options).await.expect("open");
                let mut reader = client.read_from(file, 1_000_000);
                reader.seek(SeekFrom::Current(1)).await.expect("a seek");
                let mut found = [0; 4];
                reader.read_exact(&mut found).await.expect("bytes");
                assert_eq!(&found, b"here");
            });
            let mut expected = std::fs::read(&source).expect("the source");
            expected[1_000_001..1_000_005].copy_from_slice(b"here");
            let found = std::fs::read(scene.export.join("new/file")).expect("the file");
            assert!(found == expected);
        });
    }
}

#[test]
fn a_stream_that_failed_stays_failed() {
    if !ready("a_stream_that_failed_stays_failed") {
        return;
    }
    let mut directory = Directory::new();
    let export = directory.small_disk("disk", 32);
    Scene::with(directory, export, Datapath::Udp).inside(|scene| {
        let client = blocking::Client::of(scene.connect());
        let mut writer = client.writer("data/file").expect("a writer");
        let much = vec![7; 1 << 20];
        let mut written = 0;
        let first = loop {
            match writer.write_all(&much) {
                Ok(()) => written += 1,
                Err(error) => break error,
            }
            assert!(written < 64, "the disk is not that large");
        };
        assert_eq!(first.kind(), std::io::ErrorKind::StorageFull, "{first}");
        let within = first
            .downcast::<ClientError>()
            .expect("the cause is within");
        assert_eq!(within.kind(), ErrorKind::NoSpace);
        for _ in 0..2 {
            let again = writer.write(b"x").unwrap_err();
            assert_eq!(again.kind(), std::io::ErrorKind::StorageFull, "{again}");
            assert!(writer.flush().is_err());
        }
        assert!(writer.close().is_err());

        // What was asked for before the file went is there, and then there is an end, or an error: never other bytes.
        let path = scene.export.join("file");
        File::options()
            .write(true)
            .open(&path)
            .expect("the file")
            .set_len(5 * MIB)
            .expect("set_len");
        let mut reader = client.reader("data/file").expect("a reader");
        let mut first = [0; 10];
        reader.read_exact(&mut first).expect("bytes");
        assert_eq!(first, [7; 10]);
        File::options()
            .write(true)
            .open(&path)
            .expect("the file")
            .set_len(3)
            .expect("set_len");
        let mut rest = Vec::new();
        // Whether that is an error or an end depends on how far it had read ahead; what it gave is in `rest` in both cases.
        let _ = reader.read_to_end(&mut rest);
        assert!(rest.len() as u64 <= 5 * MIB - 10, "{} bytes", rest.len());
        assert!(rest.iter().all(|byte| *byte == 7));
    });
}

/// Eight reads in blocks are a connection's; readers whose bytes nobody takes must not have them.
#[test]
fn readers_that_nobody_reads_keep_nobody_waiting() {
    if !ready("readers_that_nobody_reads_keep_nobody_waiting") {
        return;
    }
    Scene::over(Datapath::Udp).inside(|scene| {
        let path = scene.export.join("file");
        write(&path, 20 * MIB, 2);
        let expected = std::fs::read(&path).expect("the file");
        let client = blocking::Client::of(scene.connect());
        let mut readers: Vec<_> = (0..10)
            .map(|_| {
                let mut reader = client.reader("data/file").expect("a reader");
                // Some pieces later as many are under way as there can be.
                for _ in 0..6 {
                    let count = reader.fill_buf().expect("bytes").len();
                    reader.consume(count);
                }
                reader
            })
            .collect();
        let file = client
            .open("data/file", OpenOptions::default())
            .expect("open");
        let mut bytes = vec![0; expected.len()];
        assert_eq!(file.read_at(&mut bytes, 0).expect("read_at"), bytes.len());
        assert!(bytes == expected);
        for reader in &mut readers {
            let at = reader.position() as usize;
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest).expect("bytes");
            assert!(rest == expected[at..]);
        }
    });
}
