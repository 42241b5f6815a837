//! Sizes, modes and times, as ls(1) shows them.

use blk_proto::message::{Attributes, FileKind};

/// `1.5K`, `12M`: in powers of 1024, rounded up, with one digit after the point below 10.
pub fn human(bytes: u64) -> String {
    let mut unit = 1_u64;
    let mut name = "";
    for next in ["K", "M", "G", "T", "P", "E"] {
        if bytes / unit < 1024 {
            break;
        }
        unit <<= 10;
        name = next;
    }
    if unit == 1 {
        return bytes.to_string();
    }
    let tenths = (u128::from(bytes) * 10).div_ceil(unit.into());
    match tenths {
        0..100 => format!("{}.{}{name}", tenths / 10, tenths % 10),
        // Rounded up to the next unit.
        _ if tenths.div_ceil(10) == 1024 && unit < 1 << 60 => human(unit << 10),
        _ => format!("{}{name}", tenths.div_ceil(10)),
    }
}

/// The size as it was asked for.
pub fn size(bytes: u64, is_human: bool) -> String {
    if is_human {
        human(bytes)
    } else {
        bytes.to_string()
    }
}

/// `drwxr-xr-x`.
pub fn mode(attributes: &Attributes) -> String {
    let kind = match attributes.kind {
        FileKind::File => '-',
        FileKind::Directory => 'd',
        FileKind::Symlink => 'l',
        FileKind::Other => '?',
    };
    let mut text = String::from(kind);
    let special = [(0o4000, 's'), (0o2000, 's'), (0o1000, 't')];
    for (at, (bit, letter)) in special.into_iter().enumerate() {
        let bits = attributes.mode >> (6 - 3 * at);
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (attributes.mode & bit != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// What it is, for a sentence and for programs.
pub fn kind(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        FileKind::Other => "other",
    }
}

/// `2026-11-22 10:04`, in UTC.
pub fn minute(nanoseconds: i64) -> String {
    let (year, month, day) = date(nanoseconds);
    let (hour, minute, _) = clock(nanoseconds);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}")
}

/// `2026-11-22 10:04:20.123456789 UTC`.
pub fn instant(nanoseconds: i64) -> String {
    let (_, _, second) = clock(nanoseconds);
    let rest = nanoseconds.rem_euclid(1_000_000_000);
    format!("{}:{second:02}.{rest:09} UTC", minute(nanoseconds))
}

fn clock(nanoseconds: i64) -> (i64, i64, i64) {
    let second = nanoseconds.div_euclid(1_000_000_000).rem_euclid(86_400);
    (second / 3600, second / 60 % 60, second % 60)
}

/// Year, month and day of the Gregorian calendar, by Howard Hinnant's `civil_from_days`
/// (howardhinnant.github.io/date_algorithms.html).
fn date(nanoseconds: i64) -> (i64, i64, i64) {
    // Days since 0000-03-01, the begin of an era of 400 years.
    let days = nanoseconds.div_euclid(86_400_000_000_000) + 719_468;
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (
        year + era * 400 + i64::from(month <= 2),
        month,
        day_of_month,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up() {
        let sizes = [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1025, "1.1K"),
            (10 << 10, "10K"),
            ((10 << 10) + 1, "11K"),
            ((1 << 20) - 1, "1.0M"),
            (5 << 29, "2.5G"),
            (u64::MAX, "16E"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(human(bytes), text, "{bytes}");
        }
        assert_eq!(size(2048, false), "2048");
    }

    #[test]
    fn modes_are_as_ls_shows_them() {
        let shown = |kind, bits| {
            mode(&Attributes {
                kind,
                size: 0,
                mode: bits,
                mtime_ns: 0,
            })
        };
        assert_eq!(shown(FileKind::File, 0o640), "-rw-r-----");
        assert_eq!(shown(FileKind::Directory, 0o1777), "drwxrwxrwt");
        assert_eq!(shown(FileKind::Symlink, 0o777), "lrwxrwxrwx");
        assert_eq!(shown(FileKind::Other, 0o7000), "?--S--S--T");
        assert_eq!(shown(FileKind::File, 0o6755), "-rwsr-sr-x");
    }

    #[test]
    fn times_are_in_utc() {
        let instants = [
            (0, "1970-01-01 00:00:00.000000000 UTC"),
            (-1, "1969-12-31 23:59:59.999999999 UTC"),
            (951_782_400_000_000_000, "2000-02-29 00:00:00.000000000 UTC"),
            (
                1_795_341_860_123_456_789,
                "2026-11-22 10:04:20.123456789 UTC",
            ),
            (i64::MIN, "1677-09-21 00:12:43.145224192 UTC"),
            (i64::MAX, "2262-04-11 23:47:16.854775807 UTC"),
        ];
        for (nanoseconds, text) in instants {
            assert_eq!(instant(nanoseconds), text);
        }
        assert_eq!(minute(1_795_341_860_123_456_789), "2026-11-22 10:04");
    }
}
