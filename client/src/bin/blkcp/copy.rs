//! From the command line to a plan, and from what was done to a summary.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use blk_client::paths::Purpose;
use blk_client::{ConnectOptions, Connection, RemotePath};
use blk_datapath::worker::allowed_cpus;
use blk_proto::message::FileKind;

use crate::arguments::Arguments;
use crate::carry::{Done, GetPlan, PutPlan, get_all, put_all};
use crate::direction::Direction;
use crate::dump::Dumping;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::links;
use crate::memory::history;
use crate::plan::{
    Found, Plan, Selection, There, Tree, Way, check_get, compare, look_local, look_remote,
    roots_get, roots_put, scan_local, scan_remote,
};
use crate::summary::Summary;

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
        bytes: bytes_of(direction, &tree),
        ..arguments.connect_options()
    };
    let connection = Connection::open(direction.host(), &options).await?;
    let started = Instant::now();
    let done = carry_out(&connection, arguments, direction, tree, selection).await;
    let done = done.map_err(|failure| match connection.datapath().by_figures {
        true => failure.with_hint(keeps(arguments, direction)).of_figures(),
        false => failure,
    })?;
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

/// How many bytes there are to send at most; what a get brings is not known yet.
fn bytes_of(direction: &Direction, tree: &Tree<PathBuf>) -> Option<u64> {
    match direction {
        Direction::Put { .. } => {
            let files = tree
                .iter()
                .map(|found| &found.attributes)
                .filter(|attributes| attributes.kind == FileKind::File);
            // Sparse files may say that they have any number.
            Some(files.fold(0, |sum, file| sum.saturating_add(file.size)))
        }
        Direction::Get { .. } => None,
    }
}

/// Does it over a connection.
async fn carry_out(
    connection: &Connection,
    arguments: &Arguments,
    direction: &Direction,
    tree: Tree<PathBuf>,
    selection: Selection<'_>,
) -> Result<Done, Failure> {
    Ok(match direction {
        Direction::Put { destination, .. } => {
            let plan = put_plan(connection, tree, destination, arguments, selection).await?;
            match announce(&plan, arguments)? {
                true => put_all(connection, plan, arguments).await?,
                false => Done::of_plan(plan),
            }
        }
        Direction::Get {
            sources,
            destination,
            into,
        } => {
            let roots = roots_get(connection, sources, *into, selection).await?;
            let plan = get_plan(connection, roots, destination, arguments, selection).await?;
            match announce(&plan, arguments)? {
                true => get_all(connection, plan, destination, arguments).await?,
                false => Done::of_plan(plan),
            }
        }
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
    if options.asks_target() || needs_directories(&tree) {
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
    let there = match options.asks_target() || needs_directories(&tree) {
        true => look_local(destination, &tree, selection.filter, options.delete)?,
        false => There::default(),
    };
    let rules = options.rules(Way::Received);
    Ok(compare(tree, &there, &destination.to_owned(), &rules))
}

/// Whether something is copied that is, or is in, a directory below the destination.
fn needs_directories<S>(tree: &Tree<S>) -> bool {
    tree.iter()
        .any(|found| found.attributes.kind == FileKind::Directory || found.name.contains(&b'/'))
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
