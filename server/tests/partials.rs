//! Puts that can be resumed, by way of the namespace thread; what nobody may see of them; and `blockd gc`.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use blk_datapath::files::PendingTarget;
use blk_proto::geometry::GRID;
use blk_proto::message::ErrorCode;
use blockd::exports::{ExportSpec, Exports};
use blockd::gc::{GcOptions, collect};
use blockd::namespace::{Job, Outcome};
use common::{EXPORT, Service, create, fill, list, make_directory, names, open, spec_of, stat};

const SIZE: u64 = 2 * GRID;

/// A put that can be resumed.
fn begin(service: &Service, path: &[u8]) -> PendingTarget {
    let job = Job::CreateTarget {
        export: EXPORT.to_owned(),
        path: path.to_vec(),
        spec: spec_of(SIZE),
        identity: Some([9; 16]),
        holes: Vec::new(),
    };
    match service.ask(job) {
        Outcome::TargetReady(target) => target,
        outcome => panic!("{outcome:?}"),
    }
}

/// Writes the first half, as a worker would.
fn fill_half(target: &PendingTarget) {
    let half = vec![7; GRID as usize];
    fill(target, &half);
    let observer = target.observer().expect("a put that can be resumed");
    observer.written(0, GRID, crc32fast::hash(&half));
}

fn stored(service: &Service) -> usize {
    names(&service.export().join(".blockd")).len()
}

#[test]
fn a_put_that_was_kept_goes_on_and_leaves_nothing_when_it_is_done() {
    let mut service = Service::start();
    let target = begin(&service, b"d/x");
    fill_half(&target);
    assert!(matches!(service.ask(Job::Keep { target }), Outcome::Kept));
    assert_eq!(stored(&service), 2);
    let target = begin(&service, b"d/x");
    assert_eq!(target.done().len(), 1);
    assert_eq!((target.done()[0].offset, target.done()[0].len), (0, GRID));
    fill(&target, &vec![7; SIZE as usize]);
    assert!(matches!(
        service.ask(Job::Commit { target }),
        Outcome::Committed
    ));
    let path = service.export().join("d/x");
    assert_eq!(fs::read(path).unwrap(), vec![7; SIZE as usize]);
    // The journal outlasts the answer, but not an orderly end.
    assert_eq!(stored(&service), 1);
    service.namespace.take().unwrap().shutdown().unwrap();
    assert_eq!(stored(&service), 0);
}

#[test]
fn what_is_abandoned_is_gone_and_what_cannot_be_resumed_is_not_kept() {
    let service = Service::start();
    let target = begin(&service, b"x");
    fill_half(&target);
    assert!(matches!(
        service.ask(Job::Abandon { target }),
        Outcome::Abandoned
    ));
    assert_eq!(stored(&service), 0);
    let target = service.created(b"x", 5);
    assert!(matches!(service.ask(Job::Keep { target }), Outcome::Kept));
    assert_eq!(names(&service.export()), [".blockd"]);
}

#[test]
fn nobody_gets_at_partial_files() {
    let service = Service::start();
    let target = begin(&service, b"x");
    fill_half(&target);
    drop(target);
    let hidden = service.export().join(".blockd");
    let part = names(&hidden)
        .into_iter()
        .find(|name| name.ends_with("part"));
    let part = part.unwrap();
    for path in [".blockd", ".blockd/x", "a/.blockd", "a/.blockd/x"] {
        for job in [
            open(path.as_bytes()),
            stat(path.as_bytes()),
            list(path.as_bytes(), 0),
            create(path.as_bytes(), 1),
            make_directory(path.as_bytes(), 0o755),
        ] {
            service.refused_with(job, ErrorCode::InvalidName);
        }
    }
    // Links that somebody else made lead there neither.
    symlink(".blockd", service.export().join("to")).unwrap();
    symlink(format!(".blockd/{part}"), service.export().join("to-part")).unwrap();
    for job in [
        open(b"to-part"),
        stat(b"to-part"),
        stat(b"to"),
        list(b"to", 0),
        open(format!("to/{part}").as_bytes()),
        create(b"to/y", 1),
        make_directory(b"to/d", 0o755),
    ] {
        service.refused_with(job, ErrorCode::OutsideExport);
    }
    assert_eq!(stored(&service), 2);
    let Outcome::Entries { entries, .. } = service.ask(list(b"", 0)) else {
        panic!("no entries");
    };
    let listed: Vec<_> = entries.iter().map(|entry| entry.name.as_slice()).collect();
    assert_eq!(listed, [&b"to"[..], b"to-part"]);
}

#[test]
fn holes_that_are_none_are_refused() {
    let service = Service::start();
    let job = Job::CreateTarget {
        export: EXPORT.to_owned(),
        path: b"x".to_vec(),
        spec: spec_of(SIZE),
        identity: None,
        holes: vec![(1, 2)],
    };
    service.refused_with(job, ErrorCode::Protocol);
}

#[test]
fn the_collection_tells_what_could_not_be_done() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let spec = ExportSpec {
        name: EXPORT.to_owned(),
        directory: root.path().to_owned(),
    };
    let exports = Exports::open(&[spec]).unwrap();
    fs::write(root.path().join(".blockd"), "no directory").unwrap();
    let options = GcOptions {
        older_than: Some(Duration::ZERO),
        walk: true,
    };
    let report = collect(exports.get(EXPORT).unwrap(), options);
    assert_eq!(report.failures.len(), 1, "{:?}", report.failures);
    assert!(report.partials.is_empty() && report.temporaries.is_empty());
}

fn gc(export: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_blockd"))
        .args(["gc", "--export", &format!("data={}", export.display())])
        .args(arguments)
        .output()
        .unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn gc_lists_and_removes() {
    let service = Service::start();
    let used = begin(&service, b"used");
    let left = begin(&service, b"d/left");
    fill_half(&left);
    assert!(matches!(
        service.ask(Job::Keep { target: left }),
        Outcome::Kept
    ));
    let export = service.export();

    let listed = gc(&export, &["--list", "--older-than", "0"]);
    assert_eq!(listed.status.code(), Some(0));
    let text = lines(&listed);
    assert_eq!(text.len(), 2, "{text:?}");
    assert!(
        text[0].starts_with("kept     partial   data: \"d/left\", 840.0 KiB of 1.6 MiB, "),
        "{text:?}"
    );
    assert!(
        text[1].starts_with("in use   partial   data: \"used\", 0 B of 1.6 MiB, "),
        "{text:?}"
    );
    // By default what is younger than a week stays.
    assert_eq!(lines(&gc(&export, &[])), text);

    let removed = gc(&export, &["--older-than", "0s", "--json", "--walk"]);
    assert_eq!(removed.status.code(), Some(0));
    let text = lines(&removed);
    assert!(
        text[0].contains("\"path\":\"d/left\"") && text[0].contains("\"removed\":true"),
        "{text:?}"
    );
    assert!(
        text[1].contains("\"in_use\":true") && text[1].contains("\"removed\":false"),
        "{text:?}"
    );
    assert_eq!(stored(&service), 2);
    drop(used);
    let removed = "removed  partial   data: \"used\"";
    // Another test's process holds the lock too from its fork to its exec.
    let gone =
        (0..100).any(|_| lines(&gc(&export, &["--older-than", "0"]))[0].starts_with(removed));
    assert!(gone, "{:?}", lines(&gc(&export, &["--list"])));
    assert!(lines(&gc(&export, &[])).is_empty());
}

#[test]
fn gc_says_what_is_wrong() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    assert_eq!(gc(&root.path().join("no"), &[]).status.code(), Some(5));
    assert_eq!(
        gc(root.path(), &["--older-than", "soon"]).status.code(),
        Some(2)
    );
    fs::write(root.path().join(".blockd"), "no directory").unwrap();
    assert_eq!(gc(root.path(), &[]).status.code(), Some(1));
    // Serving needs its own arguments still, and takes none of these.
    let serve = |arguments: &[&str]| {
        let command = Command::new(env!("CARGO_BIN_EXE_blockd"))
            .args(arguments)
            .output();
        command.unwrap().status.code()
    };
    assert_eq!(serve(&[]), Some(2));
    assert_eq!(serve(&["--export", "data=/"]), Some(2));
    assert_eq!(serve(&["--interface", "x", "gc"]), Some(2));
}
