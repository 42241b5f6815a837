//! What of a tree is copied: `--exclude` and `--include`, with rsync's rules (rsync(1), FILTER RULES).
//!
//! A filter is asked about a path relative to the root of the copy, after all directories that it lies in: what is in an excluded
//! directory is never asked about. The first rule that matches decides; without one the path is included.

mod files_from;
mod options;
#[cfg(test)]
mod rsync_tests;
mod rule;
mod wild;

pub use files_from::{FilesFrom, read_files_from};
pub use options::FilterWord;

use rule::Rule;

/// Rules, the first that matches decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter(Vec<Rule>);

impl Filter {
    /// Whether a path is left out: relative to the root of the copy, without a slash at either end. The root itself, the empty path,
    /// never is.
    pub fn excludes(&self, name: &[u8], is_directory: bool) -> bool {
        if name.is_empty() {
            return false;
        }
        let first = self.0.iter().find(|rule| rule.matches(name, is_directory));
        first.is_some_and(|rule| rule.excludes)
    }

    /// Adds a rule as `--exclude` (`excludes`) or `--include` has it: a pattern, or `+ PATTERN`, `- PATTERN`, or `!`, which forgets
    /// the rules so far.
    pub fn add(&mut self, text: &[u8], excludes: bool) {
        let (pattern, excludes) = match text {
            b"!" => return self.0.clear(),
            [b'+', b' ', pattern @ ..] => (pattern, false),
            [b'-', b' ', pattern @ ..] => (pattern, true),
            pattern => (pattern, excludes),
        };
        // rsync takes an empty pattern, which matches nothing.
        self.0.push(Rule::new(pattern, excludes));
    }

    /// Adds the rules of a file, one a line; empty lines, and those that begin with `#` or `;`, are none.
    pub fn add_lines(&mut self, text: &[u8], excludes: bool) {
        for line in text.split(|&byte| matches!(byte, b'\n' | b'\r')) {
            if !line.is_empty() && !matches!(line[0], b'#' | b';') {
                self.add(line, excludes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(rules: &[&str]) -> Filter {
        let mut filter = Filter::default();
        for rule in rules {
            filter.add(rule.as_bytes(), true);
        }
        filter
    }

    #[test]
    fn the_first_that_matches_decides() {
        let rules = filter(&["+ keep.o", "*.o", "+ *"]);
        assert!(!rules.excludes(b"d/keep.o", false));
        assert!(rules.excludes(b"d/x.o", false));
        assert!(!rules.excludes(b"d/x.c", false));
        assert!(!Filter::default().excludes(b"x", false));
        assert!(!filter(&["*", "**"]).excludes(b"", true));
    }

    #[test]
    fn a_bare_exclamation_mark_forgets_the_rules_so_far() {
        let rules = filter(&["a", "!", "b"]);
        assert!(!rules.excludes(b"a", false) && rules.excludes(b"b", false));
    }

    #[test]
    fn a_file_has_a_rule_a_line() {
        let mut filter = Filter::default();
        filter.add_lines(b"# no rule\n\n;none\r\n+ a\n*\n", true);
        assert!(!filter.excludes(b"a", false) && filter.excludes(b"b", false));
        assert_eq!(filter.0.len(), 2);
    }
}
