//! One rule: a pattern, and where in a path it is looked for.

use super::wild::Wild;

/// A pattern and what becomes of what it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whether it leaves out what it matches.
    pub excludes: bool,
    /// Only directories: the pattern had a slash at its end.
    directories_only: bool,
    /// `/***` at its end: the directory and everything in it.
    with_directory: bool,
    /// `**` at its beginning also stands for nothing before a slash.
    from_root: bool,
    place: Place,
    text: Text,
}

/// What of a path is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// All of it.
    Whole,
    /// So many of its last components.
    Last(usize),
    /// Its end, from any component on.
    AnyEnd,
}

/// What it is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    /// These bytes.
    Plain(Vec<u8>),
    /// A pattern with wildcards.
    Wild(Wild),
    /// Nothing is like it.
    Nothing,
}

impl Rule {
    /// Reads a pattern as rsync does (`add_rule` and `rule_matches` in its `exclude.c`).
    pub fn new(pattern: &[u8], excludes: bool) -> Self {
        let (directories_only, pattern) = match pattern {
            [rest @ .., b'/'] if !rest.is_empty() => (true, rest),
            pattern => (false, pattern),
        };
        let is_wild = pattern.iter().any(|byte| b"*[?".contains(byte));
        let deep = pattern.windows(2).position(|pair| pair == b"**");
        let slashes = pattern.iter().filter(|&&byte| byte == b'/').count();
        let (anchored, text) = match pattern {
            [b'/', rest @ ..] => (true, rest),
            pattern => (false, pattern),
        };
        let place = match deep {
            _ if anchored => Place::Whole,
            None => Place::Last(slashes + 1),
            Some(0) => Place::Whole,
            Some(_) => Place::AnyEnd,
        };
        Self {
            excludes,
            directories_only,
            with_directory: pattern.ends_with(b"***"),
            from_root: deep == Some(0),
            place,
            text: match () {
                () if pattern.is_empty() => Text::Nothing,
                () if is_wild => Wild::parse(text).map_or(Text::Nothing, Text::Wild),
                () => Text::Plain(text.to_vec()),
            },
        }
    }

    /// Whether a path matches: relative to the root of the copy, not empty.
    pub fn matches(&self, name: &[u8], is_directory: bool) -> bool {
        if self.directories_only && !is_directory {
            return false;
        }
        let slash = |wanted: bool| if wanted { &b"/"[..] } else { b"" };
        let full = [
            slash(self.from_root),
            name,
            slash(self.with_directory && is_directory),
        ]
        .concat();
        match self.place {
            Place::Whole => self.is_like(&full),
            Place::Last(components) => {
                last(&full, components).is_some_and(|last| self.is_like(last))
            }
            Place::AnyEnd => {
                let behind = |(at, &byte): (usize, &u8)| (byte == b'/').then_some(at + 1);
                let starts = full.iter().enumerate().filter_map(behind);
                std::iter::once(0)
                    .chain(starts)
                    .any(|start| self.is_like(&full[start..]))
            }
        }
    }

    fn is_like(&self, text: &[u8]) -> bool {
        match &self.text {
            Text::Plain(plain) => plain == text,
            Text::Wild(wild) => wild.matches(text),
            Text::Nothing => false,
        }
    }
}

/// So many of the last components of a path; `None` when it has fewer.
fn last(path: &[u8], components: usize) -> Option<&[u8]> {
    let slashes = path
        .iter()
        .enumerate()
        .rev()
        .filter(|&(_, &byte)| byte == b'/');
    match slashes.map(|(at, _)| at).nth(components.checked_sub(1)?) {
        Some(slash) => Some(&path[slash + 1..]),
        None => {
            let has = 1 + path.iter().filter(|&&byte| byte == b'/').count();
            (has >= components).then_some(path)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        let (name, is_directory) = match name.strip_suffix('/') {
            Some(name) => (name, true),
            None => (name, false),
        };
        Rule::new(pattern.as_bytes(), true).matches(name.as_bytes(), is_directory)
    }

    #[test]
    fn patterns_match_where_rsync_says() {
        for (pattern, name) in [
            ("foo", "foo"),
            ("foo", "a/b/foo"),
            ("foo", "a/foo/"),
            ("foo/", "a/foo/"),
            ("/foo", "foo"),
            ("/a/foo", "a/foo"),
            ("a/foo", "x/a/foo"),
            ("*.o", "a/x.o"),
            ("a/*.o", "x/a/y.o"),
            ("/a/*", "a/b"),
            ("/a/**", "a/b/c"),
            ("a/**/z", "x/a/b/c/z"),
            ("**/foo", "foo"),
            ("**/foo", "a/b/foo"),
            ("foo/***", "foo/"),
            ("foo/***", "a/foo/"),
            ("foo/***", "foo/b/c"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("foo", "foobar"),
            ("foo", "a/foo/b"),
            ("foo/", "foo"),
            ("/foo", "a/foo"),
            ("a/foo", "xa/foo"),
            ("a/foo", "foo"),
            ("/a/*", "a/b/c"),
            ("foo/***", "foo"),
            ("", "x"),
            ("/", "x"),
        ] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn backslashes_count_only_beside_wildcards() {
        assert!(matches("a\\b", "a\\b"));
        assert!(!matches("a\\b*", "a\\b"));
        assert!(matches("a\\b*", "abc"));
        assert!(matches("\\[x*", "[xy"));
    }
}
