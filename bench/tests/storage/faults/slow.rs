//! Disks that take their time.

use blk_bench::blockdev::Kind;
use blk_bench::lab::hosts::Host;

use super::*;

/// A hundredth of what such a disk does otherwise.
const SLOW: u64 = 8 << 20;

#[test]
fn a_disk_a_hundred_times_slower_holds_up_only_its_own() {
    let name = "a_disk_a_hundred_times_slower_holds_up_only_its_own";
    on_a_disk(name, Kind::Ext4, |scene| {
        scene.faults(|faults| {
            faults.rate = Some(SLOW);
            faults.delay = Duration::from_millis(5);
        });
        let source = scene.source(LARGE, 1);
        let mut slow = scene.start_put(Host::Client, &source, "data/slow");
        for seed in 2..5 {
            scene.others_are_served(seed);
        }
        assert!(slow.is_running(), "the slow one is still under way");
        for counter in ["rx_dropped", "rx_ring_full", "rx_fill_ring_empty"] {
            assert_eq!(scene.daemon.statistics()[counter], 0, "{counter}");
        }
        scene.heal();
        slow.outcome().ok();
        files::assert_same(&source, &scene.there("slow"));
        scene.all_is_well(9);
    });
}

#[test]
fn a_put_goes_on_when_a_disk_that_stood_still_does() {
    let name = "a_put_goes_on_when_a_disk_that_stood_still_does";
    on_a_disk(name, Kind::Ext4, |scene| {
        scene.faults(|faults| faults.rate = Some(20 << 20));
        let source = scene.source(LARGE, 1);
        let written = || scene.disk.control().counts().writes;
        let before = written();
        let mut copy = scene.start_put(Host::Client, &source, "data/file");
        let under_way = || written() > before + 8;
        assert!(within(Duration::from_secs(30), under_way), "no block comes");
        scene.faults(|faults| faults.still = true);
        std::thread::sleep(Duration::from_secs(3));
        assert!(copy.is_running(), "nothing is durable on such a disk");
        for counter in ["rx_dropped", "rx_ring_full", "rx_fill_ring_empty"] {
            assert_eq!(scene.daemon.statistics()[counter], 0, "{counter}");
        }
        scene.heal();
        copy.outcome().ok();
        files::assert_same(&source, &scene.there("file"));
        scene.others_are_served(2);
        scene.all_is_well(9);
    });
}

/// Without its disk healed blockd could not be ended, and this would not end either.
#[test]
fn a_test_that_fails_while_a_disk_stands_still_ends() {
    let name = "a_test_that_fails_while_a_disk_stands_still_ends";
    let mut ran = false;
    let test = std::panic::AssertUnwindSafe(|| {
        on_a_disk(name, Kind::Ext4, |scene| {
            ran = true;
            scene.faults(|faults| faults.still = true);
            let source = scene.source(20_000, 1);
            let asked = || scene.disk.control().counts();
            let before = asked();
            let _copy = scene.start_put(Host::Client, &source, "data/file");
            let waits = within(Duration::from_secs(30), || asked() != before);
            assert!(!waits, "as an assertion that fails");
        });
    });
    let failed = std::panic::catch_unwind(test).is_err();
    assert_eq!(failed, ran, "blockd waited for the disk");
}

/// Opening and renaming are plain system calls on the one thread of the device, so what asks for a name there waits as well, and
/// goes on when the disk does; other disks have threads of their own.
#[test]
fn nothing_is_acknowledged_on_a_disk_that_stands_still() {
    let name = "nothing_is_acknowledged_on_a_disk_that_stands_still";
    on_a_disk(name, Kind::Ext4, |scene| {
        scene.faults(|faults| faults.still = true);
        let source = scene.source(20_000, 1);
        let mut copy = scene.start_put(Host::Client, &source, "data/file");
        std::thread::sleep(Duration::from_secs(2));
        assert!(copy.is_running(), "nothing is durable here");
        scene.others_are_served(2);
        assert!(copy.is_running(), "nothing is durable here");
        scene.heal();
        copy.outcome().ok();
        files::assert_same(&source, &scene.there("file"));
        scene.all_is_well(3);
    });
}
