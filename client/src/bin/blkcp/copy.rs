//! Carries a plan out: directories first, then many files at once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

use blk_client::{ClientError, Connection, Copied, RemotePath, SourceFile};
use blk_datapath::files::FileErrorKind;
use blk_datapath::worker::allowed_cpus;
use blk_proto::message::ErrorCode;

use crate::arguments::Arguments;
use crate::direction::Direction;
use crate::directories::{Directories, open, parent_of};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::plan::{GetPlan, PutPlan, plan_get, plan_put, targets_of};
use crate::progress::Bar;
use crate::summary::Summary;

/// Does what the command line says.
pub fn run(arguments: &Arguments, interrupt: Interrupt) -> Result<Summary, Failure> {
    let direction = Direction::read(arguments)?;
    arguments.check_cpu(&allowed_cpus())?;
    tokio_uring::start(async {
        let copy = copy(arguments, &direction);
        tokio::select! {
            result = copy => result,
            () = interrupt.wait() => Err(Failure::Interrupted),
        }
    })
}

async fn copy(arguments: &Arguments, direction: &Direction) -> Result<Summary, Failure> {
    // Sources and targets are looked at first: what is wrong with them needs no connection to be said.
    let task = Task::new(direction, arguments.recursive)?;
    let connection = Connection::open(direction.host(), &arguments.connect_options()).await?;
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

async fn put_all(
    connection: &Connection,
    plan: PutPlan,
    arguments: &Arguments,
) -> Result<Totals, Failure> {
    let bar = Bar::new(plan.bytes(), plan.files.len() as u64, arguments.quiet);
    let work = async {
        for directory in &plan.directories {
            // Its owner must be able to fill it.
            connection
                .make_directory(&directory.target, directory.mode | 0o700)
                .await?;
        }
        at_once(arguments.parallel, plan.files, |file| {
            let (bar, counter) = (&bar, bar.counter());
            async move {
                let source = SourceFile::open(&file.source)?;
                let copied = connection
                    .put(&source, &file.target, counter)
                    .await
                    .map_err(|error| into_directory(error, &file.target.to_string()))?;
                bar.file_done();
                Ok(copied)
            }
        })
        .await
    };
    let totals = watched(&bar, work).await?;
    Ok((totals.0, totals.1, plan.skipped))
}

async fn get_all(
    connection: &Connection,
    plan: GetPlan,
    arguments: &Arguments,
) -> Result<Totals, Failure> {
    let bar = Bar::new(plan.bytes(), plan.files.len() as u64, arguments.quiet);
    let work = async {
        let mut made = Directories::default();
        for directory in &plan.directories {
            made.make_copy(&directory.target, directory.mode)?;
        }
        made.sync().await?;
        let totals = at_once(arguments.parallel, plan.files, |file| {
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
        })
        .await?;
        made.set_modes().await?;
        Ok::<_, Failure>(totals)
    };
    let totals = watched(&bar, work).await?;
    Ok((totals.0, totals.1, plan.skipped))
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

/// Runs `job` on every item, at most `limit` at once; the first failure ends it all.
async fn at_once<I, F>(
    limit: u32,
    items: Vec<I>,
    job: impl Fn(I) -> F,
) -> Result<(Copied, u64), Failure>
where
    F: Future<Output = Result<Copied, Failure>>,
{
    let queue = Rc::new(RefCell::new(VecDeque::from(items)));
    let job = &job;
    let lanes = (0..limit).map(|_| {
        let queue = Rc::clone(&queue);
        async move {
            let (mut sum, mut files) = (Copied::default(), 0);
            loop {
                let Some(item) = queue.borrow_mut().pop_front() else {
                    break;
                };
                let copied = job(item).await?;
                sum.bytes += copied.bytes;
                sum.zero_copy_bytes += copied.zero_copy_bytes;
                sum.copied_bytes += copied.copied_bytes;
                files += 1;
            }
            Ok::<_, Failure>((sum, files))
        }
    });
    let sums = futures_util::future::try_join_all(lanes).await?;
    Ok(sums
        .into_iter()
        .fold((Copied::default(), 0), |(total, files), (sum, more)| {
            let total = Copied {
                bytes: total.bytes + sum.bytes,
                crc: 0,
                zero_copy_bytes: total.zero_copy_bytes + sum.zero_copy_bytes,
                copied_bytes: total.copied_bytes + sum.copied_bytes,
            };
            (total, files + more)
        }))
}

/// A target that is a directory is said with the way out.
fn into_directory(error: ClientError, target: &str) -> Failure {
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
