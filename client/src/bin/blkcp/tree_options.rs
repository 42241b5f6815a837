//! The part of the command line that says which files are copied, and what else becomes of them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgMatches, Args};

use crate::failure::Failure;
use crate::filter::{FilesFrom, Filter, FilterWord, read_files_from};
use crate::plan::{Rules, Way};

/// See rsync(1): what has the same name there means the same here.
#[derive(Debug, Default, Args)]
pub struct TreeOptions {
    /// Copy directories with everything below them
    #[arg(short, long)]
    pub recursive: bool,
    /// As -r -l, and directories get mode and time of modification of their sources, unchanged files the mode. No owners, ACLs, extended
    /// attributes, devices and hard links
    #[arg(short, long)]
    pub archive: bool,
    /// Copy symbolic links as links; without, those in directories are skipped
    #[arg(short, long)]
    pub links: bool,
    /// Copy files also where size and time of modification say that the target has them
    #[arg(short = 'I', long)]
    pub ignore_times: bool,
    /// Make nothing that is not there yet
    #[arg(long)]
    pub existing: bool,
    /// Replace nothing that is there
    #[arg(long)]
    pub ignore_existing: bool,
    /// Leave files that are newer at the target
    #[arg(short, long)]
    pub update: bool,
    /// Only say what would be done; -i says it for each file
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Print a line on standard output for each change, before it is made, in the form of rsync's
    #[arg(short, long)]
    pub itemize_changes: bool,
    /// Remove the files and links at the source that were copied, when all copies are durable, unless they have changed since they were looked at; what the target had already stays
    #[arg(long)]
    pub remove_source_files: bool,
    /// Remove what the source does not have from the directories that are copied, at the end; with -r. What filters exclude stays
    #[arg(long)]
    pub delete: bool,
    /// Refuse the whole copy when --delete would remove more than so many
    #[arg(long, value_name = "N", requires = "delete")]
    pub max_delete: Option<u64>,
    /// Leave out what matches; the first rule of --exclude, --include, --exclude-from and --include-from that matches decides
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<OsString>,
    /// Do not leave out what matches
    #[arg(long, value_name = "PATTERN")]
    pub include: Vec<OsString>,
    /// Rules from a file, one a line: `- PATTERN`, `+ PATTERN`, or a pattern to exclude; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub exclude_from: Vec<OsString>,
    /// The same, where a pattern alone is one to include
    #[arg(long, value_name = "FILE")]
    pub include_from: Vec<OsString>,
    /// Copy what this file names, one a line, below the one source; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub files_from: Option<PathBuf>,
    /// Names in the file of --files-from end with NUL bytes
    #[arg(short = '0', long)]
    pub from0: bool,
    /// Options that make rules, as they are written.
    #[arg(skip)]
    pub filter_words: Vec<FilterWord>,
}

impl TreeOptions {
    /// Takes over what only the order of the words tells.
    pub fn take_order(&mut self, matches: &ArgMatches) {
        self.filter_words = FilterWord::all(matches);
    }

    /// Whether directories are copied with what is in them. As with rsync, `--archive` does not mean that for those that
    /// `--files-from` names.
    pub fn is_recursive(&self) -> bool {
        self.recursive || (self.archive && self.files_from.is_none())
    }

    /// Whether links are copied as links.
    pub fn copies_links(&self) -> bool {
        self.links || self.archive
    }

    /// What contradicts itself is a usage failure.
    pub fn check(&self) -> Result<(), Failure> {
        let refused = |text: &str| Err(Failure::Usage(text.to_owned()));
        if self.delete && !self.is_recursive() {
            return refused("--delete needs -r: it removes from directories that are copied whole");
        }
        if self.delete && self.files_from.is_some() {
            return refused(
                "--delete and --files-from do not go together: what is not named would have to go",
            );
        }
        Ok(())
    }

    /// The rules of what is left out.
    pub fn filter(&self) -> Result<Filter, Failure> {
        Filter::read(&self.filter_words)
    }

    /// The names that are copied, if they are in a file.
    pub fn names(&self) -> Result<Option<FilesFrom>, Failure> {
        let read = |path: &PathBuf| read_files_from(path, self.from0);
        self.files_from.as_ref().map(read).transpose()
    }

    /// What decides about each name.
    pub fn rules(&self, way: Way) -> Rules {
        Rules {
            way,
            ignore_times: self.ignore_times,
            existing: self.existing,
            ignore_existing: self.ignore_existing,
            update: self.update,
            links: self.copies_links(),
            attributes: self.archive,
            delete: self.delete,
        }
    }

    /// Whether it matters what the target has; for directories it always does: a link must not be in the place of one.
    pub fn asks_target(&self) -> bool {
        !self.ignore_times
            || self.existing
            || self.ignore_existing
            || self.update
            || self.dry_run
            || self.itemize_changes
            || self.delete
            || self.archive
            || self.remove_source_files
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, FromArgMatches};

    fn parse(words: &[&str]) -> TreeOptions {
        let command = TreeOptions::augment_args(Command::new("blkcp"));
        let matches = command.try_get_matches_from([&["blkcp"], words].concat());
        let matches = matches.unwrap_or_else(|error| panic!("{words:?}: {error}"));
        let mut options = TreeOptions::from_arg_matches(&matches).unwrap();
        options.take_order(&matches);
        options
    }

    #[test]
    fn rules_come_in_the_order_of_the_words() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("rules");
        std::fs::write(&file, b"+ b\n*\n").unwrap();
        let from = format!("--exclude-from={}", file.display());
        let filter = parse(&["--include", "a", &from, "--exclude=b"])
            .filter()
            .unwrap();
        assert!(!filter.excludes(b"a", false) && !filter.excludes(b"b", false));
        assert!(filter.excludes(b"c", false));
        let filter = parse(&["--exclude=b", &from]).filter().unwrap();
        assert!(filter.excludes(b"b", false));
        let missing = parse(&["--include-from", "/none/such"])
            .filter()
            .unwrap_err();
        assert_eq!(missing.exit_code(), 5);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        assert!(parse(&["-r", "--delete"]).check().is_ok());
        assert!(parse(&["-a", "--delete"]).check().is_ok());
        for words in [
            &["--delete"][..],
            &["-a", "--delete", "--files-from=x"],
            &["-r", "--delete", "--files-from=x"],
        ] {
            assert_eq!(parse(words).check().unwrap_err().exit_code(), 2);
        }
    }

    #[test]
    fn archive_is_recursive_but_not_below_names() {
        assert!(parse(&["-a"]).is_recursive());
        assert!(!parse(&["-a", "--files-from=x"]).is_recursive());
        assert!(parse(&["-ar", "--files-from=x"]).is_recursive());
        assert!(!parse(&["-I"]).asks_target() && parse(&["-Iu"]).asks_target());
    }
}
