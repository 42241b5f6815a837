//! How much of a link sessions use, and how they share it, in virtual time.

mod path;
mod session;
mod tcp;
mod world;

use std::time::Duration;

use blk_proto::session::Congestion;

use path::Path;
use world::{World, jain};

/// 1 Gb/s.
const GIGABIT: u64 = 125_000_000;
/// Payload of a block.
const LEN: u16 = 3584;
/// What of a clean link a session's payload can be at most, beside headers.
const CLEAN: f64 = 0.97;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn join(world: &mut World, congestion: Congestion) {
    let id = world.bottleneck.random(1 << 20) as u32;
    let (now, rtt) = (world.now, world.bottleneck.path.rtt);
    world.join(session::flow(id, congestion, now, rtt, LEN));
}

/// Part of the link that one session uses after a while.
fn alone(path: Path, congestion: Congestion) -> f64 {
    let mut world = World::new(path);
    join(&mut world, congestion);
    world.run(ms(1000));
    let share = world.measure(ms(1000))[0];
    println!(
        "{share:.3} {:?} {:?}",
        world.bottleneck.path,
        world.describe()
    );
    share
}

#[test]
fn a_session_fills_a_link() {
    for rtt in [ms(1), ms(10), ms(100)] {
        for queue in [0.5, 1.0, 4.0] {
            for congestion in [Congestion::Delay, Congestion::Cubic] {
                let share = alone(Path::new(GIGABIT, rtt, queue), congestion);
                assert!(share > 0.8 * CLEAN, "{congestion:?} {rtt:?}: {share}");
            }
        }
    }
}

#[test]
fn loss_costs_little() {
    for rtt in [Duration::from_micros(100), ms(1), ms(10), ms(100)] {
        for (loss, least) in [(1_000, 0.8), (10_000, 0.5)] {
            let path = Path {
                loss,
                ..Path::new(GIGABIT, rtt, 4.0)
            };
            let share = alone(path, Congestion::Delay);
            assert!(share > least * CLEAN, "{rtt:?}, {loss} lost: {share}");
        }
    }
}

#[test]
fn reordering_costs_little() {
    for rtt in [ms(1), ms(10)] {
        let path = Path {
            reordering: 50_000,
            reorder_delay: rtt,
            ..Path::new(GIGABIT, rtt, 1.0)
        };
        let share = alone(path, Congestion::Delay);
        assert!(share > 0.8 * CLEAN, "{rtt:?}: {share}");
    }
}

#[test]
fn sessions_share_a_short_queue() {
    for flows in [2, 4] {
        let mut world = World::new(Path::new(GIGABIT, ms(1), 1.0));
        for _ in 0..flows {
            join(&mut world, Congestion::Delay);
            world.run(ms(300));
        }
        world.run(ms(500));
        let shares = world.measure(ms(2000));
        assert!(jain(&shares) > 0.9, "{shares:.2?}");
    }
}

#[test]
fn tcp_and_a_session_share_a_short_queue() {
    let mut world = World::new(Path::new(GIGABIT, ms(1), 1.0));
    world.join(tcp::flow(1500));
    world.run(ms(1000));
    let (now, rtt) = (world.now, world.bottleneck.path.rtt);
    world.join(session::flow(1, Congestion::Delay, now, rtt, 1408));
    world.run(ms(2000));
    let shares = world.measure(ms(5000));
    assert!(shares.iter().all(|share| *share > 0.3), "{shares:.2?}");
}
