//! Copies of trees where links, or names that are the same file, would lead a copy or a removal elsewhere.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::support::client::{Outcome, blkcp_plain, start_unprivileged};
use super::support::daemon::Daemon;
use super::support::hosts::{Host, Hosts, Link};
use super::support::{Directory, ready};

const DATA: &str = "10.77.0.1:data";

/// A blockd with an export `data`, and directories beside it.
struct Scene {
    // Dropped in this order.
    _daemon: Daemon,
    hosts: Hosts,
    export: PathBuf,
    here: PathBuf,
    outside: PathBuf,
    directory: Directory,
}

impl Scene {
    /// `None`, said loudly, where it cannot be.
    fn of(test: &str) -> Option<Self> {
        Self::with(test, Daemon::start)
    }

    fn with(test: &str, start: fn(&Hosts, &Path, &Directory) -> Daemon) -> Option<Self> {
        if !ready(test) {
            return None;
        }
        let directory = Directory::new();
        let [export, here, outside] =
            ["export", "here", "outside"].map(|name| directory.subdirectory(name));
        let hosts = Hosts::up(Link::of(1500));
        Some(Self {
            _daemon: start(&hosts, &export, &directory),
            hosts,
            export,
            here,
            outside,
            directory,
        })
    }

    fn run(&self, options: &[&str], from: &str, to: &str) -> Outcome {
        blkcp_plain(
            &self.hosts,
            &self.directory,
            &[options, &[from, to]].concat(),
        )
    }

    /// What is at the server to here.
    fn get(&self, options: &[&str], from: &str) -> Outcome {
        let from = format!("{DATA}/{from}");
        self.run(options, &from, text(&self.here))
    }

    /// What is in a directory here to the server.
    fn put(&self, options: &[&str], to: &str) -> Outcome {
        let from = format!("{}/", text(&self.here));
        self.run(options, &from, &format!("{DATA}{to}"))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("test files have plain paths")
}

fn write(path: &Path, content: &str) {
    let parent = path.parent().expect("a path in a directory");
    fs::create_dir_all(parent).expect("cannot make a directory");
    fs::write(path, content).expect("cannot write a file");
}

fn link(to: impl AsRef<Path>, path: &Path) {
    symlink(to, path).expect("cannot make a link");
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn is_real_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// Small files, and one that goes alone.
fn fill(place: &Path) {
    for name in ["f", "g", "deep/f"] {
        write(&place.join(name), name);
    }
    write(&place.join("large"), &"x".repeat(3 << 20));
}

#[test]
fn a_get_does_not_leave_its_destination_through_a_link_of_an_earlier_get() {
    const TEST: &str = "a_get_does_not_leave_its_destination_through_a_link_of_an_earlier_get";
    for options in [
        &["-a"][..],
        &["-r"],
        &["-rI"],
        &["-a", "--delete"],
        &["-ru"],
    ] {
        let Some(scene) = Scene::of(TEST) else { return };
        link(&scene.outside, &scene.export.join("x"));
        scene.get(&["-a"], "").ok();
        assert!(fs::read_link(scene.here.join("x")).is_ok());
        // Now the same name is a directory at the server.
        fs::remove_file(scene.export.join("x")).expect("cannot remove a link");
        fill(&scene.export.join("x"));
        scene.get(options, "").ok();
        assert!(is_real_directory(&scene.here.join("x")), "{options:?}");
        assert_eq!(read(&scene.here.join("x/deep/f")), "deep/f");
        assert_eq!(read(&scene.here.join("x/large")).len(), 3 << 20);
        let left = fs::read_dir(&scene.outside).expect("a directory");
        assert_eq!(left.count(), 0, "{options:?}");
    }
}

#[test]
fn a_put_does_not_follow_a_link_in_the_place_of_a_directory() {
    const TEST: &str = "a_put_does_not_follow_a_link_in_the_place_of_a_directory";
    let Some(scene) = Scene::of(TEST) else { return };
    fill(&scene.here.join("x"));
    for options in [&["-a"][..], &["-rI"], &["-a", "--delete"]] {
        let _ = fs::remove_dir_all(scene.export.join("x"));
        let other = scene.export.join("other");
        write(&other.join("mine"), "mine");
        link("other", &scene.export.join("x"));
        // `other` is to stay: it is beside what is copied.
        let from = text(&scene.here.join("x")).to_owned();
        scene.run(options, &from, &format!("{DATA}/")).ok();
        assert!(is_real_directory(&scene.export.join("x")), "{options:?}");
        assert_eq!(read(&scene.export.join("x/deep/f")), "deep/f");
        assert_eq!(fs::read_dir(&other).expect("a directory").count(), 1);
        assert_eq!(read(&other.join("mine")), "mine");
    }
}

#[test]
fn nothing_behind_a_link_counts_as_there() {
    const TEST: &str = "nothing_behind_a_link_counts_as_there";
    let Some(scene) = Scene::of(TEST) else { return };
    fill(&scene.export.join("x"));
    scene.get(&["-a"], "").ok();
    fs::rename(scene.here.join("x"), scene.outside.join("x")).expect("cannot move");
    link(scene.outside.join("x"), &scene.here.join("x"));
    let copied = scene.get(&["-a", "--delete", "--remove-source-files"], "");
    assert_eq!(copied.ok().number("files"), 4);
    for place in [scene.here.join("x"), scene.outside.join("x")] {
        assert_eq!(read(&place.join("deep/f")), "deep/f");
    }
    assert!(!scene.export.join("x/f").exists());
}

#[test]
fn delete_leaves_what_is_in_a_directory_whose_source_was_skipped() {
    const TEST: &str = "delete_leaves_what_is_in_a_directory_whose_source_was_skipped";
    let Some(scene) = Scene::of(TEST) else { return };
    link("/nowhere", &scene.here.join("x"));
    write(&scene.here.join("d/f"), "f");
    write(&scene.export.join("x/mine"), "mine");
    write(&scene.export.join("d/extra"), "extra");
    let outcome = scene.put(&["-r", "--delete"], "/");
    outcome.fails(1, &["skipped"]);
    assert_eq!(read(&scene.export.join("x/mine")), "mine");
    assert!(!scene.export.join("d/extra").exists());
}

#[test]
fn a_destination_that_is_a_link_is_followed_only_with_a_slash() {
    const TEST: &str = "a_destination_that_is_a_link_is_followed_only_with_a_slash";
    let Some(scene) = Scene::of(TEST) else { return };
    write(&scene.here.join("f"), "f");
    write(&scene.export.join("other/mine"), "mine");
    link("other", &scene.export.join("photos"));
    for options in [&["-a", "--delete"][..], &["-rI"]] {
        let outcome = scene.put(options, "/photos");
        outcome.fails(7, &["photos", "symbolic link", "photos/"]);
        assert_eq!(read(&scene.export.join("other/mine")), "mine");
    }
    scene.put(&["-a", "--delete"], "/photos/").ok();
    assert!(fs::read_link(scene.export.join("photos")).is_ok());
    assert_eq!(read(&scene.export.join("other/f")), "f");
    assert!(!scene.export.join("other/mine").exists());
    // Here, the destination that was named may be one.
    let named = scene.directory.join("named");
    link(&scene.outside, &named);
    scene
        .run(&["-a"], &format!("{DATA}/other/"), text(&named))
        .ok();
    assert_eq!(read(&scene.outside.join("f")), "f");
    assert!(fs::read_link(&named).is_ok());
}

#[test]
fn single_names_are_links_where_they_are() {
    const TEST: &str = "single_names_are_links_where_they_are";
    let Some(scene) = Scene::of(TEST) else { return };
    let (file, single) = (scene.here.join("f"), scene.here.join("single"));
    write(&file, "f");
    link("/etc", &single);
    // Out of the export, to nothing, and to a file of the same content: each is replaced.
    write(&scene.export.join("same"), "f");
    for to in ["/etc/passwd", "nowhere", "same"] {
        let name = scene.export.join("name");
        let _ = fs::remove_file(&name);
        link(to, &name);
        scene.run(&[], text(&file), &format!("{DATA}/name")).ok();
        let found = fs::symlink_metadata(&name).expect("a file");
        assert!(found.is_file(), "{to}");
        assert_eq!(read(&name), "f");
    }
    let to = format!("{DATA}/single");
    for unchanged in [0, 1] {
        let outcome = scene.run(&["-l"], text(&single), &to);
        assert_eq!(outcome.ok().number("unchanged_files"), unchanged);
    }
    let leads = fs::read_link(scene.export.join("single")).expect("a link");
    assert_eq!(leads, Path::new("/etc"));
}

/// What is in a directory: one that cannot be entered or read again once it has its mode.
fn closed(place: &Path) {
    for (name, mode) in [("outer/inner", 0o000), ("outer", 0o200), ("plain", 0o100)] {
        let path = place.join(name);
        fs::create_dir_all(&path).expect("cannot make a directory");
        fs::write(path.join("f"), "f").expect("cannot write a file");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("cannot set a mode");
    }
}

fn assert_closed(place: &Path, source: &Path) {
    for (name, mode) in [("outer/inner", 0o000), ("outer", 0o200), ("plain", 0o100)] {
        let found = fs::metadata(place.join(name)).expect("a directory");
        assert_eq!(found.permissions().mode() & 0o777, mode, "{name}");
        let expected = fs::metadata(source.join(name)).expect("a directory");
        let times = |found: &fs::Metadata| (found.mtime(), found.mtime_nsec());
        assert_eq!(times(&found), times(&expected), "{name}");
    }
}

#[test]
fn directories_without_permissions_come_to_somebody_without_privileges() {
    const TEST: &str = "directories_without_permissions_come_to_somebody_without_privileges";
    let Some(scene) = Scene::of(TEST) else { return };
    closed(&scene.export);
    let words = ["-a", &format!("{DATA}/"), text(&scene.here)];
    start_unprivileged(&scene.hosts, Host::Client, &scene.directory, &words)
        .outcome()
        .ok();
    assert_closed(&scene.here, &scene.export);
}

#[test]
fn directories_without_permissions_are_put_to_a_blockd_without_privileges() {
    const TEST: &str = "directories_without_permissions_are_put_to_a_blockd_without_privileges";
    let Some(scene) = Scene::with(TEST, Daemon::start_unprivileged) else {
        return;
    };
    closed(&scene.here);
    scene.put(&["-a"], "/").ok();
    assert_closed(&scene.export, &scene.here);
}

#[test]
fn hard_links_go_at_the_source_and_what_was_there_already_does_not() {
    const TEST: &str = "hard_links_go_at_the_source_and_what_was_there_already_does_not";
    let Some(scene) = Scene::of(TEST) else { return };
    write(&scene.here.join("one"), "one");
    fs::hard_link(scene.here.join("one"), scene.here.join("two")).expect("cannot link");
    write(&scene.here.join("there"), "there");
    scene
        .put(&["-a", "--exclude=one", "--exclude=two"], "/")
        .ok();
    let moved = scene.put(&["-a", "--remove-source-files"], "/");
    assert_eq!(moved.ok().number("sources_removed"), 2);
    assert_eq!(moved.number("unchanged_files"), 1);
    assert!(scene.here.join("there").exists());
    for name in ["one", "two"] {
        assert!(!scene.here.join(name).exists());
        assert_eq!(read(&scene.export.join(name)), "one");
    }
}

#[test]
fn a_source_that_is_its_own_target_is_not_removed() {
    const TEST: &str = "a_source_that_is_its_own_target_is_not_removed";
    let Some(scene) = Scene::of(TEST) else { return };
    write(&scene.export.join("d/f"), "f");
    link("f", &scene.export.join("d/link"));
    let (here, there) = (format!("{}/", text(&scene.export)), format!("{DATA}/"));
    for options in [
        &["-a", "--remove-source-files"][..],
        &["-aI", "--remove-source-files"],
    ] {
        for (from, to) in [(&here, &there), (&there, &here)] {
            let outcome = scene.run(options, from, to);
            assert_eq!(outcome.ok().number("sources_removed"), 0, "{options:?}");
            assert_eq!(read(&scene.export.join("d/f")), "f");
            assert!(fs::read_link(scene.export.join("d/link")).is_ok());
        }
    }
}

#[test]
fn names_that_blockd_keeps_for_itself_are_left_out() {
    const TEST: &str = "names_that_blockd_keeps_for_itself_are_left_out";
    let Some(scene) = Scene::of(TEST) else { return };
    write(&scene.here.join(".blockd/partial"), "x");
    write(&scene.here.join("d/.f.blk-0123456789abcdef"), "x");
    write(&scene.here.join("d/f"), "f");
    let outcome = scene.put(&["-a"], "/");
    assert_eq!(outcome.ok().number("files"), 1);
    assert_eq!(read(&scene.export.join("d/f")), "f");
}

#[test]
fn a_single_file_has_its_name_in_the_list_of_changes() {
    const TEST: &str = "a_single_file_has_its_name_in_the_list_of_changes";
    let Some(scene) = Scene::of(TEST) else { return };
    let file = scene.here.join("f");
    write(&file, "f");
    let to = format!("{DATA}/f");
    scene.run(&[], text(&file), &to).ok();
    fs::set_permissions(&file, Permissions::from_mode(0o640)).expect("cannot set a mode");
    let outcome = scene.run(&["-ai"], text(&file), &to);
    let first = outcome.ok().stdout.lines().next();
    assert_eq!(first, Some(".f...p..... f"));
}
