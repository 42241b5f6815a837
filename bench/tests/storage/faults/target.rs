//! Gets onto a disk of the client that fails.

use blk_bench::blockdev::{Kind, Operation, Rule};

use super::*;

#[test]
fn the_disk_of_the_client_fails_in_a_get() {
    let name = "the_disk_of_the_client_fails_in_a_get";
    on_a_disk(name, Kind::Ext4Plain, |scene| {
        let (small, large) = (scene.source(9_000, 1), scene.source(20 << 20, 2));
        for (source, name) in [(&small, "small"), (&large, "large")] {
            scene.put(source, &format!("good/{name}")).ok();
        }
        for (source, name) in [(&small, "small"), (&large, "large")] {
            let (from, to) = (format!("good/{name}"), scene.there(name));
            for operation in [Operation::Write, Operation::Flush] {
                scene.faults(|faults| faults.add(Rule::every(operation)));
                scene
                    .get(&from, &to)
                    .fails(FAILED, &[name, "input/output error"]);
                scene.heal();
                assert!(!to.exists(), "{operation:?}: {name} is there");
            }
            scene.get(&from, &to).ok();
            files::assert_same(source, &to);
        }
        scene.others_are_served(3);
    });
}

#[test]
fn the_disk_of_the_client_is_full_in_a_get() {
    let name = "the_disk_of_the_client_is_full_in_a_get";
    on_a_disk(name, Kind::Ext4Plain, |scene| {
        let source = scene.source(DISK, 1);
        scene.put(&source, "good/large").ok();
        let to = scene.there("large");
        scene.get("good/large", &to).fails(8, &["space"]);
        assert!(!to.exists());
        scene.others_are_served(2);
    });
}
