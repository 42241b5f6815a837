//! The words that name what a verb is about.

use std::ffi::OsString;

use blk_client::{Location, RemotePath};
use serde::Serialize;

use crate::failure::Failure;

/// Reads the words; each must name something of a host.
pub fn read(words: &[OsString]) -> Result<Vec<RemotePath>, Failure> {
    words.iter().map(read_one).collect()
}

/// Reads one.
pub fn read_one(word: &OsString) -> Result<RemotePath, Failure> {
    match Location::parse(word)? {
        Location::Remote(path) => Ok(path),
        Location::Local(path) => Err(Failure::Usage(format!(
            "{} is not remote: write HOST:EXPORT/PATH",
            path.display()
        ))),
    }
}

/// A path as programs read it: bytes that are no UTF-8 are in `path_hex`.
#[derive(Debug, Serialize)]
pub struct JsonPath {
    host: String,
    export: String,
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
}

impl From<&RemotePath> for JsonPath {
    fn from(path: &RemotePath) -> Self {
        let hex = || path.path.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            host: path.host.clone(),
            export: path.export.clone(),
            path: String::from_utf8_lossy(&path.path).into_owned(),
            path_hex: std::str::from_utf8(&path.path).is_err().then(hex),
        }
    }
}

/// `HOST:EXPORT/PATH`, with the bytes of the path as they are.
pub fn bytes(path: &RemotePath) -> Vec<u8> {
    let root = RemotePath {
        path: Vec::new(),
        ..path.clone()
    };
    let mut bytes = root.to_string().into_bytes();
    if !path.path.is_empty() {
        bytes.push(b'/');
        bytes.extend_from_slice(&path.path);
    }
    bytes
}

/// The directory that the path is in; `None` for an export.
pub fn parent(path: &RemotePath) -> Option<RemotePath> {
    let name = path.name()?;
    let mut rest = &path.path[..path.path.len() - name.len()];
    while let Some(shorter) = rest.strip_suffix(b"/") {
        rest = shorter;
    }
    Some(path.with_path(rest.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn names_that_are_no_text_are_kept() {
        let word = OsString::from_vec(b"h:data/a\xff".to_vec());
        let path = read_one(&word).unwrap();
        assert_eq!(bytes(&path), b"h:data/a\xff");
        let json = serde_json::to_value(JsonPath::from(&path)).unwrap();
        assert_eq!(json["path_hex"], "61ff");
        assert_eq!(json["path"], "a\u{fffd}");
        let plain = read_one(&"h:data".into()).unwrap();
        assert_eq!(bytes(&plain), b"h:data");
        let json = serde_json::to_string(&JsonPath::from(&plain)).unwrap();
        assert_eq!(json, r#"{"host":"h","export":"data","path":""}"#);
    }

    #[test]
    fn a_path_is_in_a_directory() {
        let parent = |word: &str| parent(&read_one(&word.into()).unwrap());
        assert_eq!(parent("h:data/a/b").unwrap().path, b"a");
        assert_eq!(parent("h:data/a").unwrap().path, b"");
        assert_eq!(parent("h:data/a//b/").unwrap().path, b"a");
        assert!(parent("h:data/").is_none());
    }

    #[test]
    fn local_names_are_refused() {
        let refused = read(&["h:data/x".into(), "x".into()]).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        assert!(refused.to_string().contains("x is not remote"));
    }
}
