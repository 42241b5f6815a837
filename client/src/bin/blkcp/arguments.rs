//! The command line of blkcp.

use std::ffi::OsString;
use std::io::Write;

use blk_client::{self as client, ConnectOptions, FLOWS_MAX};
use blk_proto::net::{VlanTag, Vlans};
use clap::{
    Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Parser, ValueEnum,
};
use clap_complete::Shell;

use crate::dump::DumpArguments;
use crate::failure::Failure;
use crate::measure::MeasureArguments;
use crate::progress::Telling;
use crate::tree_options::TreeOptions;
use crate::verbs::{self, Verb};

/// Copy files to and from hosts that run blockd, over AF_XDP, straight between network and disk.
///
/// A remote file is written HOST:EXPORT/PATH; an IPv6 address in brackets. The last word is the destination:
/// a file gets its name as it is; a directory goes into it under its own name, and as SRC/ only with what is in it; with a slash at its
/// end it is a directory to copy into. Missing parent directories are made. Files that the other end has already, by size and time of
/// modification, are not copied again. A copy is checked by CRC32 from end to end and durable when blkcp returns; until then the
/// destination shows its old content, or nothing.
#[derive(Debug, Parser)]
#[command(name = "blkcp", version, after_help = AFTER_HELP)]
pub struct Arguments {
    /// What to copy: local files, or files of one host
    #[arg(required = true, value_name = "SRC")]
    pub sources: Vec<OsString>,
    /// Where to: HOST:EXPORT/PATH for local sources, a local path for remote ones
    #[arg(required = true, value_name = "DEST")]
    pub destination: OsString,
    #[command(flatten)]
    pub tree: TreeOptions,
    /// UDP port of blockd
    #[arg(short, long, default_value_t = 7440, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// How blocks cross the kernel: `auto` takes AF_XDP zero-copy where the driver has it, elsewhere UDP sockets, or AF_XDP copy mode where
    /// `blkcp measure` has found it cheaper on this interface
    #[arg(long, value_enum, default_value_t = Datapath::Auto)]
    pub datapath: Datapath,
    /// VLAN of the server, where the route does not lead by a VLAN interface; two ids for a VLAN in a VLAN (802.1ad), the outer one first.
    /// AF_XDP only
    #[arg(long, value_name = "ID[,ID]", value_parser = vlans)]
    pub vlan: Option<Vlans>,
    /// Poll the network card for so long before sleeping, in microseconds (SO_PREFER_BUSY_POLL): shorter answers, for CPU time; AF_XDP
    /// only
    #[arg(long, value_name = "MICROSECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "20", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub busy_poll: Option<u32>,
    /// Keep the data path's thread on this CPU [default: where the scheduler puts it]
    #[arg(long, value_name = "N")]
    pub cpu: Option<usize>,
    /// Flows for a large file, each on a queue of its own [default: as many as both ends have queues and this one has CPUs to spare, at most 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(FLOWS_MAX)))]
    pub flows: Option<u16>,
    /// Files under way at once
    #[arg(short = 'j', long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub parallel: u32,
    /// Give up when the other end has been silent for so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
    /// Send every file from its beginning, and have the other end keep nothing of one that does not arrive whole
    #[arg(long)]
    pub no_resume: bool,
    #[command(flatten)]
    pub dump: DumpArguments,
    /// Print the result as one line of JSON on standard output
    #[arg(long)]
    pub json: bool,
    /// What to tell on standard error while the copy goes on
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Telling::Auto)]
    pub progress: Telling,
    /// No progress line and no summary
    #[arg(short, long)]
    pub quiet: bool,
}

const AFTER_HELP: &str = "\
AF_XDP needs root, or CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_IPC_LOCK; without them blkcp takes UDP sockets.
RUST_LOG=info (or debug) says more on stderr.
`blkcp measure` finds out what each data path costs, for `auto`, and keeps that in $XDG_CACHE_HOME/blkcp/paths.json (~/.cache);
BLK_PATHS names another file, or none if it is empty. A file that has the name of a command is copied as ./ls.
A put of a file of 4 MiB or more that did not come to its end, for whatever reason, goes on where it stopped when the
same command is run again, unless the file has changed since. The other end keeps what it has for some days. A get
begins anew.

There is no encryption and no authentication yet: use it on trusted networks only.

Exit codes:
    0  everything was copied, or done
    1  something else failed, or an item was skipped
    2  wrong usage
    3  the host or its port cannot be reached
    4  the other end refused, or broke the protocol
    5  no such file or export
    6  the name leads outside the export, or is not allowed
    7  a directory where a file is meant, or the reverse
    8  no space left
    9  permissions or privileges are missing
   10  the checksum of a file is wrong
   11  the interface or the data path cannot be used
   12  the connection timed out or was lost
   13  data paths were measured, and the file for that is still at the other end
   14  something has the name already, or is in a directory that is to go
   15  --delete would remove more than --max-delete allows: nothing was done
  130  interrupted

Examples:
  blkcp disk.img storage1:data/images/disk.img
  blkcp -r photos storage1:data/backup/        photos becomes data/backup/photos
  blkcp -a --delete photos/ storage1:data/now   data/now becomes as photos is
  blkcp -rni --exclude='*.o' src storage1:data  what would be copied
  blkcp storage1:data/images/disk.img .
  blkcp 'a file' [fd00::5]:data/x";

/// How blocks cross the kernel.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Datapath {
    /// AF_XDP zero-copy where the driver has it, else what `blkcp measure` found better, UDP if nothing was measured; the summary says
    /// which, and why
    Auto,
    /// AF_XDP in the best mode that can be had, UDP where none can
    PreferXdp,
    /// AF_XDP zero-copy, or an error
    Zerocopy,
    /// AF_XDP copy mode, on any driver with native XDP
    Copy,
    /// AF_XDP in generic (skb) mode, on any driver; slower than UDP sockets, so `auto` never takes it
    Skb,
    /// Ordinary UDP sockets: no privileges, any interface, no XDP program
    Udp,
}

impl Datapath {
    /// The library's word for it.
    pub fn for_library(self) -> client::Datapath {
        match self {
            Self::Auto => client::Datapath::Auto,
            Self::PreferXdp => client::Datapath::PreferXdp,
            Self::Zerocopy => client::Datapath::ZeroCopy,
            Self::Copy => client::Datapath::Copy,
            Self::Skb => client::Datapath::Skb,
            Self::Udp => client::Datapath::Udp,
        }
    }
}

/// What blkcp is asked to do.
#[derive(Debug)]
pub enum Task {
    /// To copy.
    Copy(Box<Arguments>),
    /// To find out what data paths cost.
    Measure(MeasureArguments),
    /// To do something else with names or contents at the other end.
    Verb(Verb),
}

impl Task {
    /// Reads the command line. What it says to print is printed here, and ends the process; so does wrong usage.
    pub fn read() -> Self {
        let words: Vec<OsString> = std::env::args_os().collect();
        let matches = matches_of(&words).unwrap_or_else(|error| error.exit());
        let printed = if let Some(&shell) = matches.get_one::<Shell>(COMPLETIONS) {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command(), "blkcp", &mut script);
            std::io::stdout().write_all(&script)
        } else if let Some(page) = manual(&matches) {
            clap_mangen::Man::new(page).render(&mut std::io::stdout())
        } else {
            return Self::of(&matches).unwrap_or_else(|error| error.exit());
        };
        // A reader that has seen enough closes the pipe.
        std::process::exit(printed.is_err().into())
    }

    fn of(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(match matches.subcommand() {
            Some((name, words)) => match Verb::read(name, words) {
                Some(verb) => Self::Verb(verb?),
                None => Self::Measure(MeasureArguments::from_arg_matches(words)?),
            },
            None => {
                let mut arguments = Arguments::from_arg_matches(matches)?;
                arguments.tree.take_order(matches);
                Self::Copy(Box::new(arguments))
            }
        })
    }
}

impl Arguments {
    /// What to tell while the copy goes on.
    pub fn telling(&self) -> Telling {
        self.progress.unless(self.quiet)
    }

    /// `--cpu` must be one that the process may run on.
    pub fn check_cpu(&self, allowed: &[usize]) -> Result<(), Failure> {
        match self.cpu {
            Some(cpu) if !allowed.contains(&cpu) => Err(Failure::Usage(format!(
                "--cpu {cpu}: this process may run on CPU {}",
                ranges(allowed)
            ))),
            _ => Ok(()),
        }
    }

    /// The library's words for it, without a dump, and without what was measured.
    pub fn connect_options(&self) -> ConnectOptions {
        ConnectOptions {
            port: self.port,
            datapath: self.datapath.for_library(),
            busy_poll: self
                .busy_poll
                .map(|time| std::time::Duration::from_micros(time.into())),
            cpu: self.cpu,
            silence: std::time::Duration::from_secs(self.timeout),
            flows: self.flows,
            vlans: self.vlan.unwrap_or_default(),
            ..ConnectOptions::default()
        }
    }
}

/// Reads `ID` or `OUTER,INNER`.
pub fn vlans(text: &str) -> Result<Vlans, String> {
    let ids: Option<Vec<u16>> = text
        .split(',')
        .map(|id| id.parse().ok().filter(|id| (1..=4094).contains(id)))
        .collect();
    match ids.as_deref() {
        Some(&[id]) => Ok([Some(VlanTag::customer(id)), None]),
        Some(&[outer, inner]) => Ok([
            Some(VlanTag::service(outer)),
            Some(VlanTag::customer(inner)),
        ]),
        _ => Err("one VLAN id from 1 to 4094, or two with a comma".to_owned()),
    }
}

const COMPLETIONS: &str = "completions";
const MAN: &str = "man";

/// What the words of a command line, the program's name first, come to.
fn matches_of(words: &[OsString]) -> Result<ArgMatches, clap::Error> {
    // Behind any other word, a verb is the name of a file.
    let verbs = subcommands();
    let is_verb = |word: &OsString| verbs.iter().any(|verb| word == verb.get_name());
    let is_file = words.iter().skip(2).any(is_verb);
    let is_command = words.get(1).is_some_and(is_verb);
    match is_file && !is_command {
        true => copying(),
        false => command(),
    }
    .try_get_matches_from(words)
}

/// The whole command line.
fn command() -> Command {
    copying()
        .subcommands(subcommands())
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
}

/// Those of what is no copy.
fn subcommands() -> Vec<Command> {
    let mut all = verbs::commands();
    all.push(MeasureArguments::command());
    let whole = |verb: Command| {
        let name = verb.get_name().to_owned();
        verb.bin_name(format!("blkcp {name}"))
            .display_name(format!("blkcp-{name}"))
            .arg(man())
    };
    all.into_iter().map(whole).collect()
}

/// What the manual page that is asked for is about, if one is.
fn manual(matches: &ArgMatches) -> Option<Command> {
    let Some((name, words)) = matches.subcommand() else {
        return matches.get_flag(MAN).then(command);
    };
    let is_it = |verb: &Command| verb.get_name() == name && words.get_flag(MAN);
    subcommands().into_iter().find(is_it)
}

fn man() -> Arg {
    Arg::new(MAN)
        .long(MAN)
        .action(ArgAction::SetTrue)
        .exclusive(true)
        .help("Print the manual page (troff), and do nothing else")
}

/// That of a copy, with what only prints.
fn copying() -> Command {
    Arguments::command()
        .arg(
            Arg::new(COMPLETIONS)
                .long(COMPLETIONS)
                .value_name("SHELL")
                .value_parser(clap::value_parser!(Shell))
                .exclusive(true)
                .help("Print a completion script for a shell, and do nothing else"),
        )
        .arg(man())
}

/// `0-3,7` for 0, 1, 2, 3, 7, as the kernel writes lists of CPUs.
fn ranges(numbers: &[usize]) -> String {
    let mut text = String::new();
    for run in numbers.chunk_by(|&one, &next| next == one + 1) {
        let comma = if text.is_empty() { "" } else { "," };
        text += &match run {
            [first, .., last] => format!("{comma}{first}-{last}"),
            single => format!("{comma}{}", single[0]),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn what_only_prints_stands_alone() {
        let parse = |words: &[&str]| command().try_get_matches_from([&["blkcp"], words].concat());
        assert!(parse(&["--completions", "bash"]).is_ok());
        assert!(parse(&["--man"]).is_ok_and(|matches| matches.get_flag(MAN)));
        assert!(parse(&["--man", "a", "h:data/"]).is_err());
        let matches = parse(&["a", "h:data/"]).unwrap();
        assert!(!matches.get_flag(MAN) && !matches.contains_id(COMPLETIONS));
        assert_eq!(
            Arguments::from_arg_matches(&matches).unwrap().sources,
            ["a"]
        );
    }

    #[test]
    fn a_verb_is_one_only_as_the_first_word() {
        let matches = |words: &[&str]| {
            let words = [&["blkcp"], words].concat();
            matches_of(&words.iter().map(OsString::from).collect::<Vec<_>>())
        };
        let parse = |words: &[&str]| {
            let matches = matches(words);
            Task::of(&matches.unwrap_or_else(|error| panic!("{words:?}: {error}"))).unwrap()
        };
        let task = parse(&["measure", "h:data/x", "--size", "1GiB"]);
        assert!(matches!(task, Task::Measure(words) if words.size == 1 << 30));
        assert!(matches!(
            parse(&["ls", "h:data", "h:data/stat"]),
            Task::Verb(_)
        ));
        assert!(matches!(parse(&["rm", "-r", "h:data/rm"]), Task::Verb(_)));
        let copies: [&[&str]; 7] = [
            &["./ls", "h:data/"],
            &["-r", "cat", "rm", "h:data/"],
            &["measure.img", "h:data/"],
            &["./measure", "h:data/"],
            &["-r", "measure", "h:data/"],
            &["a", "measure", "h:data/"],
            &["help", "h:data/"],
        ];
        for words in copies {
            assert!(matches!(parse(words), Task::Copy(_)), "{words:?}");
        }
        assert!(matches(&["measure"]).is_err());
        let page = |words| manual(&matches(words).unwrap());
        let page = page(&["measure", "--man"]).expect("a page of its own");
        let mut text = Vec::new();
        clap_mangen::Man::new(page).render(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.contains("blkcp\\-measure") && text.contains("\\-\\-rounds"),
            "{text}"
        );
    }

    #[test]
    fn a_cpu_must_be_allowed() {
        let with = |cpu| {
            let words = ["blkcp", "--cpu", cpu, "a", "h:data/"];
            Arguments::try_parse_from(words).unwrap()
        };
        let allowed = [0, 1, 2, 5, 7, 8];
        assert!(with("5").check_cpu(&allowed).is_ok());
        let refused = with("3").check_cpu(&allowed).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        assert!(refused.to_string().ends_with("CPU 0-2,5,7-8"), "{refused}");
    }

    #[test]
    fn a_vlan_is_an_id_or_two() {
        let with = |vlan| {
            let words = ["blkcp", "--vlan", vlan, "a", "h:data/"];
            Arguments::try_parse_from(words).map(|parsed| parsed.connect_options().vlans)
        };
        assert_eq!(with("7").unwrap(), [Some(VlanTag::customer(7)), None]);
        let both = [Some(VlanTag::service(100)), Some(VlanTag::customer(4094))];
        assert_eq!(with("100,4094").unwrap(), both);
        for bad in ["", "0", "4095", "1,", "1,2,3", "x", "-1"] {
            assert!(with(bad).is_err(), "{bad}");
        }
        let parsed = Arguments::try_parse_from(["blkcp", "a", "h:data/"]).unwrap();
        assert_eq!(parsed.connect_options().vlans, [None, None]);
    }

    #[test]
    fn the_last_word_is_the_destination() {
        let parsed = Arguments::try_parse_from(["blkcp", "a", "b", "h:data/"]).unwrap();
        assert_eq!(parsed.sources, ["a", "b"]);
        assert_eq!(parsed.destination, "h:data/");
        assert!(Arguments::try_parse_from(["blkcp", "alone"]).is_err());
    }
}
