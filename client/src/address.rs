//! `HOST:EXPORT/PATH`, or a local path: the words that name a file.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;

/// A file or directory below an export of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemotePath {
    /// Host name or address (an IPv6 address without its brackets).
    pub host: String,
    /// Name of the export.
    pub export: String,
    /// Path below the export, without a leading slash; empty for the export itself. Any bytes but NUL.
    pub path: Vec<u8>,
    /// Whether it was written with a slash at its end: a directory is meant.
    pub trailing_slash: bool,
}

/// Where a copy comes from or goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A path on this host.
    Local(PathBuf),
    /// A path on a host that runs blockd.
    Remote(RemotePath),
}

/// Why a word names nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Nothing at all.
    #[error("an empty name")]
    Empty,
    /// A remote name without a host.
    #[error("{0:?} has no host before the colon (a local file with a colon: write ./{0})")]
    NoHost(String),
    /// A remote name without an export.
    #[error("{0:?} names no export: write HOST:EXPORT/PATH")]
    NoExport(String),
    /// A remote path that starts with a slash.
    #[error("{0:?} is absolute: a remote path is EXPORT/PATH, below an export of the host")]
    Absolute(String),
    /// A bracket that does not close.
    #[error("{0:?}: an IPv6 address is written [ADDRESS]:EXPORT/PATH")]
    Bracket(String),
    /// An IPv6 address with its link.
    #[error(
        "{0:?}: link-local addresses with a zone (%LINK) are not supported: use another address of the host"
    )]
    Zone(String),
    /// Bytes that are not UTF-8 where text is needed.
    #[error("{0:?}: host and export must be text")]
    NotText(String),
}

impl Location {
    /// Reads a command-line word: remote when a colon comes before the first slash, as with scp.
    pub fn parse(word: &OsString) -> Result<Self, AddressError> {
        let bytes = word.as_bytes();
        if bytes.is_empty() {
            return Err(AddressError::Empty);
        }
        let shown = || word.to_string_lossy().into_owned();
        let (host, rest) = if bytes[0] == b'[' {
            let Some(end) = bytes.windows(2).position(|pair| pair == b"]:") else {
                return Err(AddressError::Bracket(shown()));
            };
            if bytes[..end].contains(&b'%') {
                return Err(AddressError::Zone(shown()));
            }
            (&bytes[1..end], &bytes[end + 2..])
        } else {
            match bytes.iter().position(|&byte| byte == b':' || byte == b'/') {
                Some(at) if bytes[at] == b':' => (&bytes[..at], &bytes[at + 1..]),
                _ => return Ok(Self::Local(PathBuf::from(word))),
            }
        };
        if host.is_empty() {
            return Err(AddressError::NoHost(shown()));
        }
        let text = |part: &[u8]| {
            std::str::from_utf8(part)
                .map(str::to_owned)
                .map_err(|_| AddressError::NotText(shown()))
        };
        RemotePath::on(&text(host)?, rest)
            .map(Self::Remote)
            .map_err(|error| error.of_word(shown()))
    }
}

impl AddressError {
    /// The same about the whole word that was read.
    fn of_word(self, word: String) -> Self {
        match self {
            Self::Empty | Self::NoExport(_) => Self::NoExport(word),
            Self::NoHost(_) => Self::NoHost(word),
            Self::Absolute(_) => Self::Absolute(word),
            Self::Bracket(_) => Self::Bracket(word),
            Self::Zone(_) => Self::Zone(word),
            Self::NotText(_) => Self::NotText(word),
        }
    }
}

impl FromStr for Location {
    type Err = AddressError;

    fn from_str(word: &str) -> Result<Self, AddressError> {
        Self::parse(&OsString::from(word))
    }
}

impl RemotePath {
    /// Reads `EXPORT/PATH`, any bytes but NUL in the path, as a name on a host.
    ///
    /// # Errors
    /// [`AddressError::Absolute`], [`AddressError::NotText`]; [`AddressError::Empty`] when there is nothing at all.
    pub fn on(host: &str, name: &[u8]) -> Result<Self, AddressError> {
        let shown = || String::from_utf8_lossy(name).into_owned();
        if name.is_empty() {
            return Err(AddressError::Empty);
        }
        if name.starts_with(b"/") {
            return Err(AddressError::Absolute(shown()));
        }
        let cut = name.iter().position(|&byte| byte == b'/');
        let cut = cut.unwrap_or(name.len());
        let export = std::str::from_utf8(&name[..cut]);
        let export = export.map_err(|_| AddressError::NotText(shown()))?;
        let path = name.get(cut + 1..).unwrap_or_default();
        let slashes = path.iter().rev().take_while(|&&byte| byte == b'/').count();
        Ok(Self {
            host: host.to_owned(),
            export: export.to_owned(),
            path: path[..path.len() - slashes].to_vec(),
            trailing_slash: name.ends_with(b"/"),
        })
    }

    /// `EXPORT/PATH`, which [`RemotePath::on`] reads.
    pub fn on_host(&self) -> Vec<u8> {
        let mut name = self.export.clone().into_bytes();
        if !self.path.is_empty() {
            name.push(b'/');
            name.extend_from_slice(&self.path);
        }
        name
    }

    /// The path's last component; `None` for the export itself.
    pub fn name(&self) -> Option<&[u8]> {
        self.path
            .rsplit(|&byte| byte == b'/')
            .next()
            .filter(|name| !name.is_empty())
    }

    /// The same host and export with another path below them.
    pub fn with_path(&self, path: Vec<u8>) -> Self {
        Self {
            path,
            trailing_slash: false,
            ..self.clone()
        }
    }

    /// This path with one more component.
    pub fn join(&self, name: &[u8]) -> Self {
        let mut path = self.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        self.with_path(path)
    }
}

impl std::fmt::Display for RemotePath {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = OsString::from_vec(self.path.clone());
        let slash = if self.path.is_empty() { "" } else { "/" };
        if self.host.contains(':') {
            write!(
                out,
                "[{}]:{}{slash}{}",
                self.host,
                self.export,
                path.to_string_lossy()
            )
        } else {
            write!(
                out,
                "{}:{}{slash}{}",
                self.host,
                self.export,
                path.to_string_lossy()
            )
        }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(out),
            Self::Remote(remote) => remote.fmt(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(word: &str) -> RemotePath {
        match word.parse() {
            Ok(Location::Remote(remote)) => remote,
            other => panic!("{word}: {other:?}"),
        }
    }

    #[test]
    fn a_colon_before_any_slash_makes_it_remote() {
        assert_eq!("a/b:c".parse(), Ok(Location::Local("a/b:c".into())));
        assert_eq!(
            "./host:data".parse(),
            Ok(Location::Local("./host:data".into()))
        );
        let there = remote("host:data/a/b");
        assert_eq!(
            (
                there.host.as_str(),
                there.export.as_str(),
                there.path.as_slice()
            ),
            ("host", "data", &b"a/b"[..])
        );
        assert!(!there.trailing_slash);
    }

    #[test]
    fn an_ipv6_address_is_in_brackets() {
        let there = remote("[fd77::1]:data/x");
        assert_eq!(
            (there.host.as_str(), there.path.as_slice()),
            ("fd77::1", &b"x"[..])
        );
        assert_eq!(there.to_string(), "[fd77::1]:data/x");
        assert!(matches!(
            "[fe80::1%blk1]:data/x".parse::<Location>(),
            Err(AddressError::Zone(_))
        ));
        assert!(matches!(
            "[fd77::1".parse::<Location>(),
            Err(AddressError::Bracket(_))
        ));
    }

    #[test]
    fn the_export_alone_is_its_root() {
        for word in ["h:data", "h:data/"] {
            let there = remote(word);
            assert!(there.path.is_empty() && there.name().is_none(), "{word}");
        }
        assert!(remote("h:data/dir/").trailing_slash);
        assert_eq!(remote("h:data/dir//").path, b"dir");
    }

    #[test]
    fn what_names_nothing_is_said() {
        assert_eq!("".parse::<Location>(), Err(AddressError::Empty));
        assert!(matches!(
            ":data/x".parse::<Location>(),
            Err(AddressError::NoHost(_))
        ));
        assert!(matches!(
            "h:".parse::<Location>(),
            Err(AddressError::NoExport(_))
        ));
        assert!(matches!(
            "h:/etc/passwd".parse::<Location>(),
            Err(AddressError::Absolute(_))
        ));
    }

    #[test]
    fn a_name_on_a_host_is_export_and_path() {
        for name in ["data", "data/a/b", "data/\n \u{e9}"] {
            let path = RemotePath::on("h", name.as_bytes()).unwrap();
            assert_eq!(path.on_host(), name.as_bytes());
        }
        let bytes = RemotePath::on("h", b"data/\xff//").unwrap();
        assert_eq!(bytes.path, b"\xff");
        assert!(bytes.trailing_slash);
        assert_eq!(RemotePath::on("h", b""), Err(AddressError::Empty));
        let absolute = RemotePath::on("h", b"/data");
        assert!(matches!(absolute, Err(AddressError::Absolute(_))));
        let binary = RemotePath::on("h", b"\xff/x");
        assert!(matches!(binary, Err(AddressError::NotText(_))));
    }

    #[test]
    fn join_adds_one_component() {
        assert_eq!(remote("h:data").join(b"a").path, b"a");
        assert_eq!(remote("h:data/a").join(b"b").path, b"a/b");
    }
}
