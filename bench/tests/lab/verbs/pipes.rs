//! Verbs of which nobody reads what they say: the pipe is closed, or full.

use std::fs;
use std::io::{PipeWriter, Read, pipe};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::super::support::{files, ready};
use super::{Scene, at};

/// Empty files with names that are together longer than a pipe takes.
fn fill(directory: &Path) {
    for name in 0..5000 {
        let name = format!("{name:0200}");
        fs::write(directory.join(name), "").expect("cannot write a file");
    }
}

fn words(scene: &Scene, words: &[&str]) -> Command {
    let mut command = scene.command(words[0]);
    command.args(words[1..].iter().map(|word| at(word)));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A verb that has said something, which was read.
fn begun(scene: &Scene, of: &[&str]) -> (Child, impl Read) {
    let mut child = words(scene, of).spawn().expect("blkcp can be started");
    let mut pipe = child.stdout.take().expect("a pipe");
    pipe.read_exact(&mut [0; 100]).expect("it says something");
    (child, pipe)
}

/// Its exit code, and what it said on standard error.
fn ended(child: Child) -> (Option<i32>, String) {
    let ended = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    (ended.status.code(), said)
}

/// A pipe that nobody reads any more.
fn closed() -> PipeWriter {
    pipe().expect("a pipe").1
}

#[test]
fn a_closed_pipe_is_no_failure_and_a_full_one_can_be_interrupted() {
    if !ready("a_closed_pipe_is_no_failure_and_a_full_one_can_be_interrupted") {
        return;
    }
    let scene = Scene::new();
    files::write(&scene.export.join("large"), 64 << 20, 1);
    fill(&scene.export);
    for words in [&["cat", "@large"][..], &["ls", "@"], &["ls", "--json", "@"]] {
        let (child, pipe) = begun(&scene, words);
        drop(pipe);
        assert_eq!(ended(child), (Some(0), String::new()), "{words:?}");
    }
    // Nobody reads.
    for words in [&["cat", "@large"][..], &["ls", "@"], &["ls", "--json", "@"]] {
        let (child, pipe) = begun(&scene, words);
        kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
        let (code, said) = ended(child);
        assert_eq!(code, Some(130), "{words:?}: {said}");
        assert!(said.contains("interrupted"), "{words:?}: {said}");
        drop(pipe);
    }
}

#[test]
fn what_changes_names_goes_on_when_nobody_reads() {
    if !ready("what_changes_names_goes_on_when_nobody_reads") {
        return;
    }
    let scene = Scene::new();
    scene.make(&["t/below"], &[("a", "a"), ("b", "b")]);
    fill(&scene.export.join("t/below"));
    // Nothing is changed by this: it ends.
    let (child, pipe) = begun(&scene, &["rm", "-rn", "@t"]);
    drop(pipe);
    assert_eq!(ended(child), (Some(0), String::new()));
    let (child, pipe) = begun(&scene, &["rm", "-rv", "@none", "@t"]);
    drop(pipe);
    let (code, said) = ended(child);
    assert_eq!(code, Some(5), "{said}");
    assert_eq!(files::names(&scene.export), ["a", "b"]);
    for of in [
        &["mkdir", "--json", "@d", "@e", "@f"][..],
        &["mv", "--json", "@a", "@b", "@e", "@d"],
    ] {
        // From the beginning; standard error, too.
        let mut command = words(&scene, of);
        let status = command.stdout(closed()).stderr(closed()).status();
        let status = status.expect("blkcp can be started");
        assert_eq!(status.code(), Some(0), "{of:?}");
    }
    assert_eq!(files::names(&scene.export), ["d", "f"]);
    assert_eq!(files::names(&scene.export.join("d")), ["a", "b", "e"]);
    // What goes wrong cannot be said, and the rest is done.
    let mut command = words(&scene, &["rm", "-rv", "@none", "@none2", "@d"]);
    let status = command.stdout(closed()).stderr(closed()).status();
    assert_eq!(status.expect("blkcp can be started").code(), Some(5));
    assert_eq!(files::names(&scene.export), ["f"]);
}
