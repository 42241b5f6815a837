//! Writes the seeds of the fuzz targets into `corpus/`:
//!
//! ```text
//! cargo run --manifest-path proto/fuzz/Cargo.toml --example corpus
//! ```
//!
//! They are the test vectors of `docs/protocol.md`, the same in frames, and short sessions in which everything that a
//! [`Script`] can say happens once. Run it when the vectors or the steps change.

use std::fs;
use std::net::SocketAddr;
use std::path::Path as FilePath;

use blk_proto::net::{Path, VlanTag};
use blk_proto::session::Congestion;
use blk_proto::wire::{self, Kind};
use blk_proto_fuzz::script::{Op, Script, Step};
use blk_proto_fuzz::world::{CLIENT, SERVER};

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

/// The vectors of the document with their names.
fn vectors() -> Vec<(String, Vec<u8>)> {
    let mut vectors = Vec::new();
    for block in DOCUMENT.split("```vector ").skip(1) {
        let Some((name, text)) = block.split_once('\n') else {
            continue;
        };
        let digits: String = text
            .chars()
            .take_while(|c| *c != '`')
            .filter(|c| !c.is_whitespace())
            .collect();
        let bytes = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal"))
            .collect();
        vectors.push((name.trim().to_owned(), bytes));
    }
    vectors
}

/// An Ethernet frame around a packet.
fn frame(packet: &[u8], from: &str, to: &str, tagged: bool) -> Vec<u8> {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let tag = VlanTag {
        protocol: 0x8100,
        control: 7,
    };
    let path = Path {
        source_mac: [2; 6],
        destination_mac: [4; 6],
        vlans: [tagged.then_some(tag), None],
        source: address(from),
        destination: address(to),
    };
    let mut frame = vec![0; path.header_len()];
    path.write_headers(&mut frame, packet.len())
        .expect("room and one family");
    frame.extend_from_slice(packet);
    frame
}

fn step(op: Op, side: usize, a: u16, b: u32) -> Step {
    Step { op, side, a, b }
}

/// A round trip: what both have to say arrives.
fn round_trip() -> [Step; 6] {
    [
        step(Op::Transmit, CLIENT, 0, 0),
        step(Op::Transmit, SERVER, 0, 0),
        step(Op::Advance, CLIENT, 100, 1),
        step(Op::Deliver, CLIENT, 63, 0),
        step(Op::Deliver, SERVER, 63, 0),
        step(Op::Sleep, SERVER, 0, 0),
    ]
}

/// A connected pair: some blocks both ways, then these steps, then a round trip.
fn scene(steps: &[Step]) -> Script {
    let mut all = vec![
        step(Op::Queue, CLIENT, 12, 511),
        step(Op::Queue, SERVER, 5, 99),
        step(Op::Transmit, CLIENT, 0, 0),
        step(Op::Transmit, SERVER, 0, 0),
    ];
    all.extend(steps);
    all.extend(round_trip());
    Script {
        connected: true,
        congestion: Congestion::Delay,
        steps: all,
    }
}

fn scripts() -> Vec<(&'static str, Script)> {
    let handshake = Script {
        connected: false,
        congestion: Congestion::Cubic,
        steps: [round_trip(), round_trip(), round_trip()].concat(),
    };
    let loss = scene(&[
        step(Op::Lose, SERVER, 1, 0),
        step(Op::Overtake, SERVER, 3, 0),
        step(Op::Duplicate, SERVER, 0, 0),
        step(Op::Deliver, SERVER, 9, 1),
        step(Op::Advance, CLIENT, 5, 2),
        step(Op::Sleep, CLIENT, 0, 0),
    ]);
    let damage = scene(&[
        step(Op::Corrupt, SERVER, 30, 1),
        step(Op::Truncate, SERVER, 70, 0),
        step(Op::Truncate, SERVER, 90, 1),
        step(Op::Deliver, CLIENT, 2, 0),
    ]);
    let tampering = scene(&[
        step(Op::Tamper, SERVER, 25, 64),
        step(Op::Tamper, CLIENT, 8, 2),
        step(Op::Deliver, SERVER, 2, 0),
    ]);
    let credit = scene(&[
        step(Op::Window, SERVER, 4, 0),
        step(Op::Release, SERVER, 2, 0),
        step(Op::Queue, CLIENT, 63, 1023),
        step(Op::Transmit, CLIENT, 0, 0),
        step(Op::Deliver, SERVER, 63, 0),
        step(Op::Advance, CLIENT, 600, 2),
        step(Op::Sleep, CLIENT, 0, 0),
        step(Op::Window, SERVER, 200, 0),
    ]);
    let cancelled = scene(&[
        step(Op::Lose, SERVER, 3, 0),
        step(Op::Cancel, CLIENT, 1, 0),
        step(Op::Cancel, CLIENT, 2, 0),
    ]);
    let messages = scene(&[
        step(Op::Message, CLIENT, 0, 65_000),
        step(Op::Message, SERVER, 0, 0),
        step(Op::Transmit, CLIENT, 0, 0),
        step(Op::Overtake, SERVER, 20, 0),
        step(Op::Lose, SERVER, 2, 0),
    ]);
    let closing = scene(&[
        step(Op::Close, CLIENT, 0, 256),
        step(Op::Transmit, CLIENT, 0, 0),
        step(Op::Deliver, CLIENT, 2, 0),
    ]);
    let path = scene(&[
        step(Op::Mtu, CLIENT, 500, 0),
        step(Op::Queue, CLIENT, 40, 3583),
        step(Op::Advance, CLIENT, 50, 2),
        step(Op::Sleep, CLIENT, 0, 0),
    ]);
    let mut scripts = vec![
        ("handshake", handshake),
        ("loss", loss),
        ("damage", damage),
        ("tampering", tampering),
        ("credit", credit),
        ("cancelled", cancelled),
        ("messages", messages),
        ("closing", closing),
        ("path", path),
    ];
    let forged: Vec<Step> = (1..=10)
        .map(|kind| step(Op::Forge, (kind & 1).into(), kind, 40 << 18 | 0o123_456))
        .collect();
    scripts.push(("forged", scene(&forged)));
    scripts
}

/// Steps of a `Door`: who does what is in `fuzz::door`.
fn doors() -> [(&'static str, Vec<u8>); 3] {
    let knock = |who: u8| [[0, who, 0, 0, 0, 0, 0, 0], [1, who, 0, 0, 0, 0, 0, 0]];
    let enter = |who: u8| {
        let answered = [[3, 0, 0, 0, 0, 0, 0, 0], [2, who, 0, 0, 0, 0, 0, 0]];
        [knock(who), answered, knock(who), answered, knock(who)].concat()
    };
    let script = |setup: u8, steps: Vec<[u8; 8]>| [vec![setup], steps.concat()].concat();
    let crowd = (0..6).flat_map(knock).chain((0..6).flat_map(enter));
    let hostile = [
        knock(0).to_vec(),
        vec![[6, 0, 60, 0, 1, 0, 0, 0], [8, 1, 0, 0, 2, 0, 0, 0]],
        knock(1).to_vec(),
        vec![[7, 1, 80, 0, 1, 0, 0, 0], [10, 2, 1, 0, 5, 9, 0, 0]],
        vec![[4, 0, 200, 0, 1, 0, 0, 0], [9, 1, 0, 0, 0, 0, 0, 0]],
    ];
    [
        ("crowd", script(0, crowd.collect())),
        ("cookie", script(2, enter(3))),
        ("hostile", script(0, hostile.concat())),
    ]
}

fn write(target: &str, name: &str, bytes: &[u8]) {
    let directory = FilePath::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    fs::create_dir_all(&directory).expect("a directory");
    fs::write(directory.join(name), bytes).expect("written");
}

fn main() {
    for (name, bytes) in vectors() {
        if let Some(name) = name.strip_prefix("message-") {
            write("message", name, &bytes);
            continue;
        }
        write("wire", &name, &bytes);
        let v4 = frame(&bytes, "10.0.0.1:9000", "10.0.0.2:9400", false);
        let v6 = frame(&bytes, "[fd00::1]:9000", "[fd00::2]:9400", true);
        write("wire", &format!("{name}-ipv4"), &v4);
        write("wire", &format!("{name}-ipv6-tagged"), &v6);
        if let Ok(packet) = wire::open(&bytes)
            && packet.kind == Kind::Ack
            && let Ok(len) = u8::try_from(packet.payload.len())
        {
            write("ack", &name, &[&[0, len], packet.payload].concat());
        }
    }
    write("ack", "nothing", &[[1, 32].as_slice(), &[0; 32]].concat());
    for (name, bytes) in doors() {
        write("handshake", name, &bytes);
    }
    for (name, script) in scripts() {
        write("session", name, &script.to_bytes());
    }
}
