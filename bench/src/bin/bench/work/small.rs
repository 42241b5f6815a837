//! Many small files there and back.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use blk_bench::lab::{files, must};

use super::{Bench, Work};
use crate::figures::{Measure, Sample};
use crate::measure::busy;
use crate::options::Amounts;
use crate::scene::Scene;
use crate::table::{Column, column};
use crate::tools::{Direction, Tool};

pub const COLUMNS: &[Column] = &[
    column::min("files/s min", Measure::FilesPerSecond, 0),
    column::median("median", Measure::FilesPerSecond, 0),
    column::max("max", Measure::FilesPerSecond, 0),
    column::median("CPU s/100k files", Measure::CpuSecondsPer100kFiles, 2),
    column::to_peer("rate / fastest peer", Measure::FilesPerSecond),
    column::to_peer("CPU / its", Measure::CpuSecondsPer100kFiles),
];

/// Bytes of each file.
const SIZE: usize = 4096;
/// Files of a directory.
const TOGETHER: u32 = 1000;
/// The tree that is got, in the server's directory.
const TREE: &str = "tree";

pub fn note(amounts: &Amounts) -> String {
    format!(
        "{} files of {SIZE} bytes, {TOGETHER} in a directory, from the page cache; {} runs by turns (rclone: one). What is not durable by itself when \
         the tool ends (all but blkcp) is followed by a `sync -f`, which counts. Trees are removed at the end only: ext4 does not \
         give away again inodes that were freed within the last minutes, and looks for others at length.",
        amounts.files, amounts.runs
    )
}

pub fn run(bench: &mut Bench<'_>) {
    let export = bench.scene.export().to_owned();
    let source = bench.scene.directory.join("small");
    let here = bench.scene.directory.subdirectory("here");
    plant(&source, bench.amounts.files);
    must(
        Command::new("cp")
            .arg("-a")
            .arg(&source)
            .arg(export.join(TREE)),
    );
    sync_file_system(&export);
    for run in 1..=bench.amounts.runs {
        for direction in [Direction::Put, Direction::Get] {
            for (number, tool) in bench.tools.iter().enumerate() {
                if run > tool.most_runs() {
                    continue;
                }
                let name = format!("{}-{number}-{run}", direction.word());
                let (local, remote, target) = match direction {
                    Direction::Put => (source.clone(), name.clone(), export.join(&name)),
                    Direction::Get => (here.join(&name), TREE.to_owned(), here.join(&name)),
                };
                bench.say(Work::Small, direction.word(), &tool.name(), run);
                let sample = one(*tool, direction, &local, &remote, bench);
                if run == 1 {
                    assert_same_tree(&source, &target);
                }
                bench.add(Work::Small, direction.word(), *tool, sample);
            }
        }
    }
    for tree in [&source, &here, &export.join(TREE)] {
        let _ = std::fs::remove_dir_all(tree);
    }
}

fn one(tool: &dyn Tool, way: Direction, local: &Path, remote: &str, bench: &Bench<'_>) -> Sample {
    let scene: &Scene = bench.scene;
    let server = scene.serve(tool);
    let command = tool.tree(way, local, remote, &scene.near);
    let mut command = command.expect("asked for what it does");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // What earlier copies and comparisons left to be written is not this tool's.
    sync_file_system(scene.export());
    let (before, started) = (busy(scene), Instant::now());
    let status = command.status().expect("cannot run the client");
    assert!(status.success(), "{} failed: {command:?}", tool.name());
    if !tool.syncs() {
        sync_file_system(scene.export());
    }
    let seconds = started.elapsed().as_secs_f64();
    let busy = busy(scene) - before;
    drop(server);
    let files = f64::from(bench.amounts.files);
    Sample::from([
        (Measure::Seconds, seconds),
        (Measure::FilesPerSecond, files / seconds),
        (Measure::CpuSecondsPer100kFiles, busy / files * 1e5),
    ])
}

/// Makes a tree of so many files.
fn plant(root: &Path, files: u32) {
    for number in 0..files {
        let directory = root.join(format!("d{}", number / TOGETHER));
        if number.is_multiple_of(TOGETHER) {
            std::fs::create_dir_all(&directory).expect("cannot make a directory");
        }
        let path = directory.join(format!("f{:04}", number % TOGETHER));
        files::write(&path, SIZE as u64, u64::from(number) + 1);
    }
}

fn sync_file_system(path: &Path) {
    let directory = File::open(path).expect("the directory is there");
    rustix::fs::syncfs(directory).expect("syncfs");
}

/// All files of the first tree, and no others, are in the second, byte for byte.
fn assert_same_tree(expected: &Path, found: &Path) {
    let directories = files::names(expected);
    assert_eq!(directories, files::names(found), "{}", found.display());
    for directory in directories {
        let [one, other] = [expected, found].map(|root| root.join(&directory));
        let names = files::names(&one);
        assert_eq!(names, files::names(&other), "{}", other.display());
        for name in names {
            let [one, other] = [&one, &other].map(|at| std::fs::read(at.join(&name)));
            let [one, other] = [one, other].map(|read| read.expect("the file can be read"));
            assert!(
                one == other,
                "{directory}/{name} differs in {}",
                found.display()
            );
        }
    }
}
