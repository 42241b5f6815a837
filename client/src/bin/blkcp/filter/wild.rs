//! Wildcards as rsync has them: `*` and `?` stop at slashes, `**` does not (rsync's `lib/wildmatch.c`).

/// One step of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// This byte.
    Byte(u8),
    /// Any byte but a slash.
    One,
    /// One of these bytes, never a slash.
    Of(Box<[bool; 256]>),
    /// Any bytes but slashes.
    Any,
    /// Any bytes.
    AnyDeep,
}

/// A pattern with wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wild(Vec<Step>);

impl Wild {
    /// Reads a pattern; `None` when it can match nothing: a class that does not end, or a backslash at its end.
    pub fn parse(pattern: &[u8]) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = pattern;
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            steps.push(match byte {
                b'?' => Step::One,
                b'*' => {
                    let more = rest.iter().take_while(|&&byte| byte == b'*').count();
                    rest = &rest[more..];
                    if more == 0 { Step::Any } else { Step::AnyDeep }
                }
                b'[' => {
                    let (of, after) = class(rest)?;
                    rest = after;
                    Step::Of(of)
                }
                b'\\' => {
                    let (&literal, after) = rest.split_first()?;
                    rest = after;
                    Step::Byte(literal)
                }
                byte => Step::Byte(byte),
            });
        }
        Some(Self(steps))
    }

    /// Whether the whole text matches. Takes the product of both lengths in time at most.
    pub fn matches(&self, text: &[u8]) -> bool {
        // Which numbers of steps can have taken the text so far.
        let mut reached = vec![false; self.0.len() + 1];
        reached[0] = true;
        self.pass_empty(&mut reached);
        for &byte in text {
            let mut next = vec![false; reached.len()];
            for (at, step) in self.0.iter().enumerate().filter(|&(at, _)| reached[at]) {
                match step {
                    Step::Byte(wanted) => next[at + 1] |= *wanted == byte,
                    Step::One => next[at + 1] |= byte != b'/',
                    Step::Of(of) => next[at + 1] |= of[usize::from(byte)],
                    Step::Any => next[at] |= byte != b'/',
                    Step::AnyDeep => next[at] = true,
                }
            }
            self.pass_empty(&mut next);
            reached = next;
        }
        reached[self.0.len()]
    }

    /// Steps that take any number of bytes also take none.
    fn pass_empty(&self, reached: &mut [bool]) {
        for (at, step) in self.0.iter().enumerate() {
            if reached[at] && matches!(step, Step::Any | Step::AnyDeep) {
                reached[at + 1] = true;
            }
        }
    }
}

/// Reads what follows a `[`: the bytes of the class, and what comes behind it.
fn class(pattern: &[u8]) -> Option<(Box<[bool; 256]>, &[u8])> {
    let mut of = Box::new([false; 256]);
    let negated = matches!(pattern.first(), Some(b'!' | b'^'));
    let mut rest = &pattern[usize::from(negated)..];
    // The start of a range, where the last thing read can be one.
    let mut before: Option<u8> = None;
    let mut first = true;
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        if byte == b']' && !first {
            break;
        }
        first = false;
        if byte == b'[' && rest.first() == Some(&b':') {
            let end = rest[1..].iter().position(|&byte| byte == b']')? + 1;
            let Some(name) = rest[1..end].strip_suffix(b":") else {
                // No name of a class: the bracket stands for itself.
                of[usize::from(byte)] = true;
                before = Some(byte);
                continue;
            };
            let is_in = named(name)?;
            (0..=255_u8).for_each(|byte| of[usize::from(byte)] |= is_in(&byte));
            rest = &rest[end + 1..];
            before = None;
            continue;
        }
        let range = before.filter(|_| byte == b'-' && rest.first().is_some_and(|&b| b != b']'));
        let (start, end) = match range {
            Some(start) => {
                let (end, after) = literal(rest)?;
                rest = after;
                (start, end)
            }
            None if byte == b'\\' => {
                let (&literal, after) = rest.split_first()?;
                rest = after;
                (literal, literal)
            }
            None => (byte, byte),
        };
        (start..=end).for_each(|byte| of[usize::from(byte)] = true);
        before = range.is_none().then_some(end);
    }
    if negated {
        of.iter_mut().for_each(|is_in| *is_in = !*is_in);
    }
    of[usize::from(b'/')] = false;
    Some((of, rest))
}

/// A byte, or the one behind a backslash.
fn literal(pattern: &[u8]) -> Option<(u8, &[u8])> {
    let (&byte, rest) = pattern.split_first()?;
    if byte != b'\\' {
        return Some((byte, rest));
    }
    let (&byte, rest) = rest.split_first()?;
    Some((byte, rest))
}

/// The classes of POSIX, of ASCII bytes.
fn named(name: &[u8]) -> Option<fn(&u8) -> bool> {
    Some(match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |byte| byte.is_ascii_graphic() || *byte == b' ',
        b"punct" => u8::is_ascii_punctuation,
        // isspace(3) has the vertical tab as well.
        b"space" => |byte| byte.is_ascii_whitespace() || *byte == 0x0b,
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Wild::parse(pattern.as_bytes()).is_some_and(|wild| wild.matches(text.as_bytes()))
    }

    #[test]
    fn wildcards() {
        for (pattern, text) in [
            ("", ""),
            ("a?c", "abc"),
            ("*.o", ".o"),
            ("*.o", "x.o"),
            ("a**z", "a/b/z"),
            ("a***z", "a/z"),
            ("[a-c]x", "bx"),
            ("[!a-c]x", "dx"),
            ("[^a-c]x", "-x"),
            ("[]x]", "]"),
            ("[a-]", "-"),
            ("[\\]]", "]"),
            ("[[:digit:][:upper:]]", "Z"),
            ("[[:x]", ":"),
            ("\\*", "*"),
            ("a\\bc*", "abc"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("?", "/"),
            ("a*c", "a/c"),
            ("[!x]", "/"),
            ("[/]", "/"),
            ("[ab", "a"),
            ("[[:none:]]", "a"),
            ("a\\", "a"),
            ("a\\", "a\\"),
            ("", "a"),
            ("a", ""),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let pattern = "*a".repeat(200) + "b";
        assert!(!matches(&pattern, &"a".repeat(4000)));
    }

    /// The definition, without any care for time.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        let Some((&step, rest)) = pattern.split_first() else {
            return text.is_empty();
        };
        let (deep, rest) = match step {
            b'*' => match rest.strip_prefix(b"*") {
                Some(rest) => (true, rest),
                None => (false, rest),
            },
            b'?' => {
                return text.first().is_some_and(|&byte| byte != b'/') && naive(rest, &text[1..]);
            }
            byte => return text.first() == Some(&byte) && naive(rest, &text[1..]),
        };
        (0..=text.len())
            .take_while(|&taken| deep || !text[..taken].contains(&b'/'))
            .any(|taken| naive(rest, &text[taken..]))
    }

    proptest! {
        #[test]
        fn as_the_definition_says(pattern in "[ab/?*]{0,8}", text in "[ab/]{0,8}") {
            let pattern = pattern.replace("***", "**").replace("***", "**");
            prop_assert_eq!(matches(&pattern, &text), naive(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn any_bytes_can_be_asked(pattern: Vec<u8>, text: Vec<u8>) {
            if let Some(wild) = Wild::parse(&pattern) {
                wild.matches(&text);
            }
        }
    }
}
