//! What happens in a run, made from its seed.

use super::client::{ClientPlan, Task};
use super::disk::DiskPlan;
use super::link::{Bursts, LinkPlan, Outage};
use super::network::Address;
use super::pump::Nic;
use super::random::Random;
use super::server::ServerPlan;
use crate::geometry::{MAX_FRAME_PAYLOAD, MAX_LONG_PAYLOAD, MIN_MTU};
use crate::session::{Config, Congestion, LongBlocks, Parameters, RetryPolicy};
use crate::time::Time;
use core::time::Duration;

mod words;

/// When every run starts: late enough for any timeout to lie before it.
pub const START: Time = Time::from_nanos(3_600 * SECOND);

/// Bytes of an IP packet with the longest Ack, and some more.
const NARROWEST: u64 = 640;

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// Something that happens to a host.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The server's process dies.
    CrashServer,
    /// It ends in good order.
    StopServer,
    /// It is started again.
    StartServer,
    /// A client's user gives the session up.
    HangUp {
        /// Whose.
        client: u32,
    },
    /// A host stands still.
    Freeze {
        /// Which.
        host: Address,
        /// Until then.
        until: Time,
    },
    /// A client's process dies.
    CrashClient {
        /// Whose.
        client: u32,
        /// When it is started again.
        until: Time,
    },
}

/// Hellos from addresses of nobody.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Flood {
    /// How many.
    pub hellos: u32,
    /// Nanoseconds between them.
    pub every: u64,
}

/// Something on the way that lets only short packets through: handshakes, pings and Acks, but not the shortest of those blocks and messages that
/// every path is taken to carry.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Narrow {
    /// Its beginning; it has no end.
    pub from: Time,
    /// Longest IP packet, in bytes.
    pub mtu: usize,
}

/// A client and its path.
#[derive(Clone, Debug)]
pub struct Party {
    /// The client.
    pub plan: ClientPlan,
    /// To the server.
    pub up: LinkPlan,
    /// And back.
    pub down: LinkPlan,
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it was made from.
    pub seed: u64,
    /// The clients.
    pub parties: Vec<Party>,
    /// They share one link in each direction, that of the first.
    pub shared: bool,
    /// The server.
    pub server: ServerPlan,
    /// Its disk.
    pub disk: DiskPlan,
    /// What happens when, in order.
    pub actions: Vec<(Time, Action)>,
    /// Forged Hellos.
    pub flood: Option<Flood>,
    /// Everybody is cut off for good from this time on.
    pub doomed: Option<Time>,
    /// All paths become too narrow.
    pub narrow: Option<Narrow>,
}

fn after(nanos: u64) -> Time {
    START + Duration::from_nanos(nanos)
}

impl Scenario {
    /// The scenario of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let clients = random.pick(&[1, 1, 1, 2, 2, 3, 4]);
        let doomed = random
            .chance(50_000)
            .then(|| after(random.magnitude(10 * MICRO, 3 * SECOND)));
        let mut blocks = random.magnitude(20, 600);
        let mut parties = Vec::new();
        for number in 0..clients {
            let share = if number + 1 == clients {
                blocks
            } else {
                random.within(1, blocks)
            };
            blocks = (blocks - share).max(1);
            parties.push(party(&mut random, share, doomed));
        }
        // A path whose MTU changes shows nothing unless blocks are long.
        let long = parties
            .iter()
            .any(|party| !party.up.mtu.is_empty() || !party.down.mtu.is_empty());
        let server = server(&mut random, clients, long);
        let disk = disk(&mut random);
        let actions = actions(&mut random, clients as u32);
        let flood = random.chance(100_000).then(|| Flood {
            hellos: random.within(5, 60) as u32,
            every: random.magnitude(10 * MICRO, 100 * MILLI),
        });
        let narrow = random.chance(30_000).then(|| Narrow {
            from: after(random.magnitude(10 * MICRO, 3 * SECOND)),
            mtu: random.within(NARROWEST, MIN_MTU as u64 - 1) as usize,
        });
        let scenario = Self {
            seed,
            shared: clients > 1 && random.chance(300_000),
            parties,
            server,
            disk,
            actions,
            flood,
            doomed,
            narrow: None,
        };
        match narrow {
            Some(narrow) => scenario.narrowed(narrow),
            None => scenario,
        }
    }

    /// The same with paths that become too narrow.
    #[must_use]
    pub fn narrowed(mut self, narrow: Narrow) -> Self {
        for party in &mut self.parties {
            party.plan.patience = 2;
            for link in [&mut party.up, &mut party.down] {
                link.mtu.retain(|(at, _)| *at < narrow.from);
                link.mtu.push((narrow.from, narrow.mtu));
            }
        }
        self.narrow = Some(narrow);
        self
    }

    /// Whether clients may give up.
    #[must_use]
    pub const fn is_hopeless(&self) -> bool {
        self.doomed.is_some() || self.narrow.is_some()
    }
}

fn party(random: &mut Random, blocks: u64, doomed: Option<Time>) -> Party {
    let mut outages = outages(random);
    if let Some(from) = doomed {
        outages.push(Outage {
            from,
            to: Time::MAX,
            one_way: false,
        });
    }
    let both = |outage: &&Outage| !outage.one_way;
    let up_only = random.chance(500_000);
    let (mut up, mut down) = (link(random), link(random));
    if random.chance(600_000) {
        // Most paths are about as long in both directions.
        down.delay = up.delay;
    }
    up.outages = outages
        .iter()
        .filter(|outage| up_only || both(outage))
        .copied()
        .collect();
    down.outages = outages
        .iter()
        .filter(|outage| !up_only || both(outage))
        .copied()
        .collect();
    let has_mtu = random.chance(150_000);
    if has_mtu {
        let both = mtus(random);
        up.mtu = if random.chance(700_000) {
            both.clone()
        } else {
            Vec::new()
        };
        down.mtu = if up.mtu.is_empty() || random.chance(700_000) {
            both
        } else {
            Vec::new()
        };
        // Slow enough to be busy when it changes.
        up.rate = up.rate.clamp(500_000, 20_000_000);
        down.rate = down.rate.clamp(500_000, 20_000_000);
        up.queue = up.queue.max(20_000);
        down.queue = down.queue.max(20_000);
    }
    Party {
        plan: client(random, blocks, doomed, has_mtu),
        up,
        down,
    }
}

fn outages(random: &mut Random) -> Vec<Outage> {
    let mut outages = Vec::new();
    let mut at = START;
    for _ in 0..random.pick(&[0, 0, 0, 0, 0, 1, 1, 2]) {
        let from = at + Duration::from_nanos(random.magnitude(100 * MICRO, SECOND));
        let to = from + Duration::from_nanos(random.magnitude(MILLI, 25 * SECOND));
        outages.push(Outage {
            from,
            to,
            one_way: random.chance(400_000),
        });
        at = to;
    }
    outages
}

fn link(random: &mut Random) -> LinkPlan {
    let delay = random.magnitude(5 * MICRO, 50 * MILLI);
    let rate = random.pick(&[0, 0, 1]) * random.magnitude(200_000, 1_000_000_000);
    // At most a second's worth waits.
    let queue = random.magnitude(6_000, 600_000).min(rate);
    let bursts = random.chance(200_000).then(|| Bursts {
        enter: random.magnitude(100, 20_000),
        leave: random.magnitude(50_000, 500_000),
        loss: random.pick(&[500_000, 900_000, 1_000_000]),
        longest: random.magnitude(100 * MICRO, 300 * MILLI),
    });
    let mut plan = LinkPlan {
        loss: random.pick(&[0, 0, 0, 1_000, 10_000, 50_000, 200_000]),
        bursts,
        duplication: random.pick(&[0, 0, 0, 10_000, 100_000]),
        replay: random.pick(&[0, 0, 0, 2_000]),
        corruption: random.pick(&[0, 0, 0, 1_000, 30_000]),
        truncation: random.pick(&[0, 0, 0, 1_000, 20_000]),
        garbage: random.pick(&[0, 0, 0, 10_000]),
        delay,
        jitter: random.pick(&[0, 0, delay / 10, delay, 4 * delay]),
        keeps_order: random.chance(500_000),
        detours: random.pick(&[0, 0, 0, 1_000, 50_000]),
        detour: random.magnitude(10 * MICRO, 20 * MILLI),
        rate,
        queue,
        mark_above: if random.chance(500_000) { queue / 4 } else { 0 },
        mtu: Vec::new(),
        outages: Vec::new(),
    };
    if plan.damage() > 290_000 {
        plan.loss = 0;
    }
    plan
}

/// MTUs of a path, one after the other, that both directions have or only one. None on most paths.
fn mtus(random: &mut Random) -> Vec<(Time, usize)> {
    let mut at = START;
    let mut mtus = Vec::new();
    for _ in 0..random.pick(&[1, 2, 2, 3, 4]) {
        mtus.push((
            at,
            random.pick(&[MIN_MTU, 1500, 2000, 2500, 3498, 9000, 65_535]),
        ));
        at += Duration::from_nanos(random.magnitude(100 * MICRO, 3 * SECOND));
    }
    mtus
}

/// `long`: it takes the longest blocks.
fn config(random: &mut Random, window: u64, long: bool) -> Config {
    Config {
        local: Parameters {
            payload_offset: random.pick(&[128, 128, 256, 512]),
            granule: random.pick(&[512, 512, 1, 64]),
            max_payload: if long {
                3584
            } else {
                random.pick(&[512, 1024, 3584])
            },
            initial_credit: window,
            long: if long { long_blocks(random) } else { None },
            ..Parameters::default()
        },
        max_send_payload: if long {
            MAX_LONG_PAYLOAD as u16
        } else {
            MAX_FRAME_PAYLOAD as u16
        },
        max_ack_delay: Duration::from_micros(random.pick(&[1000, 1000, 100, 25_000])),
        congestion: random.pick(&[Congestion::Delay, Congestion::Cubic]),
        max_in_flight: random.magnitude(8_000, 64_000_000),
        window_floor: random.magnitude(1, 1024),
        max_queued_blocks: random.magnitude(1, 500) as usize,
        max_unacked_blocks: random.magnitude(1, 2000) as usize,
        idle_timeout: Duration::from_secs(random.pick(&[10, 15, 30])),
        handshake_timeout: Duration::from_secs(random.pick(&[5, 10])),
        ..Config::default()
    }
}

fn nic(random: &mut Random) -> Nic {
    Nic {
        queued: random.pick(&[0, 0, 50 * MICRO, 3 * MILLI]),
        burst: random.within(1, 64),
    }
}

/// Files have fewer blocks where these have more bytes than this.
const LONG_FILE: u64 = 4 * MAX_FRAME_PAYLOAD as u64;

/// What a side that takes packets in several frames says, as most do.
fn long_blocks(random: &mut Random) -> Option<LongBlocks> {
    random.chance(700_000).then(|| LongBlocks {
        payload_offset: random.pick(&[512, 512, 504, 128]),
        max_payload: random.pick(&[4096, 8192, MAX_LONG_PAYLOAD as u16]),
    })
}

fn block_len(random: &mut Random, long: bool) -> u64 {
    if long {
        return random.pick(&[3584, 8192, MAX_LONG_PAYLOAD as u64]);
    }
    match random.within(0, 9) {
        0..7 => random.within(1, 200),
        7 | 8 => 512,
        _ => random.pick(&[1024, 3584]),
    }
}

fn tasks(random: &mut Random, blocks: u64, block_len: u64) -> Vec<Task> {
    let mut tasks = Vec::new();
    let mut rest = blocks;
    for file in 0..random.within(1, 4) as u32 {
        let share = random.within(0, rest);
        rest -= share;
        // Not a multiple of the block, and now and then empty.
        let size = (share * block_len).saturating_sub(random.within(0, block_len - 1));
        let cancel_at = |random: &mut Random| {
            random
                .chance(100_000)
                .then(|| random.within(1, share.max(1)))
        };
        tasks.push(Task::Put {
            file,
            size,
            cancel_at: cancel_at(random),
        });
        if random.chance(400_000) {
            tasks.push(Task::Get {
                file: random.within(0, u64::from(file)) as u32,
                cancel_at: cancel_at(random),
            });
        }
    }
    tasks
}

fn client(random: &mut Random, blocks: u64, doomed: Option<Time>, long: bool) -> ClientPlan {
    let block_len = block_len(random, long);
    // Of long ones fewer: where the path takes none of them, each is cut into 50 short ones, perhaps one in a round trip.
    let blocks = (blocks * LONG_FILE / block_len.max(LONG_FILE)).max(1);
    let window = random.magnitude(1, 600);
    let mut config = config(random, window, long);
    // Some clients are of a later version, and have to learn that the server is not.
    config.versions.highest += random.pick(&[0, 0, 0, 1]);
    ClientPlan {
        config,
        tasks: tasks(random, blocks, block_len),
        parallel: random.within(1, 4) as usize,
        block_len,
        send_frames: random.magnitude(1, 600) as usize,
        digestion: random.pick(&[0, 100 * MICRO, MILLI, 20 * MILLI]),
        nic: nic(random),
        noise: (random.magnitude(1, 40), random.magnitude(MICRO, 20 * MILLI)),
        patience: if doomed.is_some() { 2 } else { u32::MAX },
        start: after(random.pick(&[0, 0, 1]) * random.magnitude(MICRO, SECOND)),
    }
}

fn server(random: &mut Random, clients: u64, long: bool) -> ServerPlan {
    let window = random.magnitude(1, 600);
    ServerPlan {
        config: config(random, window, long),
        receive_frames: window * (clients + random.within(0, 3)),
        send_frames: random.magnitude(1, 600) as usize,
        retry: match random.within(0, 3) {
            0 => RetryPolicy::Always,
            1 => RetryPolicy::Above(1),
            _ => RetryPolicy::Above(4),
        },
        max_sessions: (clients + random.within(0, 4)) as usize,
        block_len: block_len(random, long),
        nic: nic(random),
        breathes: random.chance(300_000),
        chatter: random.pick(&[0, 100_000]),
    }
}

fn disk(random: &mut Random) -> DiskPlan {
    let mut stalls = Vec::new();
    for _ in 0..random.pick(&[0, 0, 0, 0, 1, 2]) {
        let from = after(random.magnitude(100 * MICRO, 2 * SECOND));
        let to = from + Duration::from_nanos(random.magnitude(MILLI, 10 * SECOND));
        stalls.push((from, to));
    }
    DiskPlan {
        service: random.pick(&[0, MICRO, 20 * MICRO, MILLI]),
        latency: random.pick(&[0, 100 * MICRO, 5 * MILLI]),
        sync: random.pick(&[0, MILLI, 200 * MILLI]),
        stalls,
    }
}

fn actions(random: &mut Random, clients: u32) -> Vec<(Time, Action)> {
    let mut actions = Vec::new();
    let mut at = START;
    for _ in 0..random.pick(&[0, 0, 0, 0, 0, 1, 1, 2]) {
        let crash = at + Duration::from_nanos(random.magnitude(100 * MICRO, 3 * SECOND));
        let start = crash + Duration::from_nanos(random.magnitude(MILLI, 40 * SECOND));
        let how = random.pick(&[Action::CrashServer, Action::CrashServer, Action::StopServer]);
        actions.push((crash, how));
        actions.push((start, Action::StartServer));
        at = start;
    }
    for _ in 0..random.pick(&[0, 0, 0, 0, 1, 2]) {
        let crash = after(random.magnitude(100 * MICRO, 3 * SECOND));
        let until = crash + Duration::from_nanos(random.magnitude(MILLI, 20 * SECOND));
        let client = random.within(0, u64::from(clients) - 1) as u32;
        actions.push((crash, Action::CrashClient { client, until }));
    }
    for _ in 0..random.pick(&[0, 0, 0, 0, 0, 1, 2]) {
        let client = random.within(0, u64::from(clients) - 1) as u32;
        actions.push((
            after(random.magnitude(100 * MICRO, 3 * SECOND)),
            Action::HangUp { client },
        ));
    }
    for _ in 0..random.pick(&[0, 0, 0, 0, 0, 1, 2]) {
        let at = after(random.magnitude(100 * MICRO, 3 * SECOND));
        let until = at + Duration::from_nanos(random.magnitude(MILLI, 15 * SECOND));
        let client = random.within(0, u64::from(clients) - 1) as u32;
        let host = random.pick(&[Address::SERVER, Address::of_client(client)]);
        actions.push((at, Action::Freeze { host, until }));
    }
    actions.sort_by_key(|(at, _)| *at);
    actions
}
