//! What blkcp does besides copying: names and contents at the other end.
//!
//! | file | concern |
//! |---|---|
//! | `connect`, `place` | which host, and how to get there |
//! | `output`, `writer` | what is said, and how it gets to whoever reads it |
//! | `quote`, `show` | how names, sizes and times look |
//! | `walk`, `look` | everything below a directory; what a name stands for |
//! | the others | a verb each |

mod cat;
mod connect;
mod list;
mod look;
mod make_directory;
mod output;
mod ping;
mod place;
mod quote;
mod remove;
mod rename;
mod show;
mod stat;
mod usage;
mod walk;
mod writer;

use std::io;

use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use self::connect::{ConnectArguments, Hosts, Load};
use self::output::{Closed, Output, Troubles};
use crate::failure::Failure;
use crate::interrupt::Interrupt;

/// A verb, with its words.
#[derive(Debug)]
pub enum Verb {
    /// `ls`.
    List(list::ListArguments),
    /// `stat`.
    Stat(stat::StatArguments),
    /// `mkdir`.
    MakeDirectory(make_directory::MakeDirectoryArguments),
    /// `mv`.
    Rename(rename::RenameArguments),
    /// `rm`.
    Remove(remove::RemoveArguments),
    /// `du`.
    Usage(usage::UsageArguments),
    /// `cat`.
    Cat(cat::CatArguments),
    /// `ping`.
    Ping(ping::PingArguments),
}

/// The command lines of all verbs.
pub fn commands() -> Vec<Command> {
    vec![
        list::ListArguments::command(),
        stat::StatArguments::command(),
        make_directory::MakeDirectoryArguments::command(),
        rename::RenameArguments::command(),
        remove::RemoveArguments::command(),
        usage::UsageArguments::command(),
        cat::CatArguments::command(),
        ping::PingArguments::command(),
    ]
}

impl Verb {
    /// The verb of that name, with its words; `None`: there is none.
    pub fn read(name: &str, words: &ArgMatches) -> Option<Result<Self, clap::Error>> {
        Some(match name {
            "ls" => FromArgMatches::from_arg_matches(words).map(Self::List),
            "stat" => FromArgMatches::from_arg_matches(words).map(Self::Stat),
            "mkdir" => FromArgMatches::from_arg_matches(words).map(Self::MakeDirectory),
            "mv" => FromArgMatches::from_arg_matches(words).map(Self::Rename),
            "rm" => FromArgMatches::from_arg_matches(words).map(Self::Remove),
            "du" => FromArgMatches::from_arg_matches(words).map(Self::Usage),
            "cat" => FromArgMatches::from_arg_matches(words).map(Self::Cat),
            "ping" => FromArgMatches::from_arg_matches(words).map(Self::Ping),
            _ => return None,
        })
    }

    fn connect(&self) -> &ConnectArguments {
        match self {
            Self::List(words) => &words.connect,
            Self::Stat(words) => &words.connect,
            Self::MakeDirectory(words) => &words.connect,
            Self::Rename(words) => &words.connect,
            Self::Remove(words) => &words.connect,
            Self::Usage(words) => &words.connect,
            Self::Cat(words) => &words.connect,
            Self::Ping(words) => &words.connect,
        }
    }

    fn load(&self) -> Load {
        match self {
            Self::Cat(_) => Load::Content,
            _ => Load::Messages,
        }
    }

    /// What it means that nobody reads what it says.
    fn closed(&self) -> Closed {
        match self {
            Self::Remove(words) if words.dry_run => Closed::IsTheEnd,
            Self::Remove(_) | Self::Rename(_) | Self::MakeDirectory(_) => Closed::IsIgnored,
            _ => Closed::IsTheEnd,
        }
    }

    /// What stays behind after Ctrl-C.
    fn halted(&self) -> &'static str {
        match self {
            Self::Remove(_) => "what was removed is gone, the rest is there",
            Self::Rename(_) => "what was renamed has its new name",
            _ => "nothing more is done",
        }
    }

    /// Carries it out, until what it says is written, also when it fails.
    async fn speak(&self, scene: &mut Scene<'_>) -> Result<(), Failure> {
        let done = self.carry_out(scene).await;
        done.and(scene.output.flush().await)
    }

    async fn carry_out(&self, scene: &mut Scene<'_>) -> Result<(), Failure> {
        match self {
            Self::List(words) => list::run(words, scene).await,
            Self::Stat(words) => stat::run(words, scene).await,
            Self::MakeDirectory(words) => make_directory::run(words, scene).await,
            Self::Rename(words) => rename::run(words, scene).await,
            Self::Remove(words) => remove::run(words, scene).await,
            Self::Usage(words) => usage::run(words, scene).await,
            Self::Cat(words) => cat::run(words, scene).await,
            Self::Ping(words) => ping::run(words, scene).await,
        }
    }
}

/// What a verb works with.
struct Scene<'a> {
    hosts: Hosts<'a>,
    output: Output,
    troubles: Troubles,
}

/// Does what the command line says, and says what went wrong: the exit code.
pub fn run(verb: &Verb, interrupt: &Interrupt) -> u8 {
    let mut scene = Scene {
        hosts: Hosts::new(verb.connect(), verb.load()),
        output: Output::new(verb.closed()),
        troubles: Troubles::default(),
    };
    let done = tokio_uring::start(async {
        tokio::select! {
            done = verb.speak(&mut scene) => done,
            () = interrupt.wait() => Err(Failure::Halted(verb.halted())),
        }
    });
    let done = done.map_err(|failure| match scene.hosts.are_by_figures() {
        true => failure.of_figures(),
        false => failure,
    });
    match done {
        // Whoever reads it has seen enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(failure @ Failure::Halted(_)) => {
            scene.troubles.say(&failure);
            return failure.exit_code();
        }
        Err(failure) => scene.troubles.say(&failure),
        Ok(()) => {}
    }
    scene.troubles.exit_code()
}
