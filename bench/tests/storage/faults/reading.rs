//! Gets from a disk that does not give what it has.

use blk_bench::blockdev::{Kind, Operation, Rule};

use super::*;

#[test]
fn a_read_of_a_get_fails() {
    on_a_disk("a_read_of_a_get_fails", Kind::Ext4Plain, |scene| {
        let sources = [(5_000, 1), (20 << 20, 2)].map(|(size, seed)| scene.source(size, seed));
        for (index, source) in sources.iter().enumerate() {
            scene.put(source, &format!("data/file{index}")).ok();
        }
        scene.others_are_served(3);
        for (index, source) in sources.iter().enumerate() {
            let name = format!("file{index}");
            forget(&scene.there(&name));
            scene.faults(|faults| faults.add(Rule::every(Operation::Read)));
            let failed = scene.failed();
            let to = scene.directory.join(&format!("back{index}"));
            scene
                .get(&format!("data/{name}"), &to)
                .fails(FAILED, &[&name, "input/output error"]);
            assert!(scene.failed() > failed, "a read failed");
            assert!(!to.exists(), "a part of {name} came back");
            let other = scene.directory.join("other");
            scene.get("good/other", &other).ok();
            scene.heal();
            scene.get(&format!("data/{name}"), &to).ok();
            files::assert_same(source, &to);
        }
        scene.all_is_well(4);
    });
}

#[test]
fn one_read_in_the_middle_fails() {
    on_a_disk("one_read_in_the_middle_fails", Kind::Ext4Plain, |scene| {
        let source = scene.source(30 << 20, 1);
        scene.put(&source, "data/file").ok();
        forget(&scene.there("file"));
        scene.fail(Operation::Read, 12);
        let to = scene.directory.join("back");
        let outcome = scene.get("data/file", &to);
        assert_eq!(scene.failed(), 1, "a read failed");
        // Where the kernel itself read ahead, it asks again, and all is well.
        if outcome.code == Some(0) {
            files::assert_same(&source, &to);
        } else {
            outcome.fails(FAILED, &["file", "input/output error"]);
            assert!(!to.exists(), "a part of the file came back");
        }
        scene.all_is_well(2);
    });
}
