//! The namespace thread: puts, listings, many at once, and its end.

mod common;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::Instant;

use blk_datapath::files::PendingTarget;
use blk_proto::message::{Attributes, Entry, FileKind, MAX_ENTRIES, Reply, ReplyFrame, encode};
use blockd::exports::{ExportSpec, Exports};
use blockd::namespace::{Job, Namespace, Outcome, QUEUE_MAX};
use common::{
    EXPORT, Service, create, fill, key, list, make_directory, names, open, spec_of, stat,
};

#[test]
fn file_appears_with_its_commit_and_missing_directories_are_made() {
    let service = Service::start();
    let path = service.export().join("a/b/c/x");
    let target = service.created(b"a/b/c/x", 5);
    fill(&target, b"12345");
    assert!(names(path.parent().unwrap()).is_empty());
    assert!(matches!(
        service.ask(Job::Commit { target }),
        Outcome::Committed
    ));
    assert_eq!(fs::read(&path).unwrap(), b"12345");
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o644);
    assert_eq!(
        (metadata.mtime(), metadata.mtime_nsec()),
        (1_600_000_000, 1)
    );
    let Outcome::Attributes(attributes) = service.ask(stat(b"a/b/c/x")) else {
        panic!("no attributes");
    };
    let expected = Attributes {
        kind: FileKind::File,
        size: 5,
        mode: 0o644,
        mtime_ns: 1_600_000_000_000_000_001,
    };
    assert_eq!(attributes, expected);
}

#[test]
fn commit_errors_name_the_whole_path() {
    let service = Service::start();
    let target = service.created(b"d/x", 0);
    fs::create_dir(service.export().join("d/x")).unwrap();
    let failure = service.refused(Job::Commit { target });
    assert_eq!(failure.message, "cannot create \"d/x\": is a directory");
}

#[test]
fn abandoned_targets_leave_nothing() {
    let service = Service::start();
    for size in [0, 100, 65 << 20] {
        let target = service.created(b"x", size);
        assert!(matches!(
            service.ask(Job::Abandon { target }),
            Outcome::Abandoned
        ));
        assert!(names(&service.export()).is_empty());
    }
}

#[test]
fn directories_are_made_once_and_keep_their_mode() {
    let service = Service::start();
    let made = |path: &[u8], mode| {
        let outcome = service.ask(make_directory(path, mode));
        assert!(matches!(outcome, Outcome::Made), "{outcome:?}");
    };
    let mode = |path: &str| fs::metadata(service.export().join(path)).unwrap().mode() & 0o7777;
    made(b"a/b", 0o750);
    assert_eq!(mode("a/b"), 0o750);
    made(b"a/b", 0o700);
    assert_eq!(mode("a/b"), 0o750);
    made(b"", 0o700);
    made(b"s", 0o6777);
    assert_eq!(mode("s"), 0o777);
    fs::create_dir(service.export().join("pointed")).unwrap();
    symlink("pointed", service.export().join("link")).unwrap();
    made(b"link", 0o700);
}

/// All pages of a listing; `between` runs after each.
fn pages(service: &Service, path: &[u8], mut between: impl FnMut()) -> Vec<Vec<Entry>> {
    let mut pages = Vec::new();
    let mut cursor = 0;
    loop {
        let Outcome::Entries { entries, next } = service.ask(list(path, cursor)) else {
            panic!("no entries");
        };
        let reply = ReplyFrame {
            id: u32::MAX,
            reply: Reply::Entries {
                entries: entries.clone(),
                next,
            },
        };
        let mut message = Vec::new();
        encode(&reply, &mut message).unwrap();
        let decoded: ReplyFrame = blk_proto::message::decode(&message).unwrap();
        assert_eq!(decoded, reply);
        pages.push(entries);
        match next {
            Some(next) => cursor = next,
            None => return pages,
        }
        between();
    }
}

#[test]
fn listing_is_sorted_and_hides_what_is_not_committed() {
    let service = Service::start();
    let export = service.export();
    for name in ["b", "a", ".z.blk-0123456789abcdef", ".hidden", "\u{e4}"] {
        fs::write(export.join(name), name).unwrap();
    }
    fs::create_dir(export.join("c")).unwrap();
    symlink("/nowhere", export.join("link")).unwrap();
    let _uncommitted = service.created(b"new", 10);
    let pages = pages(&service, b"", || {});
    let listed: Vec<_> = pages[0]
        .iter()
        .map(|entry| (entry.name.as_slice(), entry.attributes.kind))
        .collect();
    assert_eq!(
        listed,
        [
            (&b".hidden"[..], FileKind::File),
            (b"a", FileKind::File),
            (b"b", FileKind::File),
            (b"c", FileKind::Directory),
            (b"link", FileKind::Symlink),
            ("\u{e4}".as_bytes(), FileKind::File),
        ]
    );
    assert_eq!(pages.len(), 1);
    let Outcome::Entries { entries, next } = service.ask(list(b"c", 0)) else {
        panic!("no entries");
    };
    assert!(entries.is_empty() && next.is_none());
}

#[test]
fn long_listings_come_in_pages_that_fit_a_message() {
    let service = Service::start();
    for (directory, length, count) in [("short", 5, 2 * MAX_ENTRIES + 1), ("long", 255, 600)] {
        let path = service.export().join(directory);
        fs::create_dir(&path).unwrap();
        for number in 0..count {
            fs::write(path.join(format!("{number:0length$}")), "").unwrap();
        }
        let mut round = 0;
        // Names that come and go between the pages move no other name.
        let pages = pages(&service, directory.as_bytes(), || {
            fs::write(path.join(format!("!{round}")), "").unwrap();
            round += 1;
        });
        assert!(pages.len() > 1);
        let listed: Vec<_> = pages.concat().into_iter().map(|entry| entry.name).collect();
        let expected: Vec<_> = (0..count)
            .map(|number| format!("{number:0length$}").into_bytes())
            .collect();
        assert!(listed == expected, "{directory}");
    }
}

#[test]
fn made_up_cursors_are_harmless() {
    let service = Service::start();
    fs::write(service.export().join("a"), "").unwrap();
    for cursor in [1, u64::MAX, 1 << 32, 5 << 32 | 7] {
        let Outcome::Entries { entries, next } = service.ask(list(b"", cursor)) else {
            panic!("no entries");
        };
        assert!(entries.len() <= 1 && next.is_none());
    }
}

#[test]
fn a_thousand_small_commits_at_once() {
    const COUNT: u32 = 1000;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit {
        current: limit.maximum,
        ..limit
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();

    let service = Service::start();
    // Half new, half over an old file; some directories deep and made by many at once.
    let path = |number: u32| format!("d{}/e/f{number}", number % 7);
    fs::create_dir_all(service.export().join("d0/e")).unwrap();
    for number in (0..COUNT).step_by(7) {
        fs::write(service.export().join(path(number)), "old").unwrap();
    }
    for number in 0..COUNT {
        service.submit(number, create(path(number).as_bytes(), 8));
    }
    let mut targets = Vec::new();
    for _ in 0..COUNT {
        let (key, outcome) = service.answer();
        let Outcome::TargetReady(target) = outcome else {
            panic!("{outcome:?}");
        };
        fill(&target, format!("{:08}", key.job).as_bytes());
        targets.push((key.job as u32, target));
    }
    let started = Instant::now();
    for (number, target) in targets {
        service.submit(number, Job::Commit { target });
    }
    let mut committed = HashSet::new();
    for _ in 0..COUNT {
        let (got, outcome) = service.answer();
        assert!(matches!(outcome, Outcome::Committed), "{outcome:?}");
        assert_eq!(got, key(got.job as u32));
        assert!(committed.insert(got.job as u32));
    }
    eprintln!("{COUNT} commits took {:?}", started.elapsed());
    for number in 0..COUNT {
        let bytes = fs::read(service.export().join(path(number))).unwrap();
        assert_eq!(bytes, format!("{number:08}").as_bytes());
    }
    for directory in 0..7 {
        let inner = names(&service.export().join(format!("d{directory}/e")));
        assert!(inner.iter().all(|name| name.starts_with('f')));
    }
}

#[test]
fn shutdown_finishes_commits_and_forgets_the_rest() {
    let mut service = Service::start();
    let (kept, lost) = (service.created(b"kept", 4), service.created(b"lost", 4));
    fill(&kept, b"kept");
    service.submit(1, Job::Commit { target: kept });
    service.submit(2, create(b"late", 4));
    service.namespace.take().unwrap().shutdown().unwrap();

    let outcomes: Vec<_> = service.replies.try_iter().collect();
    assert_eq!(outcomes.len(), 2);
    assert!(
        outcomes
            .iter()
            .any(|(got, outcome)| *got == key(1) && matches!(outcome, Outcome::Committed))
    );
    drop((outcomes, lost));
    assert_eq!(names(&service.export()), ["kept"]);

    assert!(service.sender.is_closed());
    let job = service.sender.submit(key(3), stat(b"")).unwrap_err();
    assert!(matches!(job, Job::Stat { .. }));
}

#[test]
fn full_queue_gives_the_job_back_unless_it_disposes_of_a_target() {
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let spec = ExportSpec {
        name: EXPORT.to_owned(),
        directory: root.path().to_path_buf(),
    };
    let (go, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let (reply, replies) = std::sync::mpsc::channel();
    // The first answer waits until it is let go, and with it the thread.
    let (namespace, sender) =
        Namespace::start(Exports::open(&[spec]).unwrap(), move |key, outcome| {
            let _ = gate.lock().unwrap().recv();
            reply.send((key, outcome)).unwrap();
        })
        .unwrap();
    let mut accepted = 0;
    let refused = loop {
        match sender.submit(key(accepted), open(b"none")) {
            Ok(()) => accepted += 1,
            Err(job) => break job,
        }
        assert!(accepted < 100_000, "the queue has no bound");
    };
    assert!(matches!(refused, Job::OpenSource { .. }));
    assert!(accepted as usize >= QUEUE_MAX);
    // A file that was received is committed all the same.
    let directory = fs::File::open(root.path()).unwrap().into();
    let target = PendingTarget::create(directory, "whole".as_ref(), spec_of(0)).unwrap();
    sender
        .submit(key(accepted), Job::Commit { target })
        .unwrap();
    accepted += 1;
    drop(go);
    namespace.shutdown().unwrap();
    assert_eq!(replies.try_iter().count() as u32, accepted);
    assert_eq!(names(root.path()), ["whole"]);
}

/// A thread that is in the middle of a call stands still for its own exports only; what is about an open file goes to the
/// thread of its device.
#[test]
fn a_device_that_stands_still_holds_up_only_its_own_names() {
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let Ok(memory) = tempfile::tempdir_in("/dev/shm") else {
        eprintln!("SKIPPED: no /dev/shm");
        return;
    };
    let device = |path: &std::path::Path| fs::metadata(path).unwrap().dev();
    assert_ne!(device(disk.path()), device(memory.path()));
    let specs = [("still", disk.path()), ("other", memory.path())].map(|(name, path)| ExportSpec {
        name: name.to_owned(),
        directory: path.to_owned(),
    });
    const STANDS: u32 = 99;
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let (reply, replies) = std::sync::mpsc::channel();
    let (namespace, sender) =
        Namespace::start(Exports::open(&specs).unwrap(), move |at, outcome| {
            let stands = at == key(STANDS);
            let _ = reply.send((at, outcome));
            if stands {
                // Ends when the test lets go of the other end.
                let _ = wait.lock().unwrap().recv();
            }
        })
        .unwrap();
    let stat_of = |export: &str| Job::Stat {
        export: export.to_owned(),
        path: Vec::new(),
    };
    let create_in = |export: &str| Job::CreateTarget {
        export: export.to_owned(),
        path: b"d/x".to_vec(),
        spec: spec_of(4),
        identity: None,
        holes: Vec::new(),
    };
    let patience = std::time::Duration::from_secs(60);
    let answer = || replies.recv_timeout(patience).expect("an answer");
    let created = |export: &str| {
        sender.submit(key(1), create_in(export)).unwrap();
        match answer() {
            (_, Outcome::TargetReady(target)) => target,
            (_, outcome) => panic!("{outcome:?}"),
        }
    };
    let (there, here) = (created("still"), created("other"));
    fill(&there, b"1234");
    fill(&here, b"5678");
    sender.submit(key(STANDS), stat_of("still")).unwrap();
    assert_eq!(answer().0, key(STANDS));
    sender.submit(key(2), stat_of("still")).unwrap();
    sender
        .submit(key(3), Job::Commit { target: there })
        .unwrap();
    sender.submit(key(4), Job::Commit { target: here }).unwrap();
    let (at, outcome) = answer();
    assert_eq!(at, key(4));
    assert!(matches!(outcome, Outcome::Committed), "{outcome:?}");
    assert_eq!(fs::read(memory.path().join("d/x")).unwrap(), b"5678");
    drop(go);
    let mut late = [answer().0, answer().0];
    late.sort_by_key(|at| at.job);
    assert_eq!(late, [key(2), key(3)]);
    assert!(namespace.is_running());
    namespace.shutdown().unwrap();
    assert!(sender.is_closed());
}

/// More than a thread carries out at the same time: they must not keep others from it.
#[test]
fn those_who_wait_take_nobodys_place() {
    let service = Service::start();
    let time = std::time::Duration::from_secs(3600);
    for number in 0..blockd::namespace::TASKS_MAX as u32 + 10 {
        while service
            .sender
            .submit(key(1000 + number), Job::Wait { time })
            .is_err()
        {
            std::thread::yield_now();
        }
    }
    let outcome = service.ask(stat(b""));
    assert!(matches!(outcome, Outcome::Attributes(_)), "{outcome:?}");
    // It would wait for all of them.
    std::mem::forget(service.namespace);
}
