//! The client of the library: every method, any executor, cancellation, many operations at once, and the loss of the server.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use blk_bench::lab::inside::in_client;
use blk_client::blocking::{self, block_on};
use blk_client::{
    Client, ClientError, ConnectOptions, Copied, Datapath, ErrorKind, OpenOptions, Operation,
    Progress, PutOptions,
};
use futures_util::future::{join_all, try_join_all};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

use super::support::daemon::Daemon;
use super::support::files::{assert_same, names, write};
use super::support::hosts::{Host, Hosts, Link};
use super::support::{Directory, ready, within};

/// A server with an export, and a client's host with a directory.
pub struct Scene {
    // Dropped in this order.
    daemon: Daemon,
    hosts: Hosts,
    pub export: PathBuf,
    pub local: PathBuf,
    options: ConnectOptions,
    _directory: Directory,
}

impl Scene {
    pub fn over(datapath: Datapath) -> Self {
        let directory = Directory::new();
        let export = directory.subdirectory("export");
        Self::with(directory, export, datapath)
    }

    pub fn with(directory: Directory, export: PathBuf, datapath: Datapath) -> Self {
        let hosts = Hosts::up(Link::of(3498));
        let (interface, name) = (Host::Server.interface(), word(datapath));
        Self {
            daemon: Daemon::start_over(&hosts, interface, name, &export, &directory),
            hosts,
            export,
            local: directory.subdirectory("local"),
            options: ConnectOptions {
                datapath,
                ..ConnectOptions::default()
            },
            _directory: directory,
        }
    }

    /// Runs work on the client's host.
    pub fn inside<T: Send>(&self, work: impl FnOnce(&Self) -> T + Send) -> T {
        in_client(&self.hosts, || work(self))
    }

    pub fn connect(&self) -> Client {
        block_on(Client::connect("10.77.0.1", &self.options)).expect("a connection")
    }
}

fn word(datapath: Datapath) -> &'static str {
    match datapath {
        Datapath::Udp => "udp",
        _ => "copy",
    }
}

pub const DATAPATHS: [Datapath; 2] = [Datapath::Udp, Datapath::Copy];

/// Waits for the failure of an operation; far longer than the silence that a session may have is a fault.
fn failure<T: Send + 'static>(operation: Operation<T>) -> ErrorKind {
    let (sender, failed) = channel();
    std::thread::spawn(move || sender.send(block_on(operation).map(|_| ())));
    let outcome = failed.recv_timeout(Duration::from_secs(60));
    match outcome.expect("it hangs") {
        Err(error) => error.kind(),
        Ok(()) => panic!("it succeeded"),
    }
}

#[test]
fn every_method_does_what_it_says() {
    if !ready("every_method_does_what_it_says") {
        return;
    }
    for datapath in DATAPATHS {
        Scene::over(datapath).inside(every_method);
    }
}

fn every_method(scene: &Scene) {
    let client = blocking::Client::of(scene.connect());
    let expected = match scene.options.datapath {
        Datapath::Udp => "udp",
        _ => "af_xdp-copy",
    };
    assert_eq!(client.datapath().mode, expected);
    let (source, back) = (scene.local.join("source"), scene.local.join("back"));
    for size in [0, 5, 40_000, 5_000_017, 40 << 20] {
        write(&source, size, size + 1);
        let (sent, received) = (Progress::default(), Progress::default());
        let options = PutOptions::default();
        let put = client.put_with(&source, "data/new/file", &options, &sent);
        let Copied { bytes, crc, .. } = put.expect("put");
        assert_eq!((bytes, sent.bytes()), (size, size));
        assert_same(&source, &scene.export.join("new/file"));
        assert_eq!(client.stat("data/new/file").expect("stat").size, size);
        let got = client.get_with("data/new/file", &back, &received);
        let got = got.expect("get");
        assert_eq!((got.bytes, got.crc, received.bytes()), (size, crc, size));
        assert_same(&source, &back);
    }
    assert!(!client.flows().expect("flows").is_empty());
    assert!(client.statistics().expect("statistics").packets_received > 0);

    // Names are bytes.
    client
        .make_directory(b"data/\xff/\n", 0o750)
        .expect("make_directory");
    client.put(&source, b"data/\xff/\n/ \xfe").expect("put");
    let list = client.list(b"data/\xff/\n").expect("list");
    let found: Vec<&[u8]> = list.iter().map(|entry| &entry.name[..]).collect();
    assert_eq!(found, [b" \xfe"]);
    client.remove(b"data/\xff/\n/ \xfe").expect("remove");
    assert!(client.list(b"data/\xff/\n").expect("list").is_empty());

    client.put(&source, "data/old").expect("put");
    client
        .rename("data/old", "data/other", false)
        .expect("rename");
    assert_same(&source, &scene.export.join("other"));
    client
        .make_link("data/link", b"other\xfe")
        .expect("make_link");
    assert_eq!(
        client.read_link("data/link").expect("read_link"),
        b"other\xfe"
    );
    client.remove("data/link").expect("remove");
    client
        .make_directory("data/empty", 0o755)
        .expect("make_directory");
    client
        .remove_directory("data/empty")
        .expect("remove_directory");
    assert_eq!(client.describe().expect("describe").datapath, expected);

    let create = Some(0o600);
    let file = client
        .open("data/place", OpenOptions { create })
        .expect("open");
    file.write_at(b"some bytes", 3).expect("write_at");
    file.set_len(8).expect("set_len");
    file.allocate(0, 8192).expect("allocate");
    file.punch_hole(4096, 4096).expect("punch_hole");
    file.sync().expect("sync");
    let mut buffer = [1; 9];
    assert_eq!(file.read_at(&mut buffer, 0).expect("read_at"), 9);
    assert_eq!(&buffer, b"\0\0\0some \0");
    assert_eq!(file.len().expect("len"), 8192);
    assert!(!file.is_empty().expect("is_empty"));
    assert_eq!(file.holes().expect("holes"), [(4096, 4096)]);
    assert_eq!(file.attributes().size, 0);
    file.close().expect("close");
    client.close().expect("close");
}

#[test]
fn what_a_method_cannot_do_it_says() {
    if !ready("what_a_method_cannot_do_it_says") {
        return;
    }
    for datapath in DATAPATHS {
        Scene::over(datapath).inside(every_failure);
    }
}

fn every_failure(scene: &Scene) {
    let client = scene.connect();
    let local = |name: &str| scene.local.join(name);
    write(&local("source"), 5_000_000, 1);
    std::fs::create_dir_all(scene.export.join("directory/inner")).expect("directories");
    std::fs::write(scene.export.join("file"), b"x").expect("a file");
    let none = OpenOptions::default();
    for missing in ["data/missing", "data/directory/missing", "none/x"] {
        assert_eq!(failure(client.stat(missing)), ErrorKind::NotFound);
        assert_eq!(failure(client.list(missing)), ErrorKind::NotFound);
        assert_eq!(failure(client.remove(missing)), ErrorKind::NotFound);
        assert_eq!(failure(client.open(missing, none)), ErrorKind::NotFound);
        assert_eq!(failure(client.reader(missing)), ErrorKind::NotFound);
        assert_eq!(
            failure(client.get(missing, local("x"))),
            ErrorKind::NotFound
        );
    }
    assert_eq!(
        failure(client.put(local("source"), "none/x")),
        ErrorKind::NotFound
    );
    assert_eq!(
        failure(client.put(local("missing"), "data/x")),
        ErrorKind::NotFound
    );
    assert_eq!(
        failure(client.get("data/file", local("missing/x"))),
        ErrorKind::NotFound
    );
    let rename = |from, to| failure(client.rename(from, to, false));
    assert_eq!(rename("data/missing", "data/x"), ErrorKind::NotFound);
    assert_eq!(rename("data/file", "data/directory"), ErrorKind::Taken);
    assert_eq!(rename("data/file", "other/x"), ErrorKind::NotAllowed);
    assert_eq!(rename("data/file", ""), ErrorKind::NotAllowed);
    let remove = |name| failure(client.remove_directory(name));
    assert_eq!(remove("data/missing"), ErrorKind::NotFound);
    assert_eq!(remove("data/directory"), ErrorKind::Taken);
    assert_eq!(remove("data/file"), ErrorKind::WrongKind);
    let link = client.make_link("data/directory", "x");
    assert_eq!(failure(link), ErrorKind::WrongKind);
    assert_eq!(
        failure(client.read_link("data/missing")),
        ErrorKind::NotFound
    );
    for bad in ["", "/data/x", "data/../x", "data/a/../../x"] {
        assert_eq!(failure(client.stat(bad)), ErrorKind::NotAllowed, "{bad:?}");
        assert_eq!(
            failure(client.writer(bad)),
            ErrorKind::NotAllowed,
            "{bad:?}"
        );
        assert_eq!(
            failure(client.put(local("source"), bad)),
            ErrorKind::NotAllowed,
            "{bad:?}"
        );
        assert_eq!(
            failure(client.make_directory(bad, 0o755)),
            ErrorKind::NotAllowed,
            "{bad:?}"
        );
    }
    assert_eq!(failure(client.get("data/file", "/")), ErrorKind::NotAllowed);
    assert_eq!(failure(client.list("data/file")), ErrorKind::WrongKind);
    assert_eq!(
        failure(client.remove("data/directory")),
        ErrorKind::WrongKind
    );
    assert_eq!(
        failure(client.reader("data/directory")),
        ErrorKind::WrongKind
    );
    assert_eq!(
        failure(client.get("data/directory", local("x"))),
        ErrorKind::WrongKind
    );
    assert_eq!(
        failure(client.put(local("source"), "data/directory")),
        ErrorKind::WrongKind
    );
    assert_eq!(
        failure(client.put(&scene.local, "data/x")),
        ErrorKind::WrongKind
    );
    assert_eq!(
        failure(client.get("data/file", &scene.local)),
        ErrorKind::WrongKind
    );
    assert_eq!(names(&scene.local), ["source"]);
    // Opened, it would wait for somebody who writes, and everything else of the client with it.
    let (fifo, rights) = (local("fifo"), Mode::RUSR | Mode::WUSR);
    mknodat(CWD, &fifo, FileType::Fifo, rights, 0).expect("a FIFO");
    assert_eq!(
        failure(client.get("data/file", fifo.join("x"))),
        ErrorKind::WrongKind
    );
    // It is good for the next.
    block_on(client.put(local("source"), "data/x")).expect("put");

    let elsewhere = ConnectOptions {
        port: 7441,
        ..scene.options.clone()
    };
    assert_eq!(
        failure(Client::connect("10.77.0.1", &elsewhere)),
        ErrorKind::Unreachable
    );
    assert_eq!(
        failure(Client::connect("no.such.invalid", &elsewhere)),
        ErrorKind::Unreachable
    );
}

/// Something of everything.
async fn some_of_all(client: Client, source: PathBuf, number: u64) -> Result<(), ClientError> {
    let name = format!("data/{number}/file");
    let back = source.with_file_name(format!("back-{number}"));
    client.put(&source, &name).await?;
    client.get(&name, &back).await?;
    assert_same(&source, &back);
    let mut reader = client.reader(&name).await?;
    let mut bytes = 0;
    while let Some(block) = reader.next_block().await? {
        bytes += block.len() as u64;
    }
    assert_eq!(bytes, client.stat(&name).await?.size);
    Ok(())
}

#[test]
fn any_executor_will_do() {
    if !ready("any_executor_will_do") {
        return;
    }
    for datapath in DATAPATHS {
        Scene::over(datapath).inside(|scene| {
            let source = scene.local.join("source");
            write(&source, 6_000_001, 3);
            let host = "10.77.0.1";
            futures_executor::block_on(async {
                let client = Client::connect(host, &scene.options).await?;
                some_of_all(client.clone(), source.clone(), 1).await?;
                client.close().await
            })
            .expect("with futures-executor");

            // Without timers and I/O: nothing of the library needs them.
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .build()
                .expect("a runtime");
            runtime
                .block_on(async {
                    let client = Client::connect(host, &scene.options).await?;
                    let tasks = (10..14).map(|number| {
                        tokio::spawn(some_of_all(client.clone(), source.clone(), number))
                    });
                    for outcome in join_all(tasks.collect::<Vec<_>>()).await {
                        outcome.expect("no task panics")?;
                    }
                    client.close().await
                })
                .expect("on threads of tokio");

            // Threads that share a handle.
            let client = scene.connect();
            std::thread::scope(|scope| {
                for number in 20..24 {
                    let (client, source) = (client.clone(), source.clone());
                    scope.spawn(move || {
                        block_on(some_of_all(client, source, number)).expect("on threads");
                    });
                }
            });
        });
    }
}

/// Polls an operation until some of a file has gone, and drops it.
fn give_up(operation: Operation<Copied>, progress: &Progress, after: u64) {
    let mut operation = pin!(operation);
    block_on(std::future::poll_fn(|context| {
        if let Poll::Ready(outcome) = operation.as_mut().poll(context) {
            outcome.expect("it fails before it is given up");
            return Poll::Ready(());
        }
        if progress.bytes() >= after {
            return Poll::Ready(());
        }
        std::thread::sleep(Duration::from_millis(1));
        context.waker().wake_by_ref();
        Poll::Pending
    }));
}

#[test]
fn what_is_given_up_leaves_nothing() {
    if !ready("what_is_given_up_leaves_nothing") {
        return;
    }
    for datapath in DATAPATHS {
        Scene::over(datapath).inside(|scene| {
            let source = scene.local.join("source");
            let size = 128 << 20;
            write(&source, size, 4);
            std::fs::copy(&source, scene.export.join("large")).expect("a copy");
            let client = scene.connect();
            let options = PutOptions {
                resume: false,
                ..PutOptions::default()
            };
            for after in [0, 1, 1 << 20, 16 << 20, 40 << 20] {
                let progress = Progress::default();
                let put = client.put_with(&source, "data/new", &options, &progress);
                give_up(put, &progress, after);
                let progress = Progress::default();
                let get = client.get_with("data/large", scene.local.join("back"), &progress);
                give_up(get, &progress, after);
                assert_eq!(names(&scene.export), ["large"], "after {after} bytes");
                assert_eq!(names(&scene.local), ["source"], "after {after} bytes");
            }
            // As many transfers as a session has room for, and more, each begun at both ends: none was left behind.
            for _ in 0..100 {
                drop(client.put(&source, "data/never"));
                let progress = Progress::default();
                let put = client.put_with(&source, "data/new", &options, &progress);
                give_up(put, &progress, 1);
                let progress = Progress::default();
                let get = client.get_with("data/large", scene.local.join("back"), &progress);
                give_up(get, &progress, 1);
            }
            assert_eq!(names(&scene.export), ["large"]);
            assert_eq!(names(&scene.local), ["source"]);
            block_on(client.put(&source, "data/new")).expect("put");
            assert_same(&source, &scene.export.join("new"));
            block_on(client.get("data/large", scene.local.join("back"))).expect("get");
            assert_same(&source, &scene.local.join("back"));
        });
    }
}

#[test]
fn sixty_four_operations_at_once() {
    if !ready("sixty_four_operations_at_once") {
        return;
    }
    for datapath in DATAPATHS {
        Scene::over(datapath).inside(|scene| {
            let source = scene.local.join("source");
            write(&source, 3_000_000, 5);
            std::fs::copy(&source, scene.export.join("file")).expect("a copy");
            let expected = std::fs::read(&source).expect("the source");
            let client = scene.connect();
            block_on(async {
                let file = client.open("data/file", OpenOptions::default()).await?;
                let (client, file, source, expected) = (&client, &file, &source, &expected);
                let one = |number: usize| async move {
                    match number % 4 {
                        0 => drop(client.put(source, format!("data/put-{number}")).await?),
                        1 => {
                            let back = source.with_file_name(format!("get-{number}"));
                            client.get("data/file", &back).await?;
                            assert_same(source, &back);
                        }
                        2 => {
                            let mut bytes = vec![0; 400_000];
                            let offset = number * 30_011;
                            let count = file.read_at(&mut bytes, offset as u64).await?;
                            assert_eq!(bytes[..count], expected[offset..offset + 400_000]);
                        }
                        _ => {
                            let mut reader = client.reader("data/file").await?;
                            let mut bytes = Vec::new();
                            while let Some(block) = reader.next_block().await? {
                                bytes.extend_from_slice(&block);
                            }
                            assert!(bytes == *expected);
                        }
                    }
                    Ok::<_, ClientError>(())
                };
                try_join_all((0..64).map(one)).await
            })
            .expect("64 operations");
            for number in (0..64).step_by(4) {
                assert_same(&source, &scene.export.join(format!("put-{number}")));
            }
        });
    }
}

#[test]
fn a_server_that_dies_is_told_to_every_operation() {
    if !ready("a_server_that_dies_is_told_to_every_operation") {
        return;
    }
    for datapath in DATAPATHS {
        let mut scene = Scene::over(datapath);
        // It neither answers nor is its port closed.
        for signal in [Signal::STOP, Signal::KILL] {
            scene.options.silence = Duration::from_secs(2);
            scene.inside(|scene| {
                let source = scene.local.join("source");
                write(&source, 256 << 20, 6);
                let client = scene.connect();
                let progress = Progress::default();
                let put = client.put_with(&source, "data/x", &PutOptions::default(), &progress);
                std::thread::scope(|threads| {
                    threads.spawn(|| assert_eq!(failure(put), ErrorKind::Lost));
                    while progress.bytes() < 1 << 20 {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    scene.daemon.signal(signal);
                });
                assert_eq!(failure(client.stat("data")), ErrorKind::Lost);
                let lost = block_on(client.get("data/x", scene.local.join("x"))).unwrap_err();
                assert!(matches!(lost, ClientError::Lost { .. }), "{lost}");
                assert!(lost.is_retryable());
                assert_eq!(names(&scene.local), ["source"]);
                block_on(client.close()).expect("close");
                if signal == Signal::STOP {
                    scene.daemon.signal(Signal::CONT);
                    let again = scene.connect();
                    assert_eq!(failure(again.stat("data/x")), ErrorKind::NotFound);
                }
            });
        }
    }
}

#[test]
fn a_client_that_is_closed_has_given_its_queue_back() {
    if !ready("a_client_that_is_closed_has_given_its_queue_back") {
        return;
    }
    Scene::over(Datapath::Copy).inside(|scene| {
        for _ in 0..3 {
            let client = scene.connect();
            assert_eq!(client.datapath().mode, "af_xdp-copy");
            // A file keeps the connection open; a clone does, too.
            let create = Some(0o644);
            let file = block_on(client.open("data/x", OpenOptions { create })).expect("open");
            let clone = client.clone();
            block_on(client.close()).expect("close");
            block_on(clone.stat("data/x")).expect("stat");
            drop(clone);
            block_on(file.write_at(b"x", 0)).expect("write_at");
            block_on(file.close()).expect("close");
        }
    });
}

/// The threads of this process by their ids, with their names: also those of workers, of resolvers, of io_uring.
fn threads() -> BTreeMap<OsString, String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("the threads of this process");
    let named = |task: std::fs::DirEntry| {
        // One that has ended meanwhile has none.
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        Some((task.file_name(), name.trim_end().to_owned()))
    };
    tasks.filter_map(|task| named(task.ok()?)).collect()
}

#[test]
fn a_connection_that_is_given_up_leaves_no_thread() {
    if !ready("a_connection_that_is_given_up_leaves_no_thread") {
        return;
    }
    Scene::over(Datapath::Udp).inside(|scene| {
        let before = threads();
        let left = || {
            let mut left = threads();
            left.retain(|id, _| !before.contains_key(id));
            left
        };
        for pause in [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89] {
            let mut connecting = pin!(Client::connect("10.77.0.1", &scene.options));
            let mut context = Context::from_waker(Waker::noop());
            if connecting.as_mut().poll(&mut context).is_pending() {
                std::thread::sleep(Duration::from_millis(pause));
            }
        }
        let client = scene.connect();
        let clone = client.clone();
        drop(client);
        assert_eq!(failure(clone.stat("data/missing")), ErrorKind::NotFound);
        drop(clone);
        let ended = within(Duration::from_secs(30), || left().is_empty());
        assert!(ended, "threads are left: {:?}", left());
    });
}
