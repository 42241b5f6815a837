//! Kernel versions and ranges of them.

use std::fmt;
use std::str::FromStr;

/// A version as uname(2) tells it, without what distributions append.
///
/// Distributions take changes of later kernels into theirs (RHEL most of all), which the number does not show.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct KernelVersion {
    /// `6` of `6.18.44-1-amd64`.
    pub major: u32,
    /// `18`.
    pub minor: u32,
    /// `44`; 0 where there is none.
    pub patch: u32,
}

/// Not a kernel version, or range of versions.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "\"{0}\" is not a kernel version, or a range like \"6.1..6.13\", \"<6.1\", \">=6.13\" or \"*\""
)]
pub struct ParseKernelError(String);

impl KernelVersion {
    /// Version `major.minor`.
    pub(super) const fn new(major: u32, minor: u32) -> Self {
        Self {
            major,
            minor,
            patch: 0,
        }
    }
}

impl FromStr for KernelVersion {
    type Err = ParseKernelError;

    /// Numbers, as many as there are up to three, and whatever follows them: `6.18.44-1-amd64`, `7.0-rc3`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let failed = || ParseKernelError(text.to_owned());
        let numbers = text
            .split(|character: char| !(character.is_ascii_digit() || character == '.'))
            .next()
            .unwrap_or_default();
        let mut parts = numbers.split('.');
        let mut next = || parts.next().filter(|part| !part.is_empty());
        let number = |part: &str| part.parse().map_err(|_| failed());
        Ok(Self {
            major: number(next().ok_or_else(failed)?)?,
            minor: number(next().ok_or_else(failed)?)?,
            patch: next().map_or(Ok(0), number)?,
        })
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        match self.patch {
            0 => Ok(()),
            patch => write!(f, ".{patch}"),
        }
    }
}

/// Versions from one on (included) to another (not included).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct KernelRange {
    /// The first one; `None`: all before `until`.
    pub from: Option<KernelVersion>,
    /// The first one that is not in it; `None`: all since `from`.
    pub until: Option<KernelVersion>,
}

impl KernelRange {
    /// Whether a version is in it.
    #[must_use]
    pub fn contains(self, version: KernelVersion) -> bool {
        self.from.is_none_or(|from| version >= from)
            && self.until.is_none_or(|until| version < until)
    }
}

impl FromStr for KernelRange {
    type Err = ParseKernelError;

    /// `*`, `<6.1`, `>=6.13`, `6.1..6.13` (without 6.13).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::default());
        }
        let (from, until) = if let Some(until) = text.strip_prefix('<') {
            (None, Some(until.parse()?))
        } else if let Some(from) = text.strip_prefix(">=") {
            (Some(from.parse()?), None)
        } else {
            let (from, until) = text
                .split_once("..")
                .ok_or_else(|| ParseKernelError(text.to_owned()))?;
            (Some(from.parse()?), Some(until.parse()?))
        };
        match (from, until) {
            (Some(from), Some(until)) if from >= until => Err(ParseKernelError(text.to_owned())),
            (from, until) => Ok(Self { from, until }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> KernelVersion {
        text.parse().expect(text)
    }

    #[test]
    fn versions_as_distributions_write_them() {
        assert_eq!(version("6.18.44-fc-v669").to_string(), "6.18.44");
        assert_eq!(version("7.0.0-15-generic"), KernelVersion::new(7, 0));
        assert_eq!(version("7.0-rc3"), KernelVersion::new(7, 0));
        assert_eq!(version("5.14.0-427.el9.x86_64"), KernelVersion::new(5, 14));
        for wrong in ["", "6", "6.", ".6", "x6.1", "99999999999.1"] {
            assert!(wrong.parse::<KernelVersion>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(version("6.9") < version("6.10"));
        assert!(version("6.1.0") == version("6.1"));
        assert!(version("6.1.158") < version("6.2"));
        assert!(version("6.18") < version("7.0"));
    }

    #[test]
    fn ranges_end_before_their_end() {
        let within = |range: &str, kernel: &str| {
            let range: KernelRange = range.parse().expect(range);
            range.contains(version(kernel))
        };
        assert!(within("*", "4.18.0"));
        assert!(within("<6.1", "6.0.19") && !within("<6.1", "6.1.0"));
        assert!(within(">=6.13", "6.13.0") && !within(">=6.13", "6.12.57"));
        assert!(within("6.11..6.13", "6.11.0") && within("6.11..6.13", "6.12.99"));
        assert!(!within("6.11..6.13", "6.13.0") && !within("6.11..6.13", "6.10.1"));
        for wrong in ["", "6.1", "..", "6.1..", "6.2..6.1", "6.1..6.1", "<", ">=x"] {
            assert!(wrong.parse::<KernelRange>().is_err(), "{wrong}");
        }
    }
}
