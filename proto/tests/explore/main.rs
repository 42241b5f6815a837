//! How much of a link sessions use, and how they share it, in virtual time.

#[path = "../goodput/path.rs"]
mod path;
#[path = "../goodput/session.rs"]
mod session;
#[path = "../goodput/tcp.rs"]
mod tcp;
#[path = "../goodput/world.rs"]
mod world;

use std::time::Duration;

use blk_proto::session::Congestion;

use path::Path;
use world::{World, jain};

/// 1 Gb/s.
const GIGABIT: u64 = 125_000_000;
const LEN: u16 = 3584;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn join(world: &mut World, congestion: Congestion, len: u16) {
    let id = world.bottleneck.random(1 << 20) as u32;
    let (now, rtt) = (world.now, world.bottleneck.path.rtt);
    world.join(session::flow(id, congestion, now, rtt, len));
}

/// Part of the link that one session uses after a while.
fn alone(path: &Path, congestion: Congestion, warm_up: Duration, time: Duration) -> f64 {
    let mut world = World::new(path.clone());
    join(&mut world, congestion, LEN);
    world.run(warm_up);
    let share = world.measure(time)[0];
    println!(
        "{congestion:?} {:?}, loss {}, reordering {}: {share:.3}; {:?}, {} dropped, longest queue {}",
        path.rtt,
        path.loss,
        path.reordering,
        world.describe(),
        world.bottleneck.dropped,
        world.bottleneck.longest
    );
    share
}

#[test]
#[ignore]
fn explore_alone() {
    for rtt in [Duration::from_micros(100), ms(1), ms(10), ms(100)] {
        for queue in [0.5, 1.0, 4.0] {
            let path = Path::new(GIGABIT, rtt, queue);
            for congestion in [Congestion::Delay, Congestion::Cubic] {
                alone(&path, congestion, ms(1000), ms(2000));
            }
        }
    }
}

#[test]
#[ignore]
fn explore_loss() {
    for rtt in [Duration::from_micros(100), ms(1), ms(10), ms(100)] {
        for queue in [0.5, 4.0] {
            for loss in [1_000, 10_000] {
                let path = Path {
                    loss,
                    ..Path::new(GIGABIT, rtt, queue)
                };
                alone(&path, Congestion::Delay, ms(1000), ms(2000));
            }
            let path = Path {
                reordering: 50_000,
                reorder_delay: rtt,
                ..Path::new(GIGABIT, rtt, queue)
            };
            alone(&path, Congestion::Delay, ms(1000), ms(2000));
        }
    }
}

#[test]
#[ignore]
fn explore_fair() {
    for congestion in [Congestion::Delay, Congestion::Cubic] {
        for rtt in [ms(1), ms(10)] {
            for queue in [1.0, 4.0, 20.0] {
                for flows in [2, 8] {
                    let mut world = World::new(Path::new(GIGABIT, rtt, queue));
                    for _ in 0..flows {
                        join(&mut world, congestion, LEN);
                        world.run(ms(500));
                    }
                    for at in 0..3 {
                        let shares = world.measure(ms(2500));
                        println!(
                            "{congestion:?} {rtt:?} queue {queue} x{flows} {at}: jain {:.3} total {:.3} {shares:.2?} dropped {}",
                            jain(&shares),
                            shares.iter().sum::<f64>(),
                            world.bottleneck.dropped
                        );
                    }
                    println!("{:?}", world.describe());
                }
            }
        }
    }
}

#[test]
#[ignore]
fn explore_tcp() {
    for rtt in [ms(1), ms(10), ms(50)] {
        for queue in [0.5, 1.0, 4.0] {
            for first in [true, false] {
                let rate = if rtt > ms(20) { GIGABIT / 5 } else { GIGABIT };
                let mut world = World::new(Path::new(rate, rtt, queue));
                if first {
                    world.join(tcp::flow(1500));
                }
                world.run(ms(1000));
                join(&mut world, Congestion::Delay, 1408);
                world.run(ms(1000));
                if !first {
                    world.join(tcp::flow(1500));
                }
                let mut text = String::new();
                for _ in 0..6 {
                    let mut shares = world.measure(ms(5000));
                    if first {
                        shares.reverse();
                    }
                    text += &format!(" {:.2}/{:.2}", shares[0], shares[1]);
                }
                println!(
                    "{rtt:?} queue {queue} tcp first {first}: us/tcp {text} dropped {}",
                    world.bottleneck.dropped
                );
            }
        }
    }
}
