//! Nothing outside an export can be read, written, replaced or looked at.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use blk_proto::message::{ErrorCode, FileKind};
use blockd::exports::{ExportError, ExportSpec, Exports};
use blockd::namespace::{Job, Outcome};
use common::{Service, create, list, make_directory, names, open, stat};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Every operation on a path, all to be refused with the same code.
fn all_refused(service: &Service, path: &[u8], code: ErrorCode) {
    for job in [
        open(path),
        stat(path),
        list(path, 0),
        create(path, 1),
        make_directory(path, 0o755),
    ] {
        let text = format!("{job:?}");
        let failure = service.refused(job);
        assert_eq!(failure.code, code, "{text}: {}", failure.message);
    }
}

#[test]
fn paths_that_climb_are_refused() {
    let service = Service::start();
    for path in [
        &b"../outside/secret"[..],
        b"..",
        b"a/../../outside/secret",
        b"/etc/passwd",
        b"/",
    ] {
        all_refused(&service, path, ErrorCode::OutsideExport);
    }
    assert!(names(&service.export()).is_empty());
}

#[test]
fn paths_that_are_none_are_refused() {
    let service = Service::start();
    let long = [b'n'; 256];
    let deep = b"a/".repeat(3000);
    for path in [
        &b"."[..],
        b"a//b",
        b"a/",
        b"a\0b",
        b".x.blk-0123456789abcdef",
        &long,
        &deep,
    ] {
        all_refused(&service, path, ErrorCode::InvalidName);
    }
    let failure = service.refused(open(b"a//b"));
    assert_eq!(failure.message, "cannot open \"a//b\": the name is empty");
    assert!(names(&service.export()).is_empty());
}

#[test]
fn links_out_of_the_export_are_refused() {
    let service = Service::start();
    let export = service.export();
    symlink("../outside", export.join("relative")).unwrap();
    symlink(service.root.path().join("outside"), export.join("absolute")).unwrap();
    symlink("/proc/self/cwd", export.join("magic")).unwrap();
    for link in ["relative", "absolute", "magic"] {
        let inside = format!("{link}/secret");
        all_refused(&service, inside.as_bytes(), ErrorCode::OutsideExport);
        let failure = service.refused(list(link.as_bytes(), 0));
        assert_eq!(failure.code, ErrorCode::OutsideExport);
        let failure = service.refused(create(format!("{link}/new/x").as_bytes(), 1));
        assert_eq!(failure.code, ErrorCode::OutsideExport);
    }
    assert_eq!(names(&service.root.path().join("outside")), ["secret"]);
}

#[test]
fn link_to_a_file_outside_is_not_read_and_is_replaced_by_a_put() {
    let service = Service::start();
    let (link, secret) = (
        service.export().join("x"),
        service.root.path().join("outside/secret"),
    );
    symlink(&secret, &link).unwrap();
    for job in [open(b"x"), stat(b"x")] {
        let failure = service.refused(job);
        assert_eq!(failure.code, ErrorCode::OutsideExport);
        assert!(
            failure.message.contains("outside the export"),
            "{}",
            failure.message
        );
    }
    assert!(matches!(service.put(b"x", b"new"), Outcome::Committed));
    assert_eq!(fs::read(&secret).unwrap(), b"secret");
    assert!(fs::symlink_metadata(&link).unwrap().is_file());
    assert_eq!(fs::read(&link).unwrap(), b"new");
}

#[test]
fn links_within_the_export_are_followed() {
    let service = Service::start();
    let export = service.export();
    fs::create_dir_all(export.join("a/b")).unwrap();
    fs::write(export.join("a/file"), "12345").unwrap();
    // Up, but not out.
    symlink("../file", export.join("a/b/link")).unwrap();
    symlink("a/b", export.join("short")).unwrap();
    let Outcome::SourceReady(source) = service.ask(open(b"short/link")) else {
        panic!("not opened");
    };
    assert_eq!(source.attributes().size, 5);
    let Outcome::Attributes(attributes) = service.ask(stat(b"a/b/link")) else {
        panic!("no attributes");
    };
    assert_eq!((attributes.kind, attributes.size), (FileKind::File, 5));
    assert!(matches!(
        service.put(b"short/new/x", b"1"),
        Outcome::Committed
    ));
    assert_eq!(fs::read(export.join("a/b/new/x")).unwrap(), b"1");
}

#[test]
fn links_in_circles_and_to_nothing_end() {
    let service = Service::start();
    symlink("circle", service.export().join("circle")).unwrap();
    symlink("nothing", service.export().join("dangling")).unwrap();
    service.refused_with(open(b"circle"), ErrorCode::OutsideExport);
    service.refused_with(open(b"dangling"), ErrorCode::NotFound);
    service.refused_with(create(b"dangling/x", 1), ErrorCode::NotFound);
    service.refused_with(make_directory(b"dangling", 0o755), ErrorCode::Exists);
}

#[test]
fn special_files_and_directories_are_told_apart_without_a_hang() {
    let service = Service::start();
    let export = service.export();
    mknodat(CWD, export.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    fs::create_dir(export.join("d")).unwrap();
    fs::write(export.join("f"), "").unwrap();
    let started = Instant::now();
    for (job, code) in [
        (open(b"fifo"), ErrorCode::Unsupported),
        (create(b"fifo", 1), ErrorCode::Unsupported),
        (open(b"d"), ErrorCode::IsDirectory),
        (create(b"d", 1), ErrorCode::IsDirectory),
        (open(b""), ErrorCode::IsDirectory),
        (create(b"", 1), ErrorCode::IsDirectory),
        (open(b"f/x"), ErrorCode::NotDirectory),
        (create(b"f/x", 1), ErrorCode::NotDirectory),
        (list(b"f", 0), ErrorCode::NotDirectory),
        (make_directory(b"f", 0o755), ErrorCode::NotDirectory),
        (make_directory(b"fifo/x", 0o755), ErrorCode::NotDirectory),
        (open(b"none"), ErrorCode::NotFound),
        (stat(b"none/x"), ErrorCode::NotFound),
        (list(b"none", 0), ErrorCode::NotFound),
    ] {
        service.refused_with(job, code);
    }
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn unknown_exports_are_named() {
    let service = Service::start();
    let failure = service.refused(Job::Stat {
        export: "other".to_owned(),
        path: Vec::new(),
    });
    assert_eq!(failure.code, ErrorCode::NoSuchExport);
    assert_eq!(failure.message, "there is no export \"other\" here");
}

#[test]
fn exports_that_cannot_be_served_are_found_at_start() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let directory = root.path().to_path_buf();
    fs::write(directory.join("file"), "").unwrap();
    let spec = |name: &str, directory| ExportSpec {
        name: name.to_owned(),
        directory,
    };
    let error = |specs: &[ExportSpec]| Exports::open(specs).unwrap_err();
    assert!(matches!(
        error(&[spec("a", directory.join("none"))]),
        ExportError::Missing { .. }
    ));
    assert!(matches!(
        error(&[spec("a", directory.join("file"))]),
        ExportError::NotDirectory { .. }
    ));
    assert!(matches!(
        error(&[spec("a", directory.clone()), spec("a", directory.clone())]),
        ExportError::Duplicate { .. }
    ));
    assert!(matches!(
        error(&[spec("..", directory.clone())]),
        ExportError::Name { .. }
    ));
    let exports =
        Exports::open(&[spec("b", directory.clone()), spec("a", directory.clone())]).unwrap();
    let names: Vec<_> = exports.iter().map(|export| export.name()).collect();
    assert_eq!(names, ["a", "b"]);
}
