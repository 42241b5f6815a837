//! Carries a plan out: what is in the way goes, directories, then many files at once, links, and in the end what is to go.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::ffi::OsString;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use blk_client::{ClientError, Connection, Copied, PutOptions, RemotePath, SourceFile};
use blk_datapath::files::FileErrorKind;
use blk_proto::message::ErrorCode;

use crate::arguments::Arguments;
use crate::destination::Destination;
use crate::directories::{Directories, parent_of, set_attributes};
use crate::failure::Failure;
use crate::lanes::at_once;
use crate::links;
use crate::plan::{Attribution, Count, Item, Plan};
use crate::progress::Bar;
use crate::removal;
use crate::small::{self, ToGet, ToPut};

/// What is to be sent.
pub type PutPlan = Plan<PathBuf, RemotePath>;
/// What is to be fetched.
pub type GetPlan = Plan<RemotePath, PathBuf>;

/// What was done, or would have been.
#[derive(Debug, Default)]
pub struct Done {
    /// Files copied.
    pub sums: Sums,
    /// Links made.
    pub links: u64,
    /// What the target had already.
    pub unchanged: Count,
    /// What the options left.
    pub passed_over: Count,
    /// Names removed at the target.
    pub deleted: u64,
    /// Names removed at the source.
    pub sources_removed: u64,
    /// What was left out.
    pub skipped: Vec<String>,
}

impl Done {
    /// Had it been done.
    pub fn of_plan<From, To>(plan: Plan<From, To>) -> Self {
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

/// How many directories a path is below its export.
fn depth(path: &RemotePath) -> usize {
    path.path.iter().filter(|&&byte| byte == b'/').count()
}

/// Makes the directories of a put: those of one depth side by side, after those that they lie in.
async fn make_directories(
    connection: &Connection,
    directories: Vec<Item<PathBuf, RemotePath>>,
) -> Result<(), Failure> {
    let depth = |directory: &Item<PathBuf, RemotePath>| depth(&directory.target);
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

/// Sets modes and times at the other end: those of one depth side by side, the deepest first, because a directory without permissions
/// hides what is below it.
async fn set_attributes_there(
    connection: &Connection,
    attributions: Vec<Attribution<RemotePath>>,
) -> Result<(), Failure> {
    let depth = |of: &Attribution<RemotePath>| depth(&of.target);
    let mut sorted = attributions;
    sorted.sort_by_key(|of| Reverse(depth(of)));
    for level in sorted.chunk_by(|one, other| depth(one) == depth(other)) {
        at_once(
            AT_ONCE,
            level.iter().collect(),
            async |of: &Attribution<_>| {
                let set = connection.set_attributes(&of.target, of.mode, of.mtime_ns);
                Ok(set.await?)
            },
        )
        .await?;
    }
    Ok(())
}

/// Sends what the plan says.
pub async fn put_all(
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
        set_attributes_there(connection, plan.attributions).await?;
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

/// Fetches what the plan says.
pub async fn get_all(
    connection: &Connection,
    plan: GetPlan,
    destination: &Path,
    arguments: &Arguments,
) -> Result<Done, Failure> {
    let bar = Bar::new(plan.bytes(), plan.files.len() as u64, arguments.telling());
    let destination = &Destination::new(destination);
    let work = async {
        let mut done = Done {
            deleted: removal::remove_here(destination, &plan.obstacles).await?,
            unchanged: plan.unchanged,
            passed_over: plan.passed_over,
            skipped: plan.skipped,
            ..Done::default()
        };
        let mut made = Directories::below(destination);
        for directory in &plan.directories {
            made.make_copy(&directory.target, directory.mode)?;
        }
        made.sync().await?;
        done.sums = get_files(connection, destination, plan.files, &bar, arguments).await?;
        done.links = links::get(destination, plan.links).await?;
        done.deleted += removal::remove_here(destination, &plan.extras).await?;
        let timed: HashSet<&Path> = plan.attributions.iter().map(|of| &*of.target).collect();
        made.set_modes(|path| timed.contains(path)).await?;
        for of in &plan.attributions {
            set_attributes(destination, &of.target, of.mode, of.mtime_ns).await?;
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
    destination: &Destination,
    files: Vec<ToGet>,
    bar: &Bar,
    arguments: &Arguments,
) -> Result<Sums, Failure> {
    let (small, large) = small::divide(files);
    let get = async |file: ToGet| {
        let (directory, name) = local_target(destination, &file.target).await?;
        let copied = connection
            .get(&file.source, directory, &name, bar.counter())
            .await
            .map_err(|error| into_directory(error, &file.target.display().to_string()))?;
        bar.file_done();
        Ok(copied)
    };
    let (large, (small, others)) = tokio::try_join!(
        at_once(arguments.parallel, large, &get),
        small::get(connection, destination, small, bar)
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
    /// Sums over the files.
    pub copied: Copied,
    /// How many.
    pub files: u64,
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
async fn local_target(
    destination: &Destination,
    path: &Path,
) -> Result<(OwnedFd, OsString), Failure> {
    let name = path
        .file_name()
        .ok_or_else(|| Failure::Name(path.display().to_string()))?
        .to_owned();
    let parent = parent_of(path);
    let mut made = Directories::below(destination);
    made.make(parent)?;
    made.sync().await?;
    Ok((destination.open_directory(parent)?, name))
}
