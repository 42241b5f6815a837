//! Carries a plan out: directories first, then many files at once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use blk_client::paths::Purpose;
use blk_client::{
    ClientError, ConnectOptions, Connection, Copied, PutOptions, RemotePath, SourceFile,
};
use blk_datapath::files::FileErrorKind;
use blk_datapath::worker::allowed_cpus;
use blk_proto::message::ErrorCode;

use crate::arguments::Arguments;
use crate::direction::Direction;
use crate::directories::{Directories, open, parent_of};
use crate::dump::Dumping;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::memory::history;
use crate::plan::{GetPlan, Item, PutPlan, plan_get, plan_put, targets_of};
use crate::progress::Bar;
use crate::small::{self, ToGet, ToPut};
use crate::summary::Summary;

/// Does what the command line says.
pub fn run(arguments: &Arguments, interrupt: Interrupt) -> Result<Summary, Failure> {
    let direction = Direction::read(arguments)?;
    arguments.check_cpu(&allowed_cpus())?;
    Dumping::check(arguments)?;
    let dumping = Dumping::default();
    let done = tokio_uring::start(async {
        let copy = copy(arguments, &direction, &dumping);
        let done = tokio::select! {
            result = copy => result,
            () = interrupt.wait() => Err(Failure::Interrupted { kept: keeps(arguments, &direction) }),
        };
        done.map_err(|failure| failure.with_hint(keeps(arguments, &direction)))
    });
    dumping.finish(arguments.quiet);
    done
}

/// Whether what arrived of a large file is kept when the copy does not come to its end.
fn keeps(arguments: &Arguments, direction: &Direction) -> bool {
    matches!(direction, Direction::Put { .. }) && !arguments.no_resume
}

async fn copy(
    arguments: &Arguments,
    direction: &Direction,
    dumping: &Dumping,
) -> Result<Summary, Failure> {
    // Sources and targets are looked at first: what is wrong with them needs no connection to be said.
    let task = Task::new(direction, arguments.recursive)?;
    let purpose = match direction {
        Direction::Put { .. } => Purpose::Send,
        Direction::Get { .. } => Purpose::Receive,
    };
    let options = ConnectOptions {
        dump: dumping.start(&arguments.dump)?,
        history: history(),
        purpose,
        ..arguments.connect_options()
    };
    let connection = Connection::open(direction.host(), &options).await?;
    let started = Instant::now();
    let (copied, files, skipped) = match task {
        Task::Put(plan) => put_all(&connection, plan, arguments).await?,
        Task::Get(pairs) => {
            let plan = plan_get(&connection, pairs, arguments.recursive).await?;
            get_all(&connection, plan, arguments).await?
        }
    };
    let elapsed = started.elapsed();
    let stats = connection.statistics().await.unwrap_or_default();
    let flows = connection.flows().await;
    let datapath = connection.datapath().clone();
    connection.close();
    Ok(Summary {
        files,
        copied,
        elapsed,
        datapath,
        retransmitted: flows.iter().map(|flow| flow.retransmitted).sum(),
        flows,
        payload: stats.payload_limit,
        skipped,
    })
}

/// What can be known of a copy without a connection.
enum Task {
    Put(PutPlan),
    Get(Vec<(RemotePath, PathBuf)>),
}

impl Task {
    fn new(direction: &Direction, recursive: bool) -> Result<Self, Failure> {
        Ok(match direction {
            Direction::Put {
                sources,
                destination,
            } => Self::Put(plan_put(sources, destination, recursive)?),
            Direction::Get {
                sources,
                destination,
                into,
            } => Self::Get(targets_of(sources, destination, *into)?),
        })
    }
}

type Totals = (Copied, u64, Vec<String>);

/// Directories that are made at the same time at most: enough that they share their syncs.
const AT_ONCE: usize = 32;

/// Makes the directories of a put: those of one depth side by side, after those that they lie in.
async fn make_directories(
    connection: &Connection,
    directories: &[Item<PathBuf, RemotePath>],
) -> Result<(), ClientError> {
    let depth = |directory: &Item<PathBuf, RemotePath>| {
        let path = &directory.target.path;
        path.iter().filter(|&&byte| byte == b'/').count()
    };
    let mut sorted: Vec<_> = directories.iter().collect();
    sorted.sort_by_key(|directory| depth(directory));
    for level in sorted.chunk_by(|one, other| depth(one) == depth(other)) {
        for some in level.chunks(AT_ONCE) {
            // Its owner must be able to fill it.
            let made = some.iter().map(|directory| {
                connection.make_directory(&directory.target, directory.mode | 0o700)
            });
            futures_util::future::try_join_all(made).await?;
        }
    }
    Ok(())
}

async fn put_all(
    connection: &Connection,
    plan: PutPlan,
    arguments: &Arguments,
) -> Result<Totals, Failure> {
    let bar = Bar::new(plan.bytes(), plan.files.len() as u64, arguments.telling());
    let work = async {
        make_directories(connection, &plan.directories).await?;
        let (small, large) = small::divide(plan.files);
        let put = |file: ToPut| {
            let (bar, counter) = (&bar, bar.counter());
            let options = PutOptions {
                resume: !arguments.no_resume,
                present: bar.present(),
            };
            async move {
                let source = SourceFile::open(&file.source)?;
                let copied = connection
                    .put_with(&source, &file.target, counter, &options)
                    .await
                    .map_err(|error| into_directory(error, &file.target.to_string()))?;
                bar.file_done();
                Ok(copied)
            }
        };
        let (large, (small, others)) = tokio::try_join!(
            at_once(arguments.parallel, large, put),
            small::put(connection, small, &bar)
        )?;
        let others = at_once(arguments.parallel, others, put).await?;
        Ok::<_, Failure>(large.and(small).and(others))
    };
    let totals = watched(&bar, work).await?;
    Ok((totals.copied, totals.files, plan.skipped))
}

async fn get_all(
    connection: &Connection,
    plan: GetPlan,
    arguments: &Arguments,
) -> Result<Totals, Failure> {
    let bar = Bar::new(plan.bytes(), plan.files.len() as u64, arguments.telling());
    let work = async {
        let mut made = Directories::default();
        for directory in &plan.directories {
            made.make_copy(&directory.target, directory.mode)?;
        }
        made.sync().await?;
        let (small, large) = small::divide(plan.files);
        let get = |file: ToGet| {
            let (bar, counter) = (&bar, bar.counter());
            async move {
                let (directory, name) = local_target(&file.target).await?;
                let copied = connection
                    .get(&file.source, directory, &name, counter)
                    .await
                    .map_err(|error| into_directory(error, &file.target.display().to_string()))?;
                bar.file_done();
                Ok(copied)
            }
        };
        let (large, (small, others)) = tokio::try_join!(
            at_once(arguments.parallel, large, get),
            small::get(connection, small, &bar)
        )?;
        let others = at_once(arguments.parallel, others, get).await?;
        let totals = large.and(small).and(others);
        made.set_modes().await?;
        Ok::<_, Failure>(totals)
    };
    let totals = watched(&bar, work).await?;
    Ok((totals.copied, totals.files, plan.skipped))
}

/// Draws the bar while the work goes on.
async fn watched<T>(bar: &Bar, work: impl Future<Output = T>) -> T {
    let result = tokio::select! {
        result = work => result,
        () = bar.draw() => unreachable!("the bar draws for ever"),
    };
    bar.finish();
    result
}

/// What some files amount to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sums {
    copied: Copied,
    files: u64,
}

impl Sums {
    /// Adds a file.
    pub fn add(&mut self, file: &Copied) {
        self.copied.bytes += file.bytes;
        self.copied.reads.add(&file.reads);
        self.copied.resumed_bytes += file.resumed_bytes;
        self.copied.zero_copy_bytes += file.zero_copy_bytes;
        self.copied.copied_bytes += file.copied_bytes;
        self.files += 1;
    }

    /// Both.
    fn and(mut self, other: Self) -> Self {
        let files = self.files + other.files;
        self.add(&other.copied);
        Self { files, ..self }
    }
}

/// Runs `job` on every item, at most `limit` at once; the first failure ends it all.
async fn at_once<I, F>(limit: u32, items: Vec<I>, job: impl Fn(I) -> F) -> Result<Sums, Failure>
where
    F: Future<Output = Result<Copied, Failure>>,
{
    let queue = Rc::new(RefCell::new(VecDeque::from(items)));
    let job = &job;
    let lanes = (0..limit).map(|_| {
        let queue = Rc::clone(&queue);
        async move {
            let mut sums = Sums::default();
            loop {
                let Some(item) = queue.borrow_mut().pop_front() else {
                    break;
                };
                sums.add(&job(item).await?);
            }
            Ok::<_, Failure>(sums)
        }
    });
    let sums = futures_util::future::try_join_all(lanes).await?;
    Ok(sums.into_iter().fold(Sums::default(), Sums::and))
}

/// A target that is a directory is said with the way out.
pub fn into_directory(error: ClientError, target: &str) -> Failure {
    let is_directory = match &error {
        ClientError::Refused { failure, .. } => failure.code == ErrorCode::IsDirectory,
        ClientError::File(error) => error.kind == FileErrorKind::IsDirectory,
        _ => false,
    };
    if is_directory {
        return Failure::IntoDirectory {
            target: target.to_owned(),
        };
    }
    error.into()
}

/// The directory, made if it is missing, and the name in it.
async fn local_target(path: &Path) -> Result<(OwnedFd, OsString), Failure> {
    let name = path
        .file_name()
        .ok_or_else(|| Failure::Name(path.display().to_string()))?
        .to_owned();
    let parent = parent_of(path);
    let mut made = Directories::default();
    made.make(parent)?;
    made.sync().await?;
    Ok((open(parent)?.into(), name))
}
