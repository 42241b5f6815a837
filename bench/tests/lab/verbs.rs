//! The verbs of blkcp, good and bad, with their exit codes.

mod meanwhile;
mod pipes;
mod rename;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::support::client::{Outcome, Running, start_over};
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::{Directory, binary, files, must, ready};

pub const SERVER: &str = "10.77.0.1";

/// A blockd with an export `data` to write to, `other`, and `fixed`, which is mounted read-only.
pub struct Scene {
    // Dropped in this order.
    _daemon: Daemon,
    pub hosts: Hosts,
    pub export: PathBuf,
    _fixed: ReadOnly,
    pub directory: Directory,
}

/// A read-only mount of a directory. Undone when dropped.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn of(source: &PathBuf, place: PathBuf) -> Self {
        must(Command::new("mount").arg("--bind").args([source, &place]));
        let mount = Self(place);
        let options = ["-o", "remount,bind,ro"];
        must(Command::new("mount").args(options).arg(&mount.0));
        mount
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

impl Scene {
    pub fn new() -> Self {
        let directory = Directory::new();
        let [export, other] = ["export", "other"].map(|name| directory.subdirectory(name));
        let source = directory.subdirectory("source");
        fs::create_dir(source.join("empty")).expect("cannot make a directory");
        fs::write(source.join("file"), "fixed").expect("cannot write a file");
        let fixed = ReadOnly::of(&source, directory.subdirectory("fixed"));
        let hosts = Hosts::up(Link::of(1500));
        let exports = [("data", &*export), ("other", &*other), ("fixed", &*fixed.0)];
        Self {
            _daemon: Daemon::start_with(&hosts, &exports, &directory),
            hosts,
            export,
            _fixed: fixed,
            directory,
        }
    }

    pub fn command(&self, verb: &str) -> Command {
        let mut command = self.hosts.command(Host::Client, binary("blkcp"));
        command.arg(verb);
        command
    }

    /// A verb with its words; `@` stands for the server and the export `data`.
    pub fn run(&self, verb: &str, words: &[&str]) -> Outcome {
        let words = words.iter().map(|word| at(word));
        Running::start(self.command(verb).args(words), &self.directory).outcome()
    }

    pub fn make(&self, directories: &[&str], files: &[(&str, &str)]) {
        for directory in directories {
            fs::create_dir_all(self.export.join(directory)).expect("cannot make a directory");
        }
        for (file, text) in files {
            fs::write(self.export.join(file), text).expect("cannot write a file");
        }
    }

    pub fn text(&self, file: &str) -> String {
        fs::read_to_string(self.export.join(file)).expect("a file that can be read")
    }
}

pub fn at(word: &str) -> String {
    match word.strip_prefix('@') {
        Some(path) => format!("{SERVER}:data/{path}"),
        None => word.replace("HOST", SERVER),
    }
}

/// The lines of JSON that it printed; every key must be documented.
#[track_caller]
pub fn json(outcome: &Outcome) -> Vec<Value> {
    let documentation = include_str!("../../../docs/operations.md");
    let mut lines = Vec::new();
    for line in outcome.stdout.lines() {
        let value: Value = serde_json::from_str(line).expect("a line of JSON");
        for key in value.as_object().expect("an object").keys() {
            let is_told = documentation.contains(&format!("`{key}`"));
            assert!(is_told, "{key} is not documented");
        }
        lines.push(value);
    }
    lines
}

#[test]
fn ls_lists() {
    if !ready("ls_lists") {
        return;
    }
    let scene = Scene::new();
    let large = "x".repeat(1536);
    scene.make(
        &["d/deep/deeper"],
        &[("d/a", "1"), ("d/.hidden", ""), ("d/deep/b", &large)],
    );
    symlink("a", scene.export.join("d/link")).expect("cannot make a link");
    let listed = scene.run("ls", &["@d"]);
    assert_eq!(listed.ok().stdout, "a\ndeep\nlink\n");
    assert!(!scene.hosts.has_xdp(Host::Client), "for a list");
    let all = scene.run("ls", &["-a", "@d/"]);
    assert_eq!(all.ok().stdout, ".hidden\na\ndeep\nlink\n");

    let long = scene.run("ls", &["-lh", "@d/deep", "@d/a"]);
    let lines: Vec<&str> = long.ok().stdout.lines().collect();
    assert_eq!(lines[0], at("@d/deep") + ":");
    let has = |line: &str, begin: &str, end: &str| line.starts_with(begin) && line.ends_with(end);
    assert!(has(lines[1], "-rw-r--r-- 1.5K 20", " b"), "{lines:?}");
    assert!(has(lines[2], "drwxr-xr-x ", " deeper"), "{lines:?}");
    assert!(has(lines[3], "-rw-r--r-- 1 20", &at("@d/a")), "{lines:?}");

    let below = scene.run("ls", &["-R", "@d"]);
    let [d, deep, deeper] = ["@d", "@d/deep", "@d/deep/deeper"].map(at);
    let expected = format!("{d}:\na\ndeep\nlink\n\n{deep}:\nb\ndeeper\n\n{deeper}:\n");
    assert_eq!(below.ok().stdout, expected);

    let entries = json(scene.run("ls", &["-R", "--json", "@d"]).ok());
    let paths: Vec<&str> = entries.iter().filter_map(|e| e["path"].as_str()).collect();
    assert_eq!(
        paths,
        ["d/a", "d/deep", "d/link", "d/deep/b", "d/deep/deeper"]
    );
    let b = &entries[3];
    assert_eq!((&b["kind"], &b["size"]), (&"file".into(), &1536.into()));
    assert_eq!((&b["host"], &b["mode"]), (&SERVER.into(), &"0644".into()));

    scene.run("ls", &["@none"]).fails(5, &["none"]);
    scene.run("ls", &["@d/a/"]).fails(7, &["directory"]);
    scene.run("ls", &["@../x"]).fails(6, &["outside"]);
    scene.run("ls", &["HOST:nowhere"]).fails(5, &["nowhere"]);
    scene.run("ls", &["local"]).fails(2, &["HOST:EXPORT/PATH"]);
    scene.run("ls", &[]).fails(2, &["usage"]);
    let some = scene.run("ls", &["@none", "@d/deep/deeper", "@d/a"]);
    some.fails(5, &["none"]);
    assert!(
        some.stdout.ends_with(&format!("{}\n", at("@d/a"))),
        "{}",
        some.stdout
    );
    let there = scene.run("ls", &["--datapath", "copy", "@d"]);
    assert_eq!(there.ok().stdout, "a\ndeep\nlink\n");
}

#[test]
fn names_that_are_no_text_are_raw_in_a_pipe_and_quoted_on_a_terminal() {
    if !ready("names_that_are_no_text_are_raw_in_a_pipe_and_quoted_on_a_terminal") {
        return;
    }
    let scene = Scene::new();
    for name in [&b"\xff\xfe"[..], b"new\nline"] {
        fs::write(scene.export.join(OsStr::from_bytes(name)), "x").expect("cannot write a file");
    }
    let piped = scene.command("ls").arg(at("@")).output();
    let piped = piped.expect("blkcp can be started");
    assert_eq!(piped.stdout, b"new\nline\n\xff\xfe\n");
    let listed = scene.run("ls", &["--json", "@"]);
    assert_eq!(json(listed.ok())[1]["path_hex"], "fffe");
    // Removed by its bytes.
    let mut word = at("@").into_bytes();
    word.extend(b"\xff\xfe");
    let removed = scene.command("rm").arg(OsStr::from_bytes(&word)).status();
    assert!(removed.is_ok_and(|status| status.success()));
    // script(1) gives it a terminal.
    let line = format!("{} ls {}", binary("blkcp").display(), at("@"));
    for (no_color, directory) in [("", "\u{1b}[1;34md\u{1b}[0m"), ("1", "d")] {
        scene.make(&["d"], &[]);
        let mut command = scene.hosts.command(Host::Client, "script");
        command.args(["-qec", &line, "/dev/null"]);
        command.env("NO_COLOR", no_color).env("TERM", "xterm");
        let shown = command.stdin(Stdio::null()).output();
        let shown = shown.expect("script(1) can be started");
        let shown = String::from_utf8_lossy(&shown.stdout).replace("\r\n", "\n");
        assert_eq!(shown, format!("{directory}\n$'new\\nline'\n"));
    }
}

#[test]
fn stat_tells() {
    if !ready("stat_tells") {
        return;
    }
    let scene = Scene::new();
    scene.make(&["d"], &[("d/a", "12345")]);
    symlink("d/a", scene.export.join("link")).expect("cannot make a link");
    symlink("/etc/passwd", scene.export.join("out")).expect("cannot make a link");
    let told = json(scene.run("stat", &["--json", "@link", "@d", "@"]).ok());
    let metadata = fs::metadata(scene.export.join("d/a")).expect("it is there");
    let time = metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec();
    assert_eq!(
        (&told[0]["kind"], &told[0]["size"]),
        (&"file".into(), &5.into())
    );
    assert_eq!(
        (&told[0]["path"], &told[0]["mtime_ns"]),
        (&"link".into(), &time.into())
    );
    assert_eq!(told[1]["kind"], "directory");
    assert_eq!(
        (&told[2]["path"], &told[2]["kind"]),
        (&"".into(), &"directory".into())
    );
    let text = scene.run("stat", &["@d/a"]);
    for line in ["Kind: file", "Size: 5", "Mode: 0644 (-rw-r--r--)", "UTC"] {
        assert!(text.ok().stdout.contains(line), "{}", text.stdout);
    }
    scene.run("stat", &["@none"]).fails(5, &["none"]);
    scene.run("stat", &["@d/a/"]).fails(7, &["directory"]);
    scene.run("stat", &["@out"]).fails(6, &["outside"]);
    scene
        .run("stat", &["--port", "7999", "@d"])
        .fails(3, &["7999"]);
    scene.run("stat", &[]).fails(2, &["usage"]);
}

#[test]
fn mkdir_makes() {
    if !ready("mkdir_makes") {
        return;
    }
    let scene = Scene::new();
    scene.make(&[], &[("file", "x")]);
    scene.run("mkdir", &["@a", "@a/b"]).ok();
    scene
        .run("mkdir", &["-p", "--mode", "700", "@c/d/e", "@a"])
        .ok();
    let mode = |path: &str| {
        let found = fs::metadata(scene.export.join(path));
        found.expect("it is there").mode() & 0o7777
    };
    assert_eq!((mode("a/b"), mode("c/d/e")), (0o755, 0o700));
    scene.run("mkdir", &["@a"]).fails(14, &["already"]);
    scene.run("mkdir", &["@file"]).fails(14, &["already"]);
    scene.run("mkdir", &["@"]).fails(14, &["already"]);
    symlink("nothing", scene.export.join("link")).expect("cannot make a link");
    scene.run("mkdir", &["@link"]).fails(14, &["link"]);
    scene.run("mkdir", &["@x/y"]).fails(5, &["x", "-p"]);
    scene.run("mkdir", &["@file/y"]).fails(7, &["directory"]);
    scene
        .run("mkdir", &["-p", "@file"])
        .fails(7, &["directory"]);
    scene.run("mkdir", &["-p", "@../y"]).fails(6, &["outside"]);
    scene
        .run("mkdir", &["-p", "@.blockd"])
        .fails(6, &["blockd"]);
    scene
        .run("mkdir", &["HOST:fixed/new"])
        .fails(9, &["read-only"]);
    scene
        .run("mkdir", &["--mode", "999", "@z"])
        .fails(2, &["octal"]);
    let made = scene.run("mkdir", &["--json", "@a", "@z"]);
    let made = json(made.fails(14, &["already"]));
    assert_eq!(
        (&made[0]["made"], &made[1]["made"]),
        (&false.into(), &true.into())
    );
    assert_eq!(files::names(&scene.export), ["a", "c", "file", "link", "z"]);
}

#[test]
fn rm_removes() {
    if !ready("rm_removes") {
        return;
    }
    let scene = Scene::new();
    let outside = scene.directory.subdirectory("outside");
    fs::write(outside.join("secret"), "x").expect("cannot write a file");
    scene.make(
        &["tree/a/b", "tree/c", "kept"],
        &[
            ("x", ""),
            ("y", ""),
            ("tree/a/b/f", ""),
            ("tree/a/g", ""),
            ("kept/f", ""),
        ],
    );
    for name in 0..200 {
        fs::write(scene.export.join(format!("tree/c/{name}")), "x").expect("cannot write a file");
    }
    for (target, link) in [
        ("../../kept", "tree/a/link"),
        ("../outside", "out"),
        ("tree", "way"),
    ] {
        symlink(target, scene.export.join(link)).expect("cannot make a link");
    }
    scene.run("rm", &["@x", "@out"]).ok();
    scene.run("rm", &["@x"]).fails(5, &["x"]);
    scene.run("rm", &["-f", "@x", "@y"]).ok();
    assert_eq!(files::names(&scene.export), ["kept", "tree", "way"]);
    scene.run("rm", &["@tree"]).fails(7, &["-r"]);
    scene.run("rm", &["-r", "@way/"]).fails(7, &["directory"]);
    let dry = scene.run("rm", &["-r", "--dry-run", "@tree"]);
    let lines: Vec<&str> = dry.ok().stdout.lines().collect();
    assert_eq!(lines.len(), 2 + 1 + 200 + 4, "{}", dry.stdout);
    assert_eq!(
        lines.last().copied(),
        Some(&*format!("would remove {}", at("@tree")))
    );
    assert!(scene.export.join("tree/a/b/f").exists());
    let removed = json(scene.run("rm", &["-r", "--json", "@tree"]).ok());
    assert_eq!(removed.len(), lines.len());
    let kinds = |kind: &str| removed.iter().filter(|one| one["kind"] == kind).count();
    let kinds = ["file", "symlink", "directory"].map(kinds);
    assert_eq!(kinds, [202, 1, 4]);
    scene.run("rm", &["-rv", "@way"]).ok();
    assert_eq!(files::names(&scene.export), ["kept"]);
    assert_eq!(files::names(&scene.export.join("kept")), ["f"]);
    assert_eq!(files::names(&outside), ["secret"]);

    for root in ["@", "HOST:data"] {
        scene
            .run("rm", &["-rf", "@kept", root])
            .fails(2, &["export"]);
    }
    scene.run("rm", &["-r", "@kept/.."]).fails(6, &["outside"]);
    scene.run("rm", &["-r", "@."]).fails(6, &["name"]);
    scene.run("rm", &["@kept/f/g"]).fails(7, &["directory"]);
    scene.run("rm", &[]).fails(2, &["usage"]);
    for words in [&["HOST:fixed/file"][..], &["-r", "HOST:fixed/empty"]] {
        scene.run("rm", words).fails(9, &["read-only"]);
    }
    // What cannot go is named, and the rest goes.
    scene.make(&["t/a", "t/b"], &[("t/a/f", ""), ("t/b/f", "")]);
    must(
        Command::new("chattr")
            .arg("+i")
            .arg(scene.export.join("t/a")),
    );
    let some = scene.run("rm", &["-r", "@t"]);
    must(
        Command::new("chattr")
            .arg("-i")
            .arg(scene.export.join("t/a")),
    );
    some.fails(9, &["t/a/f"]);
    assert_eq!(files::names(&scene.export.join("t")), ["a"]);
    assert_eq!(files::names(&scene.export), ["kept", "t"]);
}

#[test]
fn du_sums_up() {
    if !ready("du_sums_up") {
        return;
    }
    let scene = Scene::new();
    scene.make(
        &["d/e/f"],
        &[("d/a", "12"), ("d/e/b", "345"), ("d/e/f/c", "6789")],
    );
    symlink("a", scene.export.join("d/link")).expect("cannot make a link");
    let [d, e, f] = ["@d", "@d/e", "@d/e/f"].map(at);
    let all = scene.run("du", &["@d"]);
    assert_eq!(all.ok().stdout, format!("4\t{f}\n7\t{e}\n9\t{d}\n"));
    let some = scene.run("du", &["-s", "@d", "@d/a"]);
    assert_eq!(some.ok().stdout, format!("9\t{d}\n2\t{d}/a\n"));
    fs::File::create(scene.export.join("d/large"))
        .and_then(|file| file.set_len(3 << 30))
        .expect("cannot make a file");
    let human = scene.run("du", &["-sh", "@d/large"]);
    assert_eq!(human.ok().stdout, format!("3.0G\t{d}/large\n"));
    let told = json(scene.run("du", &["-s", "--json", "@d"]).ok());
    assert_eq!(
        (&told[0]["files"], &told[0]["directories"]),
        (&4.into(), &3.into())
    );
    assert_eq!(told[0]["bytes"], (3_u64 << 30) + 9);
    must(Command::new("mkfifo").arg(scene.export.join("fifo")));
    let told = json(scene.run("du", &["--json", "@fifo"]).ok());
    assert_eq!(
        (&told[0]["files"], &told[0]["bytes"]),
        (&0.into(), &0.into())
    );
    scene.run("du", &["@none"]).fails(5, &["none"]);
    scene.run("du", &["@d/a/"]).fails(7, &["directory"]);
    scene.run("du", &["@d/.."]).fails(6, &["outside"]);
    scene.run("du", &["d"]).fails(2, &["HOST:EXPORT/PATH"]);
}

#[test]
fn every_verb_has_a_page_and_is_completed() {
    if !ready("every_verb_has_a_page_and_is_completed") {
        return;
    }
    let blkcp = |words: &[&str]| must(Command::new(binary("blkcp")).args(words));
    let script = blkcp(&["--completions", "bash"]);
    for verb in [
        "ls", "stat", "mkdir", "mv", "rm", "du", "cat", "ping", "measure",
    ] {
        let page = blkcp(&[verb, "--man"]);
        let title = page.contains(&format!("blkcp\\-{verb}"));
        assert!(title && page.contains("\\-\\-timeout"), "{page}");
        assert!(
            script.contains(&format!("blkcp__subcmd__{verb}"))
                || script.contains(&format!("blkcp__{verb}"))
        );
        let help = blkcp(&[verb, "--help"]);
        assert!(help.contains(&format!("Usage: blkcp {verb}")), "{help}");
    }
}

/// A file whose name is that of a verb can be copied.
#[test]
fn a_file_with_the_name_of_a_verb_is_copied() {
    if !ready("a_file_with_the_name_of_a_verb_is_copied") {
        return;
    }
    let scene = Scene::new();
    let file = scene.directory.join("ls");
    files::write(&file, 1000, 1);
    let mut command = scene.hosts.command(Host::Client, binary("blkcp"));
    command.current_dir(file.parent().expect("a directory"));
    command.args(["--datapath", "udp", "./ls", &at("@")]);
    Running::start(&mut command, &scene.directory)
        .outcome()
        .ok();
    files::assert_same(&file, &scene.export.join("ls"));
    let other = [file.to_str().expect("a plain path").to_owned(), at("@d/")];
    start_over(&scene.hosts, Host::Client, "udp", &scene.directory, &other)
        .outcome()
        .ok();
}
