//! Names on a terminal: what a shell takes for the same name, and nothing that the terminal obeys.

/// The name, quoted where it must be, as ls(1) does: `plain`, `'two words'`, `$'new\nline'`.
pub fn quote(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(text) if !text.is_empty() && text.chars().all(is_plain) => text.to_owned(),
        Ok(text) if !text.chars().any(|c| c == '\'' || is_hidden(c)) => format!("'{text}'"),
        _ => escape(name),
    }
}

/// A message of whatever origin, with what a terminal would obey made visible.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Whether it stands for itself in every shell.
fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || "/._-+:@%,=".contains(c)
}

/// Whether it does something else than to be seen: control characters, and those that turn the direction of writing.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn escape(name: &[u8]) -> String {
    let mut quoted = String::from("$'");
    for part in name.utf8_chunks() {
        for c in part.valid().chars() {
            match c {
                '\n' => quoted += "\\n",
                '\t' => quoted += "\\t",
                '\'' | '\\' => quoted.extend(['\\', c]),
                // Three digits each, so that no digit of the name is taken for another one.
                c if is_hidden(c) => {
                    let mut buffer = [0; 4];
                    for byte in c.encode_utf8(&mut buffer).bytes() {
                        quoted += &format!("\\{byte:03o}");
                    }
                }
                c => quoted.push(c),
            }
        }
        for byte in part.invalid() {
            quoted += &format!("\\{byte:03o}");
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const NAMES: [(&[u8], &str); 9] = [
        (b"plain-1.0_x", "plain-1.0_x"),
        ("gr\u{fc}n".as_bytes(), "gr\u{fc}n"),
        (b"two words", "'two words'"),
        (b"$HOME`x`\\n", "'$HOME`x`\\n'"),
        (b"", "''"),
        (b"it's", "$'it\\'s'"),
        (b"a\nb\x1b[2J", "$'a\\nb\\033[2J'"),
        (b"\xff1 \\", "$'\\3771 \\\\'"),
        ("a\u{202e}b".as_bytes(), "$'a\\342\\200\\256b'"),
    ];

    #[test]
    fn names_are_quoted_where_they_must_be() {
        for (name, quoted) in NAMES {
            assert_eq!(quote(name), quoted);
        }
    }

    #[test]
    fn a_shell_reads_the_same_name() {
        for (name, _) in NAMES {
            let script = format!("printf %s {}", quote(name));
            let Ok(output) = Command::new("bash").args(["-c", &script]).output() else {
                assert!(std::env::var_os("CI").is_none(), "no bash");
                return eprintln!("SKIPPED: no bash here");
            };
            assert_eq!(output.stdout, name, "{script}");
        }
    }

    #[test]
    fn messages_keep_their_letters() {
        assert_eq!(visible("gr\u{fc}n 'x'"), "gr\u{fc}n 'x'");
        assert_eq!(visible("a\x1b[2Jb"), "a\\u{1b}[2Jb");
    }
}
