//! Dumps as Wireshark reads them: the format, and the dissector `docs/blk.lua`.

#[path = "support/skip.rs"]
mod skip;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::Command;

use blk_datapath::dump::{Dump, DumpOptions};
use blk_proto::message::{self, ReplyFrame, RequestFrame};
use blk_proto::net;
use blk_proto::wire::{Header, Kind, payload_crc, seal};
use tempfile::TempDir;
use zerocopy::IntoBytes;

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
const SERVER: &str = "192.0.2.1:7440";
const CLIENT: &str = "192.0.2.2:4000";

/// How many vectors are packets.
const VECTORS: usize = 14;

/// The vectors of `docs/protocol.md` that are packets.
fn vectors() -> BTreeMap<String, Vec<u8>> {
    let text = std::fs::read_to_string(format!("{DOCS}/protocol.md")).unwrap();
    let mut vectors = BTreeMap::new();
    let mut rest = text.as_str();
    while let Some((_, after)) = rest.split_once("```vector ") {
        let (name, after) = after.split_once('\n').unwrap();
        let (body, after) = after.split_once("```").unwrap();
        rest = after;
        let mut bytes = Vec::new();
        for line in body.lines() {
            if let Some(zeros) = line.strip_prefix("zeros ") {
                bytes.resize(bytes.len() + zeros.parse::<usize>().unwrap(), 0);
                continue;
            }
            let digits: Vec<u8> = line.bytes().filter(u8::is_ascii_hexdigit).collect();
            let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16);
            bytes.extend(digits.chunks(2).map(|pair| byte(pair).unwrap()));
        }
        if !name.starts_with("message-") {
            vectors.insert(name.trim().to_owned(), bytes);
        }
    }
    assert_eq!(vectors.len(), VECTORS, "{:?}", vectors.keys());
    vectors
}

/// A dump with what Wireshark makes of it.
struct Shown {
    _directory: TempDir,
    file: PathBuf,
}

impl Shown {
    /// Dumps datagrams, each from the client or else from the server; `None` when there is no tshark.
    fn of(datagrams: &[(bool, &[u8])], snaplen: usize) -> Option<Self> {
        if let Err(error) = Command::new("tshark").arg("--version").output() {
            skip::skip(format!("tshark: {error} (scripts/deps --test installs it)"));
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("dump.pcapng");
        let dump = Dump::start(&DumpOptions {
            file: file.clone(),
            snaplen,
            application: "test".to_owned(),
        });
        let dump = dump.unwrap();
        let mut tap = dump.taps().tap("blk0", 0);
        for (from_client, datagram) in datagrams {
            tap.received(&frame(*from_client, datagram));
        }
        let summary = dump.finish();
        assert_eq!(summary.written, datagrams.len() as u64);
        Some(Self {
            _directory: directory,
            file,
        })
    }

    fn tshark(&self, arguments: &[&str]) -> String {
        let script = format!("lua_script:{DOCS}/blk.lua");
        let output = Command::new("tshark")
            // Two passes, as in the window of Wireshark: the second one knows what came late.
            .args(["-n", "-2", "-X", &script, "-r"])
            .arg(&self.file)
            .args(arguments)
            .output()
            .unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{complaints}");
        let shown = String::from_utf8(output.stdout).unwrap();
        for text in [&complaints, &shown] {
            assert!(!text.contains("Lua"), "{text}");
        }
        shown
    }

    /// These fields of each packet; several values of one field are joined by `,`.
    fn fields(&self, fields: &[&str]) -> Vec<Vec<String>> {
        let mut arguments = vec!["-T", "fields"];
        arguments.extend(fields.iter().flat_map(|field| ["-e", *field]));
        let shown = self.tshark(&arguments);
        let row = |line: &str| line.split('\t').map(str::to_owned).collect();
        shown.lines().map(row).collect()
    }
}

/// The packet that carries a datagram between the two.
fn frame(from_client: bool, datagram: &[u8]) -> Vec<u8> {
    let (source, destination) = if from_client {
        (CLIENT, SERVER)
    } else {
        (SERVER, CLIENT)
    };
    let path = net::Path::new(
        [2; 6],
        [4; 6],
        source.parse().unwrap(),
        destination.parse().unwrap(),
    );
    let mut packet = vec![0; path.header_len() + datagram.len()];
    let start = path.write_headers(&mut packet, datagram.len()).unwrap();
    packet[start..].copy_from_slice(datagram);
    net::fill_udp_checksum(&mut packet).unwrap();
    packet
}

fn is_from_client(name: &str) -> bool {
    let names = [
        "hello",
        "hello-again",
        "control",
        "data",
        "data-vlan",
        "probe",
        "close",
    ];
    names.contains(&name)
}

#[test]
fn the_test_vectors_are_dissected() {
    let vectors = vectors();
    let datagrams: Vec<_> = vectors
        .iter()
        .map(|(name, bytes)| (is_from_client(name), bytes.as_slice()))
        .collect();
    let Some(shown) = Shown::of(&datagrams, 0) else {
        return;
    };
    let rows = shown.fields(&[
        "_ws.col.Protocol",
        "blk.crc.good",
        "blk.kind",
        "_ws.col.Info",
        "_ws.expert",
    ]);
    let expected = [
        ("ack", "6", "Ack #0, 0-1, blocks up to 64"),
        ("ack-with-gaps", "6", "Ack #0, 5 2 0, blocks up to 64"),
        ("close", "7", "Close, shutting down"),
        ("control", "4", "Control #0, stream 0+6 message"),
        ("data", "5", "Data #1, block 0, transfer 7, 6 bytes at 4096"),
        (
            "data-vlan",
            "5",
            "Data #1, block 0, transfer 7, 6 bytes at 4096",
        ),
        (
            "hello",
            "1",
            "Hello, session 0x11223344, payload up to 3584, credit 16",
        ),
        (
            "hello-again",
            "1",
            "Hello, session 0x11223344, payload up to 3584, credit 16",
        ),
        (
            "hello-reply",
            "2",
            "HelloReply, session 0x55667788, payload up to 3584, credit 64",
        ),
        (
            "hello-reply-vlan",
            "2",
            "HelloReply, session 0x55667788, payload up to 3584, credit 64",
        ),
        ("probe", "10", "Probe #0"),
        ("refuse", "3", "Refuse, busy"),
        ("reset", "9", "Reset, no session 0x55667788"),
        ("retry", "8", "Retry"),
    ];
    assert_eq!(rows.len(), expected.len());
    for (row, ((name, kind, info), known)) in rows.iter().zip(expected.iter().zip(vectors.keys())) {
        assert_eq!(name, known);
        assert_eq!(row[..4], ["BLK", "1", kind, info], "{name}");
        assert_eq!(row[4], "", "{name}: a complaint");
    }
    let cookies = shown.fields(&["blk.cookie"]).concat();
    let cookies: Vec<_> = cookies.iter().filter(|cookie| !cookie.is_empty()).collect();
    assert!(
        cookies.len() == 2 && cookies[0] == cookies[1],
        "{cookies:?}"
    );
}

#[test]
fn a_wrong_checksum_is_shown() {
    let mut data = vectors().remove("data").unwrap();
    *data.last_mut().unwrap() ^= 1;
    let Some(shown) = Shown::of(&[(true, &data)], 0) else {
        return;
    };
    let rows = shown.fields(&["blk.crc.good", "_ws.expert.message"]);
    assert_eq!(rows, [["0", "The CRC32 is wrong"]]);
}

#[test]
fn packets_cut_anywhere_are_dissected_as_far_as_they_go() {
    let vectors = vectors();
    for snaplen in [42, 97, 98, 99, 101, 102, 103, 107, 121, 131, 139, 192] {
        let datagrams: Vec<_> = vectors
            .iter()
            .map(|(name, bytes)| (is_from_client(name), bytes.as_slice()))
            .collect();
        let Some(shown) = Shown::of(&datagrams, snaplen) else {
            return;
        };
        // `tshark` above looks for errors of the dissector, which `-V` shows.
        let text = shown.tshark(&["-V"]);
        if snaplen >= 98 {
            assert_eq!(text.matches("Block storage protocol,").count(), VECTORS);
        }
    }
}

/// Messages of zeros, one of each variant, and its name.
fn one_of_each<T: bincode_like::Message>() -> Vec<(String, Vec<u8>)> {
    let mut messages = Vec::new();
    for variant in 0..=250u8 {
        let found = (0..100).find_map(|zeros| {
            let mut bytes = vec![1, variant];
            bytes.resize(2 + zeros, 0);
            Some((T::name_of(&bytes)?, bytes))
        });
        let Some(found) = found else { break };
        messages.push(found);
    }
    messages
}

/// What both kinds of messages have in common.
mod bincode_like {
    use super::*;

    pub trait Message {
        /// The name of the message's variant, when the bytes are a message.
        fn name_of(bytes: &[u8]) -> Option<String>;
    }

    impl Message for RequestFrame {
        fn name_of(bytes: &[u8]) -> Option<String> {
            let frame: Self = message::decode(bytes).ok()?;
            Some(first_word(&frame.request))
        }
    }

    impl Message for ReplyFrame {
        fn name_of(bytes: &[u8]) -> Option<String> {
            let frame: Self = message::decode(bytes).ok()?;
            Some(first_word(&frame.reply))
        }
    }

    fn first_word(value: &impl Debug) -> String {
        let text = format!("{value:?}");
        let end = text.find(|letter: char| !letter.is_alphanumeric());
        text[..end.unwrap_or(text.len())].to_owned()
    }
}

/// A Control packet with a piece of the stream.
fn control(offset: usize, piece: &[u8]) -> Vec<u8> {
    let mut header = Header::new(Kind::Control, 7);
    header.offset = (offset as u64).into();
    header.payload_len = (piece.len() as u16).into();
    seal(&mut header, payload_crc(piece));
    [header.as_bytes(), piece].concat()
}

fn stream_of(messages: &[(String, Vec<u8>)]) -> Vec<u8> {
    let framed = |bytes: &Vec<u8>| [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat();
    messages
        .iter()
        .flat_map(|(_, bytes)| framed(bytes))
        .collect()
}

#[test]
fn the_dissector_knows_every_message() {
    let requests = one_of_each::<RequestFrame>();
    let replies = one_of_each::<ReplyFrame>();
    assert!(requests.len() >= 26 && replies.len() >= 20);
    for (from_client, messages) in [(true, requests), (false, replies)] {
        let datagram = control(0, &stream_of(&messages));
        let Some(shown) = Shown::of(&[(from_client, &datagram)], 0) else {
            return;
        };
        let names: Vec<_> = messages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(shown.fields(&["blk.message"])[0][0], names.join(","));
    }
}

#[test]
fn messages_are_found_however_the_stream_is_cut() {
    let requests = one_of_each::<RequestFrame>();
    let stream = stream_of(&requests);
    for size in [9, 11, 64] {
        let mut packets: Vec<_> = stream
            .chunks(size)
            .enumerate()
            .map(|(number, piece)| control(number * size, piece))
            .collect();
        // Out of order, and one twice.
        packets.swap(2, 3);
        packets.push(packets[1].clone());
        let datagrams: Vec<_> = packets.iter().map(|packet| (true, &packet[..])).collect();
        let Some(shown) = Shown::of(&datagrams, 0) else {
            return;
        };
        let rows = shown.fields(&["blk.message.length"]).concat();
        let mut found: Vec<usize> = rows
            .iter()
            .flat_map(|row| row.split(',').filter_map(|number| number.parse().ok()))
            .collect();
        let mut expected: Vec<usize> = requests.iter().map(|(_, bytes)| bytes.len()).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "pieces of {size}");
    }
}

#[test]
fn a_dump_that_was_cut_off_is_read_up_to_there() {
    let data = vectors().remove("data").unwrap();
    let Some(shown) = Shown::of(&[(true, &data), (true, &data)], 0) else {
        return;
    };
    let whole = std::fs::read(&shown.file).unwrap();
    // Into the second packet, as a kill may leave it.
    let end = whole.len() - 120 - 100;
    std::fs::write(&shown.file, &whole[..end]).unwrap();
    let output = Command::new("tshark")
        .args(["-n", "-r"])
        .arg(Path::new(&shown.file))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 1);
}
