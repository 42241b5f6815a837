use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blk_proto::net::VlanTag;
use blk_proto::session::{Config, Session, Transmit};
use blk_proto::time::Time;
use zerocopy::IntoBytes;

use super::super::{EngineConfig, Seed};
use super::*;
use crate::disk::DiskQueue;
use crate::link::Link;
use crate::udp::{UdpLink, UdpPort};
use crate::umem::Umem;
use crate::worker::WorkerConfig;

/// A server's engine, and a client whose packets it is handed with headers of any kind; the answers come over UDP.
struct Scene {
    engine: Engine,
    session: Session<Vec<u8>>,
    socket: UdpSocket,
    path: Path,
    started: Instant,
}

impl Scene {
    fn new() -> Self {
        let umem = Umem::anonymous(256).unwrap();
        let disk = DiskQueue::new(&umem, 4).unwrap();
        let port = Arc::new(UdpPort::listen(0, None, 1).unwrap().remove(0));
        let number = port.port();
        let link = UdpLink::new(port, &umem, 2048).unwrap();
        let config = EngineConfig {
            fill_target: 64,
            receive_frames: 64,
            send_frames: 64,
            ..WorkerConfig::new("lo", 0, 1500, number, true).engine
        };
        let link = Link::Udp(Box::new(link));
        let engine = Engine::new(config, umem, link, disk, &Seed::random().unwrap());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let (source, destination) = (
            socket.local_addr().unwrap(),
            ([127, 0, 0, 1], number).into(),
        );
        Self {
            engine,
            session: Session::connect(Config::default(), 7, Time::from_nanos(1)),
            socket,
            path: Path::new([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1], source, destination),
            started: Instant::now(),
        }
    }

    /// Hands over what the client has to send, as packets with these tags; how many these were.
    fn send(&mut self, vlans: [Option<VlanTag>; 2]) -> usize {
        let path = Path { vlans, ..self.path };
        let now = Time::from_nanos(self.started.elapsed().as_nanos() as u64 + 1);
        if self.session.poll_timeout().is_some_and(|due| due <= now) {
            self.session.handle_timeout(now);
        }
        let mut sent = 0;
        while let Some(Transmit::Inline { header, payload }) =
            self.session.poll_transmit(now, |_| true)
        {
            let packet = [header.as_bytes(), payload].concat();
            self.engine.receive_stray(&path, &packet);
            sent += 1;
        }
        self.engine.turn();
        let mut buffer = [0; 2048];
        while let Ok(len) = self.socket.recv(&mut buffer) {
            let packet = wire::open(&buffer[..len]).unwrap();
            self.session
                .handle_packet(now, &packet, Ecn::default())
                .unwrap();
        }
        sent
    }

    /// Opens the session, without tags: UDP sockets send none.
    fn connect(&mut self) {
        while !self.session.is_connected() {
            self.send([None; 2]);
            let elapsed = self.started.elapsed();
            assert!(elapsed < Duration::from_secs(20), "no session");
        }
        while self.send([None; 2]) > 0 {}
        assert_eq!(self.dropped(), [0, 0]);
    }

    /// Makes the client send something with these tags.
    fn ping(&mut self, vlans: [Option<VlanTag>; 2]) {
        self.session.ping();
        assert!(self.send(vlans) > 0, "nothing to send");
    }

    /// Packets that were dropped for their VLAN, and all that were dropped.
    fn dropped(&self) -> [u64; 2] {
        let dropped = self.engine.counters().dropped;
        let of_vlan = |&(reason, _): &(DropReason, u64)| reason == DropReason::WrongVlan;
        let wrong = dropped.iter().filter(of_vlan).map(|(_, count)| count);
        [wrong.sum(), dropped.total()]
    }
}

#[test]
fn packets_of_a_session_that_come_by_another_vlan_are_dropped() {
    let mut scene = Scene::new();
    scene.connect();
    let customer = Some(VlanTag::customer(7));
    let others = [[customer, None], [Some(VlanTag::service(100)), customer]];
    for (number, vlans) in others.into_iter().enumerate() {
        scene.ping(vlans);
        let [wrong, all] = scene.dropped();
        assert!(wrong > number as u64 && wrong == all, "{wrong} {all}");
    }
    let before = scene.dropped();
    scene.ping([None; 2]);
    assert_eq!(scene.dropped(), before);
}

#[test]
fn a_priority_tag_alone_changes_nothing() {
    let mut scene = Scene::new();
    scene.connect();
    let priority = VlanTag {
        control: 5 << 13,
        ..VlanTag::customer(0)
    };
    scene.ping([Some(priority), None]);
    assert_eq!(scene.dropped(), [0, 0]);
    scene.ping([Some(VlanTag::customer(1)), None]);
    assert!(scene.dropped()[0] > 0);
}
