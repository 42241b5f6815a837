//! Puts to a disk that does not take what it is given.

use blk_bench::blockdev::{Kind, Operation, Rule};
use blk_bench::lab::hosts::Host;
use blk_bench::lab::within;

use super::*;

/// Below what is resumable: every write of the disk before the commit is one of data.
const SIZE: u64 = 3_900_000;

#[test]
fn the_nth_write_of_a_put_fails() {
    on_a_disk("the_nth_write_of_a_put_fails", Kind::Ext4Plain, |scene| {
        let old = scene.source(10_000, 1);
        scene.put(&old, "data/file").ok();
        settle(scene.mount.path());
        let new = scene.source(SIZE, 2);
        for number in [1, 2, 3] {
            scene.fail(Operation::Write, number);
            let failed = scene.failed();
            scene
                .put(&new, "data/file")
                .fails(FAILED, &["file", "input/output error"]);
            assert_eq!(scene.failed(), failed + 1, "a write failed");
            files::assert_same(&old, &scene.there("file"));
            scene.heal();
        }
        scene.others_are_served(3);
        scene.all_is_well(4);
        scene.put(&new, "data/file").ok();
        files::assert_same(&new, &scene.there("file"));
    });
}

#[test]
fn a_write_of_one_put_fails_and_the_others_go_on() {
    let name = "a_write_of_one_put_fails_and_the_others_go_on";
    on_a_disk(name, Kind::Ext4Plain, |scene| {
        // Both last long enough to be under way together.
        scene.faults(|faults| faults.rate = Some(20 << 20));
        let (first, second) = (scene.source(24 << 20, 1), scene.source(12 << 20, 2));
        let one = scene.start_put(Host::Client, &first, "data/first");
        let other = scene.start_put(Host::Other(2), &second, "data/second");
        // Past what is written to make the temporary files: that one of those fails need not harm a put.
        let written = || scene.disk.control().counts().writes;
        let before = written();
        let going = within(Duration::from_secs(60), || written() >= before + 12);
        assert!(going, "nothing is written");
        scene.fail(Operation::Write, 1);
        let outcomes = [one.outcome(), other.outcome()];
        let well = outcomes
            .iter()
            .filter(|outcome| outcome.code == Some(0))
            .count();
        assert_eq!(well, 1, "one failed, the other did not: {outcomes:?}");
        for (outcome, source, name) in [
            (&outcomes[0], &first, "first"),
            (&outcomes[1], &second, "second"),
        ] {
            if outcome.code == Some(0) {
                files::assert_same(source, &scene.there(name));
            } else {
                outcome.fails(FAILED, &[name, "input/output error"]);
                assert!(!scene.there(name).exists(), "a part of {name} is there");
            }
        }
        scene.heal();
        scene.all_is_well(3);
    });
}

#[test]
fn every_write_of_a_large_put_fails() {
    let name = "every_write_of_a_large_put_fails";
    on_a_disk(name, Kind::Ext4Plain, |scene| {
        let source = scene.source(24 << 20, 1);
        scene.faults(|faults| faults.add(Rule::every(Operation::Write)));
        scene
            .put(&source, "data/file")
            .fails(FAILED, &["input/output error"]);
        scene.others_are_served(2);
        scene.heal();
        assert!(!scene.there("file").exists());
        scene.put(&source, "data/file").ok();
        files::assert_same(&source, &scene.there("file"));
    });
}

#[test]
fn the_sync_of_a_put_fails() {
    on_a_disk("the_sync_of_a_put_fails", Kind::Ext4Plain, |scene| {
        let old = scene.source(10_000, 1);
        for name in ["small", "large"] {
            scene.put(&old, &format!("data/{name}")).ok();
        }
        scene.faults(|faults| faults.add(Rule::every(Operation::Flush)));
        for (name, size) in [("small", 9_000), ("large", 20 << 20)] {
            let new = scene.source(size, 2);
            let outcome = scene.put(&new, &format!("data/{name}"));
            outcome.fails(FAILED, &[name, "input/output error"]);
            files::assert_same(&old, &scene.there(name));
        }
        scene.others_are_served(3);
        scene.heal();
        scene.all_is_well(4);
        let new = scene.source(20 << 20, 2);
        scene.put(&new, "data/large").ok();
        files::assert_same(&new, &scene.there("large"));
    });
}

#[test]
fn a_file_system_that_gives_up_is_no_end_of_blockd() {
    for kind in [Kind::Ext4, Kind::Xfs] {
        let name = "a_file_system_that_gives_up_is_no_end_of_blockd";
        on_a_disk(name, kind, |scene| {
            let source = scene.source(6 << 20, 1);
            scene.put(&source, "data/before").ok();
            scene.faults(|faults| {
                faults.add(Rule::every(Operation::Flush));
                faults.add(Rule::every(Operation::Write));
            });
            // The first one hits the fault, the next ones what it made of the file system. ROFS is 9.
            for number in 0..3 {
                let outcome = scene.put(&source, &format!("data/after{number}"));
                assert!(
                    matches!(outcome.code, Some(FAILED | 9)),
                    "{kind:?}: {outcome:?}"
                );
                assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
            }
            scene.others_are_served(2);
        });
    }
}

#[test]
fn a_full_disk_is_told_to_who_filled_it() {
    let name = "a_full_disk_is_told_to_who_filled_it";
    on_a_disk(name, Kind::Ext4Plain, |scene| {
        scene.faults(|faults| faults.rate = Some(40 << 20));
        let (fits, too_large) = (scene.source(40 << 20, 1), scene.source(DISK, 2));
        let first = scene.start_put(Host::Client, &fits, "data/fits");
        std::thread::sleep(Duration::from_millis(300));
        let second = scene.start_put(Host::Other(2), &too_large, "data/large");
        second.outcome().fails(8, &["space"]);
        assert!(!scene.there("large").exists());
        first.outcome().ok();
        files::assert_same(&fits, &scene.there("fits"));
        scene.heal();
        scene.all_is_well(3);
    });
}
