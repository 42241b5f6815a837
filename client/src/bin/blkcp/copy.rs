//! Carries a plan out: directories first, then many files at once.

use std::ffi::OsString;
use std::future::Future;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
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
use crate::directories::{Directories, open, parent_of, set_attributes};
use crate::dump::Dumping;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::lanes::at_once;
use crate::links;
use crate::memory::history;
use crate::plan::{
    Attribution, Count, Found, Item, Plan, Selection, There, Tree, Way, check_get, compare,
    look_local, look_remote, roots_get, roots_put, scan_local, scan_remote,
};
use crate::progress::Bar;
use crate::removal;
use crate::small::{self, ToGet, ToPut};
use crate::summary::Summary;

/// What is to be sent.
type PutPlan = Plan<PathBuf, RemotePath>;
/// What is to be fetched.
type GetPlan = Plan<RemotePath, PathBuf>;

/// Does what the command line says.
pub fn run(arguments: &Arguments, interrupt: Interrupt) -> Result<Summary, Failure> {
    let direction = Direction::read(arguments)?;
    arguments.check_cpu(&allowed_cpus())?;
    arguments.tree.check()?;
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
    let (filter, names) = (arguments.tree.filter()?, arguments.tree.names()?);
    let selection = Selection {
        recursive: arguments.tree.is_recursive(),
        links: arguments.tree.copies_links(),
        filter: &filter,
        files_from: names.as_ref(),
    };
    let tree = match direction {
        Direction::Put {
            sources,
            destination,
        } => scan_local(roots_put(sources, destination, selection)?, selection)?,
        Direction::Get {
            sources,
            destination,
            into,
        } => {
            check_get(sources, destination, *into, selection)?;
            Tree::new()
        }
    };
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
    let done = match direction {
        Direction::Put { destination, .. } => {
            let plan = put_plan(&connection, tree, destination, arguments, selection).await?;
            match announce(&plan, arguments)? {
                true => put_all(&connection, plan, arguments).await?,
                false => Done::of_plan(plan),
            }
        }
        Direction::Get {
            sources,
            destination,
            into,
        } => {
            let roots = roots_get(&connection, sources, *into, selection).await?;
            let plan = get_plan(&connection, roots, destination, arguments, selection).await?;
            match announce(&plan, arguments)? {
                true => get_all(&connection, plan, arguments).await?,
                false => Done::of_plan(plan),
            }
        }
    };
    let elapsed = started.elapsed();
    let stats = connection.statistics().await.unwrap_or_default();
    let flows = connection.flows().await;
    let datapath = connection.datapath().clone();
    connection.close();
    Ok(Summary {
        files: done.sums.files,
        copied: done.sums.copied,
        elapsed,
        datapath,
        retransmitted: flows.iter().map(|flow| flow.retransmitted).sum(),
        flows,
        payload: stats.payload_limit,
        dry_run: arguments.tree.dry_run,
        links: done.links,
        unchanged: done.unchanged,
        passed_over: done.passed_over,
        deleted: done.deleted,
        sources_removed: done.sources_removed,
        skipped: done.skipped,
    })
}

/// What is to be done at the other end.
async fn put_plan(
    connection: &Connection,
    tree: Tree<PathBuf>,
    destination: &RemotePath,
    arguments: &Arguments,
    selection: Selection<'_>,
) -> Result<PutPlan, Failure> {
    let options = &arguments.tree;
    let mut there = There::default();
    if options.asks_target() {
        let (filter, all) = (selection.filter, options.delete);
        there = look_remote(connection, destination, &tree, filter, all).await?;
        links::read_targets(connection, destination, &tree, &mut there).await?;
    }
    Ok(compare(
        tree,
        &there,
        destination,
        &options.rules(Way::Sent),
    ))
}

/// What is to be done here.
async fn get_plan(
    connection: &Connection,
    roots: Vec<Found<RemotePath>>,
    destination: &Path,
    arguments: &Arguments,
    selection: Selection<'_>,
) -> Result<GetPlan, Failure> {
    let options = &arguments.tree;
    let mut tree = scan_remote(connection, roots, selection).await?;
    if selection.links {
        links::read_sources(connection, &mut tree).await?;
    }
    let there = match options.asks_target() {
        true => look_local(destination, &tree, selection.filter, options.delete)?,
        false => There::default(),
    };
    let rules = options.rules(Way::Received);
    Ok(compare(tree, &there, &destination.to_owned(), &rules))
}

/// Says what is to be done, where that is asked for; whether it is to be done.
fn announce<From, To>(plan: &Plan<From, To>, arguments: &Arguments) -> Result<bool, Failure> {
    if arguments.tree.itemize_changes {
        let mut out = io::stdout().lock();
        let written = plan
            .changes
            .iter()
            .try_for_each(|change| writeln!(out, "{change}"));
        written
            .and_then(|()| out.flush())
            .map_err(Failure::local("write", Path::new("standard output")))?;
    }
    let deletions = plan.deletions() as u64;
    match arguments.tree.max_delete {
        Some(allowed) if deletions > allowed => {
            Err(Failure::TooManyDeletions { deletions, allowed })
        }
        _ => Ok(!arguments.tree.dry_run),
    }
}

/// What was done, or would have been.
#[derive(Debug, Default)]
struct Done {
    sums: Sums,
    links: u64,
    unchanged: Count,
    passed_over: Count,
    deleted: u64,
    sources_removed: u64,
    skipped: Vec<String>,
}

impl Done {
    /// Had it been done.
    fn of_plan<From, To>(plan: Plan<From, To>) -> Self {
        let copied = Copied {
            bytes: plan.bytes(),
            ..Copied::default()
        };
        Self {
            sums: Sums {
                copied,
                files: plan.files.len() as u64,
            },
            links: plan.links.len() as u64,
            unchanged: plan.unchanged,
            passed_over: plan.passed_over,
            deleted: plan.deletions() as u64,
            sources_removed: 0,
            skipped: plan.skipped,
        }
    }
}

/// Directories that are made at the same time at most: enough that they share their syncs.
const AT_ONCE: u32 = 32;

/// Makes the directories of a put: those of one depth side by side, after those that they lie in.
async fn make_directories(
    connection: &Connection,
    directories: Vec<Item<PathBuf, RemotePath>>,
) -> Result<(), Failure> {
    let depth = |directory: &Item<PathBuf, RemotePath>| {
        let path = &directory.target.path;
        path.iter().filter(|&&byte| byte == b'/').count()
    };
    let mut sorted = directories;
    sorted.sort_by_key(depth);
    for level in sorted.chunk_by(|one, other| depth(one) == depth(other)) {
        at_once(
            AT_ONCE,
            level.iter().collect(),
            async |directory: &Item<_, RemotePath>| {
                // Its owner must be able to fill it.
                let mode = directory.mode | 0o700;
                Ok(connection.make_directory(&directory.target, mode).await?)
            },
        )
        .await?;
    }
    Ok(())
}

async fn put_all(
    connection: &Connection,
    plan: PutPlan,
    arguments: &Arguments,
) -> Result<Done, Failure> {
    let bar = Bar::new(plan.bytes(), plan.files.len() as u64, arguments.telling());
    let work = async {
        let mut done = Done {
            deleted: removal::remove_there(connection, plan.obstacles).await?,
            unchanged: plan.unchanged,
            passed_over: plan.passed_over,
            skipped: plan.skipped,
            ..Done::default()
        };
        make_directories(connection, plan.directories).await?;
        done.sums = put_files(connection, plan.files, &bar, arguments).await?;
        done.links = links::put(connection, plan.links).await?;
        done.deleted += removal::remove_there(connection, plan.extras).await?;
        at_once(
            AT_ONCE,
            plan.attributions,
            async |of: Attribution<RemotePath>| {
                let set = connection.set_attributes(&of.target, of.mode, of.mtime_ns);
                Ok(set.await?)
            },
        )
        .await?;
        if arguments.tree.remove_source_files {
            let told = &mut done.skipped;
            done.sources_removed = removal::remove_originals_here(&plan.originals, told);
        }
        Ok::<_, Failure>(done)
    };
    watched(&bar, work).await
}

async fn put_files(
    connection: &Connection,
    files: Vec<ToPut>,
    bar: &Bar,
    arguments: &Arguments,
) -> Result<Sums, Failure> {
    let (small, large) = small::divide(files);
    let put = async |file: ToPut| {
        let options = PutOptions {
            resume: !arguments.no_resume,
            present: bar.present(),
        };
        let source = SourceFile::open(&file.source)?;
        let copied = connection
            .put_with(&source, &file.target, bar.counter(), &options)
            .await
            .map_err(|error| into_directory(error, &file.target.to_string()))?;
        bar.file_done();
        Ok(copied)
    };
    let (large, (small, others)) = tokio::try_join!(
        at_once(arguments.parallel, large, &put),
        small::put(connection, small, bar)
    )?;
    let others = at_once(arguments.parallel, others, &put).await?;
    Ok(small.with(&large).with(&others))
}

async fn get_all(
    connection: &Connection,
    plan: GetPlan,
    arguments: &Arguments,
) -> Result<Done, Failure> {
    let bar = Bar::new(plan.bytes(), plan.files.len() as u64, arguments.telling());
    let work = async {
        let mut done = Done {
            deleted: removal::remove_here(&plan.obstacles).await?,
            unchanged: plan.unchanged,
            passed_over: plan.passed_over,
            skipped: plan.skipped,
            ..Done::default()
        };
        let mut made = Directories::default();
        for directory in &plan.directories {
            made.make_copy(&directory.target, directory.mode)?;
        }
        made.sync().await?;
        done.sums = get_files(connection, plan.files, &bar, arguments).await?;
        done.links = links::get(plan.links).await?;
        done.deleted += removal::remove_here(&plan.extras).await?;
        made.set_modes().await?;
        for of in &plan.attributions {
            set_attributes(&of.target, of.mode, of.mtime_ns).await?;
        }
        if arguments.tree.remove_source_files {
            let told = &mut done.skipped;
            let removed = removal::remove_originals_there(connection, plan.originals, told);
            done.sources_removed = removed.await?;
        }
        Ok::<_, Failure>(done)
    };
    watched(&bar, work).await
}

async fn get_files(
    connection: &Connection,
    files: Vec<ToGet>,
    bar: &Bar,
    arguments: &Arguments,
) -> Result<Sums, Failure> {
    let (small, large) = small::divide(files);
    let get = async |file: ToGet| {
        let (directory, name) = local_target(&file.target).await?;
        let copied = connection
            .get(&file.source, directory, &name, bar.counter())
            .await
            .map_err(|error| into_directory(error, &file.target.display().to_string()))?;
        bar.file_done();
        Ok(copied)
    };
    let (large, (small, others)) = tokio::try_join!(
        at_once(arguments.parallel, large, &get),
        small::get(connection, small, bar)
    )?;
    let others = at_once(arguments.parallel, others, &get).await?;
    Ok(small.with(&large).with(&others))
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

    /// With more files.
    fn with(mut self, files: &[Copied]) -> Self {
        files.iter().for_each(|file| self.add(file));
        self
    }
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
