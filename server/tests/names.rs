//! Names that go, and names that become others; also of what is being put or read.

mod common;

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use blk_datapath::files::PendingTarget;
use blk_proto::message::ErrorCode;
use blockd::namespace::{Job, Outcome};
use common::{
    EXPORT, Service, create, fill, make_directory, names, open, remove, remove_directory, rename,
    spec_of,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};

const HIDDEN: &str = ".x.blk-0123456789abcdef";

/// Directories, files and links of all kinds, within the export and out of it.
fn scene() -> Service {
    let service = Service::start();
    let export = service.export();
    for directory in ["a/directory", "a/full/x", ".blockd"] {
        fs::create_dir_all(export.join(directory)).unwrap();
    }
    for file in ["a/file", ".blockd/x", &format!("a/{HIDDEN}")] {
        fs::write(export.join(file), file).unwrap();
    }
    for (target, link) in [
        ("a/file", "link"),
        ("a", "way"),
        (".blockd", "in"),
        ("../outside", "out"),
    ] {
        symlink(target, export.join(link)).unwrap();
    }
    mknodat(CWD, export.join("a/fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    service
}

/// Nobody has touched what no path leads to.
#[track_caller]
fn is_untouched(service: &Service) {
    let export = service.export();
    for file in [".blockd/x", &format!("a/{HIDDEN}"), "../outside/secret"] {
        assert!(export.join(file).is_file(), "{file}");
    }
}

#[track_caller]
fn removed(service: &Service, job: Job) {
    let outcome = service.ask(job);
    assert!(matches!(outcome, Outcome::Removed), "{outcome:?}");
}

#[track_caller]
fn renamed(service: &Service, from: &str, to: &str, replace: bool) {
    let outcome = service.ask(rename(from.as_bytes(), to.as_bytes(), replace));
    assert!(matches!(outcome, Outcome::Renamed), "{outcome:?}");
}

#[track_caller]
fn committed(service: &Service, target: PendingTarget) {
    let outcome = service.ask(Job::Commit { target });
    assert!(matches!(outcome, Outcome::Committed), "{outcome:?}");
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn names_are_removed_and_links_are_not_followed_at_their_end() {
    let service = scene();
    let hidden = format!("a/{HIDDEN}");
    let refused = [
        ("", ErrorCode::IsDirectory),
        ("a", ErrorCode::IsDirectory),
        ("a/directory", ErrorCode::IsDirectory),
        ("a/none", ErrorCode::NotFound),
        ("a/file/x", ErrorCode::NotDirectory),
        ("../outside/secret", ErrorCode::OutsideExport),
        ("out/secret", ErrorCode::OutsideExport),
        ("in/x", ErrorCode::OutsideExport),
        (".blockd/x", ErrorCode::InvalidName),
        (".blockd", ErrorCode::InvalidName),
        (&hidden, ErrorCode::InvalidName),
    ];
    for (path, code) in refused {
        let failure = service.refused(remove(path.as_bytes()));
        assert_eq!(failure.code, code, "{path}: {}", failure.message);
        let says = failure.message.starts_with("cannot remove ");
        assert!(says, "{path}: {}", failure.message);
    }
    for gone in ["link", "in", "out", "a/fifo", "way/file"] {
        removed(&service, remove(gone.as_bytes()));
    }
    let export = service.export();
    assert_eq!(names(&export), [".blockd", "a", "way"]);
    assert_eq!(names(&export.join("a")), [HIDDEN, "directory", "full"]);
    is_untouched(&service);
}

#[test]
fn empty_directories_are_removed_and_nothing_else() {
    let service = scene();
    let refused = [
        ("", ErrorCode::InvalidName),
        (".blockd", ErrorCode::InvalidName),
        ("a", ErrorCode::NotEmpty),
        ("a/full", ErrorCode::NotEmpty),
        ("a/none", ErrorCode::NotFound),
        ("a/file", ErrorCode::NotDirectory),
        ("way", ErrorCode::NotDirectory),
        ("in", ErrorCode::NotDirectory),
        ("../outside", ErrorCode::OutsideExport),
        ("out/x", ErrorCode::OutsideExport),
    ];
    for (path, code) in refused {
        let failure = service.refused(remove_directory(path.as_bytes()));
        assert_eq!(failure.code, code, "{path}: {}", failure.message);
    }
    for gone in ["way/directory", "a/full/x", "a/full"] {
        removed(&service, remove_directory(gone.as_bytes()));
    }
    assert_eq!(names(&service.export().join("a")), [HIDDEN, "fifo", "file"]);
    is_untouched(&service);
}

#[test]
fn names_become_others_within_the_export() {
    let service = scene();
    let export = service.export();
    renamed(&service, "a/file", "b", false);
    assert_eq!(read(&export.join("b")), "a/file");
    // A link gets the name itself; the ways to both may have some.
    renamed(&service, "link", "way/directory/moved", false);
    assert!(export.join("a/directory/moved").is_symlink());
    renamed(&service, "a/full", "full", false);
    assert_eq!(names(&export.join("full")), ["x"]);
    renamed(&service, "a/fifo", "a/directory/fifo", false);
    let left = [".blockd", "a", "b", "full", "in", "out", "way"];
    assert_eq!(names(&export), left);
    assert_eq!(names(&export.join("a")), [HIDDEN, "directory"]);
    is_untouched(&service);
}

#[test]
fn what_cannot_be_renamed_stays_where_it_is() {
    let service = scene();
    let export = service.export();
    fs::write(export.join("b"), "b").unwrap();
    let hidden = format!("a/{HIDDEN}");
    let refused = [
        ("", "c", true, ErrorCode::InvalidName),
        ("a", "", true, ErrorCode::InvalidName),
        ("none", "c", false, ErrorCode::NotFound),
        ("b", "none/c", false, ErrorCode::NotFound),
        ("b", "a/file/c", false, ErrorCode::NotDirectory),
        ("b", "a/file", false, ErrorCode::Exists),
        ("b", "link", false, ErrorCode::Exists),
        ("b", "a", false, ErrorCode::Exists),
        ("b", "a/directory", true, ErrorCode::IsDirectory),
        ("a/directory", "b", true, ErrorCode::NotDirectory),
        ("a/directory", "a/full", true, ErrorCode::NotEmpty),
        ("a", "a/directory/a", true, ErrorCode::InvalidName),
        ("b", "../outside/b", true, ErrorCode::OutsideExport),
        ("b", "out/b", true, ErrorCode::OutsideExport),
        ("out/secret", "c", true, ErrorCode::OutsideExport),
        ("in/x", "c", true, ErrorCode::OutsideExport),
        ("b", "in/b", true, ErrorCode::OutsideExport),
        ("b", ".blockd", true, ErrorCode::InvalidName),
        (".blockd", "c", true, ErrorCode::InvalidName),
        (&hidden, "c", true, ErrorCode::InvalidName),
        ("b", &hidden, true, ErrorCode::InvalidName),
    ];
    for (from, to, replace, code) in refused {
        let failure = service.refused(rename(from.as_bytes(), to.as_bytes(), replace));
        assert_eq!(failure.code, code, "{from} {to}: {}", failure.message);
        let says = failure.message.starts_with("cannot rename ");
        assert!(says, "{from} {to}: {}", failure.message);
    }
    assert_eq!(read(&export.join("b")), "b");
    assert_eq!(read(&export.join("a/file")), "a/file");
    is_untouched(&service);
}

#[test]
fn what_has_the_name_makes_room_when_it_shall() {
    let service = scene();
    let export = service.export();
    fs::write(export.join("b"), "b").unwrap();
    renamed(&service, "b", "a/file", true);
    assert_eq!(read(&export.join("a/file")), "b");
    // Of a link it is the link that makes room.
    renamed(&service, "a/file", "link", true);
    assert!(!export.join("link").is_symlink());
    assert_eq!(read(&export.join("link")), "b");
    renamed(&service, "a/full", "a/directory", true);
    assert_eq!(names(&export.join("a/directory")), ["x"]);
    is_untouched(&service);
}

#[test]
fn of_two_names_of_one_file_the_old_one_goes() {
    let service = scene();
    let export = service.export();
    for link in ["a/second", "third"] {
        fs::hard_link(export.join("a/file"), export.join(link)).unwrap();
    }
    fs::hard_link(export.join("a/fifo"), export.join("pipe")).unwrap();
    service.refused_with(rename(b"a/file", b"third", false), ErrorCode::Exists);
    renamed(&service, "a/file", "a/second", true);
    renamed(&service, "a/second", "third", true);
    renamed(&service, "pipe", "a/fifo", true);
    let left = [".blockd", "a", "in", "link", "out", "third", "way"];
    assert_eq!(names(&export), left);
    assert_eq!(
        names(&export.join("a")),
        [HIDDEN, "directory", "fifo", "full"]
    );
    assert_eq!(read(&export.join("third")), "a/file");
    is_untouched(&service);
}

#[test]
fn one_name_is_not_renamed_to_itself_and_stays() {
    let service = scene();
    let export = service.export();
    fs::hard_link(export.join("a/file"), export.join("second")).unwrap();
    // By another way, too.
    for (from, to) in [
        ("a/file", "a/file"),
        ("a/file", "way/file"),
        ("way/fifo", "a/fifo"),
        ("a/full", "way/full"),
        ("link", "link"),
    ] {
        let failure = service.refused(rename(from.as_bytes(), to.as_bytes(), true));
        assert_eq!(failure.code, ErrorCode::InvalidName, "{from} {to}");
        let says = failure.message.contains("one name");
        assert!(says, "{from} {to}: {}", failure.message);
        let kept = rename(from.as_bytes(), to.as_bytes(), false);
        service.refused_with(kept, ErrorCode::Exists);
    }
    assert_eq!(
        names(&export.join("a")),
        [HIDDEN, "directory", "fifo", "file", "full"]
    );
    assert!(export.join("link").is_symlink());
}

#[test]
fn a_directory_is_not_made_where_a_link_leads_to_nothing() {
    let service = scene();
    symlink("nothing", service.export().join("a/dangling")).unwrap();
    let failure = service.refused(make_directory(b"a/dangling", 0o755));
    assert_eq!(failure.code, ErrorCode::Exists, "{}", failure.message);
    assert!(!service.export().join("a/nothing").exists());
    service.refused_with(
        make_directory(b"a/dangling/below", 0o755),
        ErrorCode::NotFound,
    );
}

#[test]
fn a_put_takes_its_name_with_its_commit_whatever_became_of_the_name() {
    let service = Service::start();
    let export = service.export();
    fs::write(export.join("x"), "old").unwrap();
    fs::write(export.join("y"), "other").unwrap();
    for change in [
        remove(b"x"),
        rename(b"y", b"x", true),
        rename(b"x", b"z", false),
    ] {
        let target = service.created(b"x", 3);
        fill(&target, b"new");
        let outcome = service.ask(change);
        assert!(matches!(outcome, Outcome::Removed | Outcome::Renamed));
        committed(&service, target);
        assert_eq!(read(&export.join("x")), "new");
    }
    assert_eq!(read(&export.join("z")), "new");
    assert_eq!(names(&export), ["x", "z"]);
}

#[test]
fn a_put_goes_with_its_directory() {
    let service = Service::start();
    let export = service.export();
    service.ask(make_directory(b"d", 0o755));
    let target = service.created(b"d/x", 3);
    fill(&target, b"new");
    renamed(&service, "d", "e", false);
    service.ask(make_directory(b"d", 0o755));
    committed(&service, target);
    assert_eq!(read(&export.join("e/x")), "new");
    assert!(names(&export.join("d")).is_empty());
}

#[test]
fn a_put_of_which_the_directory_is_gone_is_refused() {
    let service = Service::start();
    service.ask(make_directory(b"d", 0o755));
    let resumable = Job::CreateTarget {
        export: EXPORT.to_owned(),
        path: b"d/y".to_vec(),
        spec: spec_of(3),
        identity: Some([7; 16]),
        holes: Vec::new(),
    };
    let targets = [create(b"d/x", 3), resumable].map(|job| match service.ask(job) {
        Outcome::TargetReady(target) => target,
        outcome => panic!("{outcome:?}"),
    });
    removed(&service, remove_directory(b"d"));
    for target in targets {
        fill(&target, b"new");
        service.refused_with(Job::Commit { target }, ErrorCode::NotFound);
    }
    assert!(!service.export().join("d").exists());
}

#[test]
fn what_is_read_while_its_name_changes_is_there_and_counts_as_changed() {
    let service = Service::start();
    fs::write(service.export().join("x"), "whole").unwrap();
    for (name, change) in [("x", rename(b"x", b"y", false)), ("y", remove(b"y"))] {
        let Outcome::SourceReady(source) = service.ask(open(name.as_bytes())) else {
            panic!("it cannot be opened");
        };
        let outcome = service.ask(change);
        assert!(matches!(outcome, Outcome::Removed | Outcome::Renamed));
        assert!(
            !source.unchanged().unwrap(),
            "a read must not be answered as good"
        );
        let number = source.file().as_fd().as_raw_fd();
        assert_eq!(read(Path::new(&format!("/proc/self/fd/{number}"))), "whole");
    }
    assert!(names(&service.export()).is_empty());
}
