//! Blocks that do not lie where blockd asked for them, because their packets have other headers than their sender counts.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use blk_proto::message::{Reply, ReplyFrame, Request, RequestFrame, decode, encode};
use blk_proto::net::Ecn;
use blk_proto::session::{BlockMeta, Config, Event, Session, Transmit};
use blk_proto::time::Time;
use blk_proto::wire;
use zerocopy::IntoBytes;

use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::traffic::on_host;
use super::support::{Directory, ready};

/// Payload of the blocks.
const BLOCK: usize = 1024;
/// Blocks of the file.
const BLOCKS: usize = 64;
const TRANSFER: u32 = 1;

/// A client on a plain UDP socket that counts so many bytes of headers in front of its packets.
struct Client {
    session: Session<Vec<u8>>,
    socket: UdpSocket,
    start: Instant,
    file: Vec<u8>,
    acknowledged: usize,
}

impl Client {
    fn new(headers: u16, file: Vec<u8>) -> Self {
        let socket = UdpSocket::bind("10.77.0.2:0").expect("the client has an address");
        socket.connect("10.77.0.1:7440").expect("there is a route");
        let patience = Some(Duration::from_millis(2));
        socket.set_read_timeout(patience).expect("a socket");
        let config = Config {
            l4_overhead: headers,
            max_send_payload: BLOCK as u16,
            ..Config::default()
        };
        Self {
            session: Session::connect(config, 0x1122_3344, Time::from_nanos(1)),
            socket,
            start: Instant::now(),
            file,
            acknowledged: 0,
        }
    }

    /// Puts the file.
    fn put(mut self) {
        let deadline = self.start + Duration::from_secs(20);
        while Instant::now() < deadline {
            let now = Time::from_nanos(self.start.elapsed().as_nanos() as u64 + 1);
            self.exchange(now);
            while let Some(event) = self.session.poll_event() {
                match event {
                    Event::Connected => self.ask(0, put(self.file.len())),
                    Event::Message(bytes) => {
                        let answer: ReplyFrame = decode(&bytes).expect("a reply");
                        match answer.reply {
                            Reply::PutReady => self.queue_blocks(),
                            Reply::Committed { .. } => return,
                            other => panic!("{other:?}"),
                        }
                    }
                    Event::Released { acked: true, .. } => self.acknowledged(),
                    Event::Closed(reason) => panic!("closed: {reason:?}"),
                    _ => {}
                }
            }
        }
        panic!("the put does not end");
    }

    /// Sends what there is, and takes what comes within a moment.
    fn exchange(&mut self, now: Time) {
        if self.session.poll_timeout().is_some_and(|due| due <= now) {
            self.session.handle_timeout(now);
        }
        while let Some(transmit) = self.session.poll_transmit(now, |_| true) {
            let header = transmit.header();
            let mut bytes = header.as_bytes().to_vec();
            bytes.resize(usize::from(header.span.get()), 0);
            bytes.extend_from_slice(match &transmit {
                Transmit::Inline { payload, .. } => payload,
                Transmit::Block { block, .. } => block,
            });
            self.socket.send(&bytes).expect("the link is up");
        }
        let mut buffer = [0; 4096];
        if let Ok(len) = self.socket.recv(&mut buffer) {
            let packet = wire::open(&buffer[..len]).expect("a whole packet");
            let taken = self.session.handle_packet(now, &packet, Ecn::Capable0);
            taken.expect("no violation");
        }
    }

    /// A block has been acknowledged; with the last one it is time for the commit.
    fn acknowledged(&mut self) {
        self.acknowledged += 1;
        if self.acknowledged == BLOCKS {
            let crc = wire::payload_crc(&self.file);
            let transfer = TRANSFER;
            self.ask(1, Request::Commit { transfer, crc });
        }
    }

    fn ask(&mut self, id: u32, request: Request) {
        let mut message = Vec::new();
        encode(&RequestFrame { id, request }, &mut message).expect("short");
        self.session.send_message(&message).expect("there is room");
    }

    fn queue_blocks(&mut self) {
        for (at, payload) in self.file.chunks(BLOCK).enumerate() {
            let meta = BlockMeta {
                transfer: TRANSFER,
                offset: (at * BLOCK) as u64,
                len: payload.len() as u16,
                crc: wire::payload_crc(payload),
            };
            let queued = self.session.queue_block(meta, payload.to_vec());
            queued.expect("there is room");
        }
    }
}

/// How many workers the server says that it has, to a client on a plain UDP socket.
pub(super) fn workers_announced() -> u16 {
    let mut client = Client::new(42, Vec::new());
    let deadline = client.start + Duration::from_secs(20);
    while Instant::now() < deadline {
        let now = Time::from_nanos(client.start.elapsed().as_nanos() as u64 + 1);
        client.exchange(now);
        if let Some(Event::Connected) = client.session.poll_event() {
            let peer = client.session.peer().expect("the other end's parameters");
            return peer.queues;
        }
    }
    panic!("the server does not answer");
}

fn put(size: usize) -> Request {
    Request::Put {
        transfer: TRANSFER,
        export: "data".to_owned(),
        path: b"file".to_vec(),
        size: size as u64,
        mode: 0o600,
        mtime_ns: 0,
    }
}

#[test]
fn blocks_that_lie_elsewhere_are_moved() {
    if !ready("blocks_that_lie_elsewhere_are_moved") {
        return;
    }
    let directory = Directory::new();
    let export = directory.subdirectory("export");
    let hosts = Hosts::up(Link::of(1500));
    // 42 would be right: payloads lie too far in front, and too far behind.
    for headers in [62, 30] {
        let daemon = Daemon::start(&hosts, &export, &directory);
        let file: Vec<u8> = (0..BLOCK * BLOCKS)
            .map(|at| (at * 31 / 7) as u8 ^ headers as u8)
            .collect();
        let sent = file.clone();
        let client = on_host(&hosts, Host::Client, move || {
            Client::new(headers, sent).put()
        });
        client.join().expect("the put came to its end");
        let arrived = std::fs::read(export.join("file")).expect("the file is there");
        assert!(arrived == file, "the file is another one: {headers}");
        let counted = daemon.statistics();
        assert!(
            counted["blocks_moved"] >= BLOCKS as u64,
            "{headers}: {counted:?}"
        );
    }
}
