//! Where blkcp remembers what data paths have cost.

use std::ffi::OsString;
use std::path::PathBuf;

use blk_client::paths::History;

/// The user's file, or what `BLK_PATHS` says: another file, or, empty, none.
pub fn history() -> History {
    let variable = |name| std::env::var_os(name);
    let file = match variable("BLK_PATHS") {
        Some(path) if path.is_empty() => None,
        Some(path) => Some(path.into()),
        None => in_cache(variable("XDG_CACHE_HOME"), variable("HOME")),
    };
    file.map_or_else(History::none, History::at)
}

/// As the XDG Base Directory Specification has it: a relative path counts as none.
fn in_cache(cache: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let absolute =
        |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute(cache).or_else(|| Some(absolute(home)?.join(".cache")));
    Some(cache?.join("blkcp/paths.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_in_the_cache() {
        let of = |cache: &str, home: &str| {
            let given = |text: &str| (!text.is_empty()).then(|| OsString::from(text));
            in_cache(given(cache), given(home))
        };
        let at = |path: &str| Some(PathBuf::from(path));
        assert_eq!(of("/c", "/home/u"), at("/c/blkcp/paths.json"));
        assert_eq!(of("", "/home/u"), at("/home/u/.cache/blkcp/paths.json"));
        assert_eq!(of("c", "/home/u"), at("/home/u/.cache/blkcp/paths.json"));
        assert_eq!(of("c", "u"), None);
        assert_eq!(of("", ""), None);
    }
}
