//! The test vectors in `docs/protocol.md` are what this implementation sends, and what it understands.
//!
//! In the document a vector is a fenced block with the info string `vector NAME`; its text is hexadecimal, blanks are
//! ignored; a last line `zeros N` stands for so many zero bytes. When the format changes on purpose, the failing test prints what the document must say; with
//! `BLK_WRITE_VECTORS=1` in the environment it writes that into the document, in place of the old vector.

use blk_proto::geometry::announced_offset;
use blk_proto::net::Ecn;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use blk_proto::message::{
    Attributes, ErrorCode, Failure, FileKind, Reply, ReplyFrame, Request, RequestFrame,
};
use blk_proto::message::{decode, encode};
use blk_proto::session::{
    Acceptor, AcceptorConfig, BlockMeta, CloseCode, CloseReason, Config, Occupancy, Parameters,
    Refusal, RefuseReason, Reset, RetryPolicy, Session, Transmit, Verdict, hello_id,
};
use blk_proto::time::Time;
use blk_proto::wire::{self, Kind};
use zerocopy::IntoBytes;

const DOCUMENT: &str = include_str!("../../docs/protocol.md");
const T0: Time = Time::from_nanos(1_000_000_000);

/// The vectors of the document, by name.
fn documented() -> BTreeMap<String, Vec<u8>> {
    let mut vectors = BTreeMap::new();
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```vector ") else {
            continue;
        };
        let mut digits = String::new();
        let mut zeros = 0;
        for line in lines.by_ref().take_while(|line| *line != "```") {
            match line.strip_prefix("zeros ") {
                Some(count) => zeros = count.parse().expect("a count"),
                None => digits.extend(line.chars().filter(|c| !c.is_whitespace())),
            }
        }
        let mut bytes: Vec<u8> = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal"))
            .collect();
        bytes.resize(bytes.len() + zeros, 0);
        let before = vectors.insert(name.trim().to_owned(), bytes);
        assert!(before.is_none(), "{name} is there twice");
    }
    vectors
}

fn hex(bytes: &[u8]) -> String {
    let said = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |at| at + 1);
    // Whole lines, and the zeros after them only if they are many.
    let said = said.next_multiple_of(32);
    if bytes.len() > said + 512 {
        return format!("{}zeros {}\n", hex(&bytes[..said]), bytes.len() - said);
    }
    bytes.chunks(32).fold(String::new(), |mut text, line| {
        for four in line.chunks(4) {
            four.iter()
                .for_each(|byte| write!(text, "{byte:02x}").expect("a String"));
            text.push(' ');
        }
        text.truncate(text.trim_end().len());
        text + "\n"
    })
}

fn next(session: &mut Session<Vec<u8>>, now: Time) -> Vec<u8> {
    let transmit = session
        .poll_transmit(now, |_| true)
        .expect("a packet to send");
    let header = transmit.header();
    let mut bytes = header.as_bytes().to_vec();
    bytes.resize(usize::from(header.span.get()), 0);
    bytes.extend_from_slice(match &transmit {
        Transmit::Inline { payload, .. } => payload,
        Transmit::Block { block, .. } => block,
    });
    bytes
}

fn config(initial_credit: u64) -> Config {
    let local = Parameters {
        initial_credit,
        epoch: 3,
        ..Parameters::default()
    };
    Config {
        local,
        // No probes of the path, which would be long vectors of zeros.
        max_send_payload: 1024,
        ..Config::default()
    }
}

/// What two sessions say to each other.
fn packets() -> Vec<(&'static str, Vec<u8>)> {
    conversation(config(64))
}

/// The same where packets have one VLAN tag when they arrive at the server: what is different then.
fn in_a_vlan() -> Vec<(&'static str, Vec<u8>)> {
    let mut server = config(64);
    server.local.payload_offset = announced_offset(wire::PAYLOAD_OFFSET as u16, 1);
    conversation(server)
        .into_iter()
        .filter_map(|(name, bytes)| match name {
            "hello-reply" => Some(("hello-reply-vlan", bytes)),
            "data" => Some(("data-vlan", bytes)),
            _ => None,
        })
        .collect()
}

/// What a client and a server of this configuration say to each other.
fn conversation(server: Config) -> Vec<(&'static str, Vec<u8>)> {
    let mut client = Session::connect(config(16), 0x1122_3344, T0);
    let hello = next(&mut client, T0);
    let opened = wire::open(&hello).expect("whole");
    let refuse = Refusal::to(&opened, RefuseReason::Busy)
        .and_then(|refusal| refusal.packet())
        .expect("a Hello");
    let mut server =
        Session::<Vec<u8>>::accept(server, 0x5566_7788, &opened, T0).expect("acceptable");
    let reply = next(&mut server, T0);
    client
        .handle_packet(T0, &wire::open(&reply).expect("whole"), Ecn::Capable0)
        .expect("a good reply");
    client.send_message(b"hi").expect("there is room");
    let payload = b"blockd".to_vec();
    let meta = BlockMeta {
        transfer: 7,
        offset: 4096,
        len: 6,
        crc: wire::payload_crc(&payload),
    };
    client.queue_block(meta, payload).expect("there is room");
    let control = next(&mut client, T0);
    let data = next(&mut client, T0);
    for packet in [&control, &data] {
        server
            .handle_packet(T0, &wire::open(packet).expect("whole"), Ecn::Capable0)
            .expect("no violation");
    }
    let ack = next(&mut server, T0 + Duration::from_millis(1));
    client.close(CloseReason::Local(CloseCode::SHUTDOWN));
    let close = next(&mut client, T0);
    vec![
        ("hello", hello),
        ("hello-reply", reply),
        ("refuse", refuse.to_vec()),
        ("control", control),
        ("data", data),
        ("ack", ack),
        ("close", close),
    ]
}

/// A probe of the path, and an Ack of what came with gaps in it.
fn probe_and_gaps() -> Vec<(&'static str, Vec<u8>)> {
    let probing = Config {
        max_send_payload: 1536,
        ..config(16)
    };
    let (mut client, mut server) = connected(probing);
    let probe = std::iter::from_fn(|| Some(next(&mut client, T0)))
        .take(3)
        .find(|packet| wire::open(packet).expect("whole").kind == Kind::Probe)
        .expect("a probe");
    let (mut sender, _) = connected(config(16));
    for block in 0..6u64 {
        let payload = vec![block as u8; 512];
        let meta = BlockMeta {
            transfer: 7,
            offset: 512 * block,
            len: 512,
            crc: wire::payload_crc(&payload),
        };
        sender.queue_block(meta, payload).expect("there is room");
        let packet = next(&mut sender, T0);
        // Numbers 1, 3 and 4 get lost.
        if ![1, 3, 4].contains(&block) {
            server
                .handle_packet(T0, &wire::open(&packet).expect("whole"), Ecn::Congested)
                .expect("no violation");
        }
    }
    let ack = next(&mut server, T0 + Duration::from_millis(1));
    vec![("probe", probe), ("ack-with-gaps", ack)]
}

/// A client with this configuration, and a server, after the handshake.
fn connected(client: Config) -> (Session<Vec<u8>>, Session<Vec<u8>>) {
    let mut client = Session::connect(client, 0x1122_3344, T0);
    let hello = next(&mut client, T0);
    let opened = wire::open(&hello).expect("whole");
    let mut server = Session::accept(config(64), 0x5566_7788, &opened, T0).expect("acceptable");
    let reply = next(&mut server, T0);
    client
        .handle_packet(T0, &wire::open(&reply).expect("whole"), Ecn::Capable0)
        .expect("a good reply");
    (client, server)
}

/// All that the document shows.
fn everything() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = packets();
    all.extend(in_a_vlan());
    all.extend(probe_and_gaps());
    all.extend(without_a_session());
    all.extend(messages());
    all
}

/// What is said outside of an open session: a server that wants a proof, and one that was restarted.
fn without_a_session() -> Vec<(&'static str, Vec<u8>)> {
    let always = AcceptorConfig {
        retry: RetryPolicy::Always,
        ..AcceptorConfig::default()
    };
    let secret = std::array::from_fn(|at| at as u8);
    let mut acceptor = Acceptor::new(always, &secret);
    let source = "192.0.2.1:4000".parse().expect("an address");
    let mut answer = |packet: &[u8]| {
        let packet = wire::open(packet).expect("whole");
        let nobody = Occupancy::default();
        match acceptor.judge(T0, source, &packet, &config(64), nobody) {
            Verdict::Answer(answer) => Some(answer.as_bytes().to_vec()),
            _ => None,
        }
    };
    let mut client = Session::connect(config(16), 0x1122_3344, T0);
    let retry = answer(&next(&mut client, T0)).expect("a Retry");
    let packet = wire::open(&retry).expect("whole");
    client
        .handle_packet(T0, &packet, Ecn::Capable0)
        .expect("a good Retry");
    let again = next(&mut client, T0);
    assert_eq!(answer(&again), None, "it is let in");
    let (_, data) = packets()
        .into_iter()
        .find(|(name, _)| *name == "data")
        .expect("there is one");
    let reset = answer(&data).expect("a Reset");
    vec![("retry", retry), ("hello-again", again), ("reset", reset)]
}

fn put() -> RequestFrame {
    RequestFrame {
        id: 1,
        request: Request::Put {
            transfer: 7,
            export: "data".into(),
            path: b"a/b".to_vec(),
            size: 1 << 31,
            mode: 0o644,
            mtime_ns: -1,
        },
    }
}

fn opened() -> ReplyFrame {
    let attributes = Attributes {
        kind: FileKind::File,
        size: 300,
        mode: 0o600,
        mtime_ns: 64,
    };
    ReplyFrame {
        id: 2,
        reply: Reply::Opened { attributes },
    }
}

fn failed() -> ReplyFrame {
    let failure = Failure {
        code: ErrorCode::NoSpace,
        message: "disk full".into(),
    };
    ReplyFrame {
        id: 3,
        reply: Reply::Failed(failure),
    }
}

fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let (mut a, mut b, mut c) = (Vec::new(), Vec::new(), Vec::new());
    encode(&put(), &mut a).expect("short");
    encode(&opened(), &mut b).expect("short");
    encode(&failed(), &mut c).expect("short");
    vec![
        ("message-put", a),
        ("message-opened", b),
        ("message-failed", c),
    ]
}

/// Replaces the vectors in the document by those that are sent.
fn write_vectors() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");
    let mut text = std::fs::read_to_string(path).expect("the document");
    for (name, bytes) in everything() {
        let opening = format!("```vector {name}\n");
        let start = text.find(&opening).expect("a vector of that name") + opening.len();
        let end = start + text[start..].find("```").expect("its end");
        text.replace_range(start..end, &hex(&bytes));
    }
    std::fs::write(path, text).expect("written");
}

#[test]
fn the_document_shows_what_is_sent() {
    if std::env::var_os("BLK_WRITE_VECTORS").is_some() {
        write_vectors();
        panic!("docs/protocol.md was written: run the test again without BLK_WRITE_VECTORS");
    }
    let mut documented = documented();
    let mut wrong = String::new();
    for (name, bytes) in everything() {
        if documented.remove(name).as_ref() != Some(&bytes) {
            write!(wrong, "```vector {name}\n{}```\n\n", hex(&bytes)).expect("a String");
        }
    }
    assert!(wrong.is_empty(), "docs/protocol.md must say:\n\n{wrong}");
    assert!(
        documented.is_empty(),
        "nobody sends {:?}",
        documented.keys()
    );
}

#[test]
fn the_document_is_understood() {
    let documented = documented();
    let open = |name: &str| wire::open(&documented[name]).expect("whole");
    assert_eq!(open("hello").kind, Kind::Hello);
    assert_eq!(open("hello-reply").header.session.get(), 0x1122_3344);
    assert_eq!(open("refuse").kind, Kind::Refuse);
    assert_eq!(open("control").payload, b"\x02\0\0\0hi");
    let data = open("data");
    assert_eq!((data.header.span.get(), data.payload), (86, &b"blockd"[..]));
    assert_eq!(
        (data.header.transfer.get(), data.header.offset.get()),
        (7, 4096)
    );
    let data = open("data-vlan");
    assert_eq!((data.header.span.get(), data.payload), (82, &b"blockd"[..]));
    assert_eq!(open("ack").kind, Kind::Ack);
    assert_eq!(open("retry").header.session.get(), 0x1122_3344);
    assert_eq!(hello_id(&open("hello-again")), Some(0x1122_3344));
    let reset = Reset::read(&open("reset")).expect("well-formed");
    let (session, number) = (0x5566_7788, open("data").header.packet_number.get());
    assert_eq!(
        (reset.session, reset.kind, reset.number),
        (session, Kind::Data, number)
    );
    assert_eq!(open("close").payload, 1u32.to_le_bytes());
    assert_eq!(
        decode::<RequestFrame>(&documented["message-put"]).expect("whole"),
        put()
    );
    assert_eq!(
        decode::<ReplyFrame>(&documented["message-opened"]).expect("whole"),
        opened()
    );
    assert_eq!(
        decode::<ReplyFrame>(&documented["message-failed"]).expect("whole"),
        failed()
    );
}
