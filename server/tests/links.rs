//! The namespace thread: symbolic links as links, modes and times of what is there.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use blk_proto::message::ErrorCode;
use blockd::namespace::{Job, Outcome};
use common::{Service, make_link, names, read_link, set_attributes};
use rustix::fs::{CWD, FileType, Mode, mknodat};

fn changed(service: &Service, job: Job) {
    let outcome = service.ask(job);
    assert!(matches!(outcome, Outcome::Changed), "{outcome:?}");
}

fn leads_to(service: &Service, path: &[u8]) -> Vec<u8> {
    match service.ask(read_link(path)) {
        Outcome::Link(target) => target,
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn links_are_made_replaced_and_read() {
    let service = Service::start();
    let export = service.export();
    for target in [
        &b"../../outside/secret"[..],
        b"/etc/passwd",
        b"\xff\n",
        b"x",
    ] {
        changed(&service, make_link(b"a/b/link", target));
        assert_eq!(leads_to(&service, b"a/b/link"), target);
    }
    fs::write(export.join("file"), "x").unwrap();
    changed(&service, make_link(b"file", b"a"));
    assert!(export.join("file").is_symlink());
    // The way to a link may have links.
    assert_eq!(leads_to(&service, b"file/b/link"), b"x");
    assert_eq!(names(&export.join("a/b")), ["link"]);
    assert_eq!(names(&export), ["a", "file"]);
}

#[test]
fn a_link_out_of_the_export_is_made_but_never_followed() {
    let service = Service::start();
    changed(&service, make_link(b"out", b"../outside"));
    changed(&service, make_link(b"in", b".blockd"));
    fs::create_dir(service.export().join(".blockd")).unwrap();
    fs::write(service.export().join(".blockd/x"), "x").unwrap();
    for path in [&b"out/secret"[..], b"in/x"] {
        for job in [
            common::stat(path),
            common::open(path),
            common::remove(path),
            make_link(path, b"x"),
            read_link(path),
            set_attributes(path, 0o777, 0),
            common::create(path, 1),
        ] {
            service.refused_with(job, ErrorCode::OutsideExport);
        }
    }
    assert_eq!(names(&service.root.path().join("outside")), ["secret"]);
}

#[test]
fn what_can_be_no_link_is_refused() {
    let service = Service::start();
    fs::create_dir(service.export().join("d")).unwrap();
    fs::write(service.export().join("file"), "x").unwrap();
    let refused = |job, code| service.refused_with(job, code);
    refused(make_link(b"d", b"x"), ErrorCode::IsDirectory);
    refused(make_link(b"", b"x"), ErrorCode::IsDirectory);
    refused(make_link(b"file/x", b"x"), ErrorCode::NotDirectory);
    refused(make_link(b"../x", b"x"), ErrorCode::OutsideExport);
    refused(make_link(b".blockd", b"x"), ErrorCode::InvalidName);
    for bad in [&b""[..], b"a\0b", &[b'a'; 4096]] {
        refused(make_link(b"x", bad), ErrorCode::InvalidName);
    }
    for no_link in [&b""[..], b"d", b"file"] {
        refused(read_link(no_link), ErrorCode::Unsupported);
    }
    refused(read_link(b"none"), ErrorCode::NotFound);
    assert_eq!(names(&service.export()), ["d", "file"]);
}

#[test]
fn modes_and_times_are_set_and_links_are_not_followed() {
    let service = Service::start();
    let export = service.export();
    fs::create_dir(export.join("d")).unwrap();
    fs::write(export.join("file"), "x").unwrap();
    fs::set_permissions(export.join("d"), fs::Permissions::from_mode(0o2700)).unwrap();
    symlink("file", export.join("link")).unwrap();
    mknodat(CWD, export.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let found = |name: &str| {
        let found = fs::metadata(export.join(name)).unwrap();
        (found.mode() & 0o7777, found.mtime(), found.mtime_nsec())
    };
    changed(&service, set_attributes(b"d", 0o4750, 1_000_000_007));
    assert_eq!(found("d"), (0o2750, 1, 7));
    changed(&service, set_attributes(b"file", 0o640, -1));
    assert_eq!(found("file"), (0o640, -1, 999_999_999));
    for (path, code) in [
        (&b""[..], ErrorCode::PermissionDenied),
        (b"link", ErrorCode::Unsupported),
        (b"fifo", ErrorCode::Unsupported),
        (b"none", ErrorCode::NotFound),
        (b"file/x", ErrorCode::NotDirectory),
        (b"..", ErrorCode::OutsideExport),
    ] {
        service.refused_with(set_attributes(path, 0o777, 0), code);
    }
    assert_eq!(found("file"), (0o640, -1, 999_999_999));
}
