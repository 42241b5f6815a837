//! An export as the operator writes it: `NAME=DIR`.

use std::path::PathBuf;
use std::str::FromStr;

use super::ExportError;

/// Longest name of an export, in bytes.
pub const EXPORT_NAME_MAX: usize = 64;

/// Name and directory of an export; parsed from `NAME=DIR`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExportSpec {
    /// 1 to [`EXPORT_NAME_MAX`] bytes of `[A-Za-z0-9._-]`, not starting with a dot.
    pub name: String,
    /// The directory to serve.
    pub directory: PathBuf,
}

impl FromStr for ExportSpec {
    type Err = ExportError;

    fn from_str(text: &str) -> Result<ExportSpec, ExportError> {
        let syntax = || ExportError::Syntax {
            text: text.to_owned(),
        };
        let (name, directory) = text.split_once('=').ok_or_else(syntax)?;
        if directory.is_empty() {
            return Err(syntax());
        }
        check_export_name(name)?;
        Ok(ExportSpec {
            name: name.to_owned(),
            directory: PathBuf::from(directory),
        })
    }
}

/// Names that can stand in `host:NAME/path`, in a metric's label and in a log without quoting.
pub(super) fn check_export_name(name: &str) -> Result<(), ExportError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let valid = (1..=EXPORT_NAME_MAX).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(allowed);
    if valid {
        return Ok(());
    }
    Err(ExportError::Name {
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_parsed() {
        let spec: ExportSpec = "media-1.x_y=/srv/a=b".parse().unwrap();
        assert_eq!(spec.name, "media-1.x_y");
        assert_eq!(spec.directory, PathBuf::from("/srv/a=b"));
    }

    #[test]
    fn malformed_specs_are_refused() {
        for bad in ["", "media", "media="] {
            let error = bad.parse::<ExportSpec>().unwrap_err();
            assert!(matches!(error, ExportError::Syntax { .. }), "{error}");
        }
        let long = format!("{}=/srv", "n".repeat(65));
        for bad in [
            "=/srv",
            ".a=/srv",
            "a b=/srv",
            "a/b=/srv",
            "\u{e4}=/srv",
            &long,
        ] {
            let error = bad.parse::<ExportSpec>().unwrap_err();
            assert!(matches!(error, ExportError::Name { .. }), "{error}");
        }
        let longest = format!("{}=/srv", "n".repeat(64));
        assert!(longest.parse::<ExportSpec>().is_ok());
    }
}
