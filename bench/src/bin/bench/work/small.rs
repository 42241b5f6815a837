//! Many small files there and back.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use blk_bench::lab::{files, must};

use super::Bench;
use crate::cpu::Watch;
use crate::options::Amounts;
use crate::order;
use crate::sample::{Measure, Sample};
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
    column::datapath(),
];

/// Bytes of each file.
const SIZE: usize = 4096;
/// Files of a directory.
const TOGETHER: u32 = 1000;
/// There, and back.
const WAYS: [Direction; 2] = [Direction::Put, Direction::Get];
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
    let (tools, files) = (bench.tools, bench.amounts.files);
    for direction in WAYS {
        bench.expect(direction.word(), tools);
    }
    for run in 1..=bench.amounts.runs {
        for (turn, direction) in (run..).zip(WAYS) {
            for tool in order::of(tools, turn) {
                if run > tool.most_runs() {
                    continue;
                }
                let number = tools.iter().position(|other| other.name() == tool.name());
                let name = format!("{}-{}-{run}", direction.word(), number.unwrap_or_default());
                let (local, remote, target) = match direction {
                    Direction::Put => (source.clone(), name.clone(), export.join(&name)),
                    Direction::Get => (here.join(&name), TREE.to_owned(), here.join(&name)),
                };
                bench.measure(direction.word(), tool, run, |scene| {
                    let sample = one(tool, direction, &local, &remote, files, scene);
                    if run == 1 {
                        assert_same_tree(&source, &target);
                    }
                    sample
                });
            }
        }
    }
    for tree in [&source, &here, &export.join(TREE)] {
        let _ = std::fs::remove_dir_all(tree);
    }
}

fn one(
    tool: &dyn Tool,
    way: Direction,
    local: &Path,
    remote: &str,
    files: u32,
    scene: &Scene,
) -> Sample {
    let server = scene.serve(tool);
    let command = tool.tree(way, local, remote, &scene.near);
    let mut command = command.expect("asked for what it does");
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    // What earlier copies and comparisons left to be written is not this tool's.
    let watch = Watch::at_rest(scene);
    let output = command.output().expect("cannot run the client");
    assert!(
        output.status.success(),
        "{} failed: {}",
        tool.name(),
        output.status
    );
    if !tool.syncs() {
        sync_file_system(scene.export());
    }
    let spent = watch.stop();
    drop(server);
    let files = f64::from(files);
    let mut sample = Sample::from([
        (Measure::Seconds, spent.seconds),
        (Measure::FilesPerSecond, files / spent.seconds),
        (
            Measure::CpuSecondsPer100kFiles,
            spent.cpu.busy / files * 1e5,
        ),
    ]);
    sample.extend(spent.load());
    sample.over(tool.datapath(&String::from_utf8_lossy(&output.stdout)))
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
