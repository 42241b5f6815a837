//! Which way the words on the command line lead.

use std::path::PathBuf;

use blk_client::{Location, RemotePath};

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::plan::means_content;

/// Which way the bytes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Direction {
    /// Local files to a host.
    Put {
        sources: Vec<PathBuf>,
        destination: RemotePath,
    },
    /// A host's files to here.
    Get {
        sources: Vec<RemotePath>,
        destination: PathBuf,
        /// Whether the destination can only be a directory to copy into.
        into: bool,
    },
}

impl Direction {
    /// Reads the words; what cannot be copied is a usage failure.
    pub fn read(arguments: &Arguments) -> Result<Self, Failure> {
        let destination = Location::parse(&arguments.destination)?;
        let sources: Vec<Location> = arguments
            .sources
            .iter()
            .map(Location::parse)
            .collect::<Result<_, _>>()?;
        match destination {
            Location::Remote(destination) => {
                let locals = sources.into_iter().map(|source| match source {
                    Location::Local(path) => Ok(path),
                    Location::Remote(_) => Err(Failure::Usage(
                        "from host to host: copy to a local path first".into(),
                    )),
                });
                Ok(Self::Put {
                    sources: locals.collect::<Result<_, _>>()?,
                    destination,
                })
            }
            Location::Local(destination) => {
                let remotes = sources.into_iter().map(|source| match source {
                    Location::Remote(path) => Ok(path),
                    Location::Local(_) => Err(Failure::Usage(
                        "neither side is remote: write one as HOST:EXPORT/PATH".into(),
                    )),
                });
                let remotes: Vec<RemotePath> = remotes.collect::<Result<_, _>>()?;
                if remotes.iter().any(|remote| remote.host != remotes[0].host) {
                    return Err(Failure::Usage(
                        "the sources are on different hosts: copy them one host at a time".into(),
                    ));
                }
                Ok(Self::Get {
                    into: means_content(&destination),
                    sources: remotes,
                    destination,
                })
            }
        }
    }

    /// The host at the other end.
    pub fn host(&self) -> &str {
        match self {
            Self::Put { destination, .. } => &destination.host,
            Self::Get { sources, .. } => &sources[0].host,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn direction(words: &[&str]) -> Result<Direction, Failure> {
        Direction::read(&Arguments::try_parse_from([&["blkcp"], words].concat()).unwrap())
    }

    #[test]
    fn one_side_must_be_remote_and_only_one() {
        assert!(matches!(direction(&["a", "b"]), Err(Failure::Usage(_))));
        assert!(matches!(
            direction(&["h:x/a", "i:x/b"]),
            Err(Failure::Usage(_))
        ));
        assert!(matches!(
            direction(&["h:x/a", "i:x/b", "."]),
            Err(Failure::Usage(_))
        ));
        assert!(matches!(
            direction(&["a", "h:x/a"]),
            Ok(Direction::Put { .. })
        ));
        assert!(matches!(
            direction(&["h:x/a", "h:y/b", "."]),
            Ok(Direction::Get { into: true, .. })
        ));
    }
}
