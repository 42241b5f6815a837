//! The networks that may send to the port: those of the command line, and those of a file that is read again while blockd runs.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use blk_xdp::{HandshakeLimitError, Network, NetworkError};

use crate::admission::Admission;

/// In front of a number in the file: what `--handshake-rate` says on the command line.
const RATE: &str = "handshake-rate";

/// Where the list is from.
#[derive(Debug, Clone, Default)]
pub struct AllowList {
    /// Networks of the command line.
    pub networks: Vec<Network>,
    /// A file with more: one network on each line, and comments behind `#`. It may set the handshake rate, too.
    pub file: Option<PathBuf>,
    /// Handshake packets per second and source, unless the file says something else; 0: no limit.
    pub handshake_rate: u32,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum AllowListError {
    /// The file cannot be read.
    #[error("cannot read the allow-list {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A line is not a network.
    #[error("{path}, line {line}: {source}")]
    Network {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1 on.
        line: usize,
        /// What is wrong with it.
        source: NetworkError,
    },
    /// A line does not say a handshake rate that can be kept.
    #[error("{path}, line {line}: {what}")]
    Rate {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1 on.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// There is no network, on the command line neither.
    #[error("{0} names no network: that would shut everybody out")]
    Empty(PathBuf),
    /// The handshake rate of the command line cannot be kept.
    #[error("--handshake-rate: {0}")]
    HandshakeRate(#[from] HandshakeLimitError),
}

impl AllowList {
    /// Reads the file, if there is one, and checks everything.
    ///
    /// # Errors
    /// [`AllowListError`], with the file's line where that is wrong.
    pub fn read(&self) -> Result<Admission, AllowListError> {
        let mut admission = Admission {
            allow: self.networks.clone(),
            handshakes: Admission::limit(self.handshake_rate)?,
        };
        if let Some(path) = &self.file {
            let text = text(path).map_err(|source| AllowListError::Read {
                path: path.clone(),
                source,
            })?;
            parse(&text, path, &mut admission)?;
            if admission.allow.is_empty() {
                return Err(AllowListError::Empty(path.clone()));
            }
        }
        let mut seen = HashSet::new();
        admission.allow.retain(|network| seen.insert(*network));
        Ok(admission)
    }
}

/// The text of a file. What is no file, like a pipe, could be read only once.
fn text(path: &Path) -> io::Result<String> {
    if fs::metadata(path)?.is_file() {
        fs::read_to_string(path)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

/// Adds what the lines of the file say.
fn parse(text: &str, path: &Path, admission: &mut Admission) -> Result<(), AllowListError> {
    for (line, words) in (1..).zip(text.lines()) {
        let words = words.split('#').next().unwrap_or_default().trim();
        if words.is_empty() {
            continue;
        }
        let path = || path.to_owned();
        if let Some(rate) = words.strip_prefix(RATE) {
            let wrong = |what: String| AllowListError::Rate {
                path: path(),
                line,
                what,
            };
            let rate: u32 = rate.trim().parse().map_err(|error| {
                wrong(format!(
                    "{words:?} is no `{RATE} N`, with a number: {error}"
                ))
            })?;
            admission.handshakes =
                Admission::limit(rate).map_err(|error| wrong(error.to_string()))?;
            continue;
        }
        let network = words.parse().map_err(|source| AllowListError::Network {
            path: path(),
            line,
            source,
        })?;
        admission.allow.push(network);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> (tempfile::TempDir, AllowList) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("allowed");
        fs::write(&file, text).unwrap();
        let list = AllowList {
            file: Some(file),
            handshake_rate: 1000,
            ..AllowList::default()
        };
        (directory, list)
    }

    fn names(admission: &Admission) -> Vec<String> {
        admission.allow.iter().map(Network::to_string).collect()
    }

    #[test]
    fn a_file_has_networks_comments_and_blank_lines() {
        let text = "# hosts\n\n10.0.0.0/8 # all of it\r\n  fd00:77::/64\n192.0.2.7\n10.0.0.0/8\n";
        let (_directory, mut list) = list(text);
        list.networks = vec!["192.0.2.0/24".parse().unwrap()];
        let admission = list.read().unwrap();
        let expected = ["192.0.2.0/24", "10.0.0.0/8", "fd00:77::/64", "192.0.2.7/32"];
        assert_eq!(names(&admission), expected);
        assert_eq!(admission.handshakes.map(|limit| limit.rate()), Some(1000));
    }

    #[test]
    fn a_file_may_set_the_handshake_rate() {
        let (_directory, list) = list("handshake-rate 7 # few\n10.0.0.1\n");
        let admission = list.read().unwrap();
        assert_eq!(admission.handshakes.map(|limit| limit.rate()), Some(7));
        assert_eq!(admission.allow.len(), 1);
    }

    #[test]
    fn errors_name_file_and_line() {
        for (text, line, word) in [
            ("10.0.0.0/8\n\nsomebody\n", 3, "somebody"),
            ("10.0.0.1/8\n", 1, "10.0.0.0/8"),
            ("# x\n::1/129", 2, "129"),
            ("handshake-rate many", 1, "many"),
            ("handshake-rate 1000001", 1, "1000000"),
        ] {
            let (_directory, list) = list(text);
            let error = list.read().unwrap_err().to_string();
            let place = format!("allowed, line {line}: ");
            assert!(error.contains(&place) && error.contains(word), "{error}");
        }
    }

    #[test]
    fn nobody_at_all_is_a_mistake() {
        let (directory, mut list) = list("# nobody\n");
        let error = list.read().unwrap_err();
        assert!(matches!(error, AllowListError::Empty(_)), "{error}");
        // Those of the command line are there still.
        list.networks = vec!["192.0.2.7".parse().unwrap()];
        assert_eq!(list.read().unwrap().allow.len(), 1);
        list.file = Some(directory.path().to_owned());
        let error = list.read().unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
        list.file = Some(directory.path().join("none"));
        assert!(matches!(list.read(), Err(AllowListError::Read { .. })));
    }
}
