//! Lists of numbers of CPUs and queues, as people write them and the kernel shows them: `0-3,8`.

use std::fmt;
use std::str::FromStr;

/// The greatest number: one below the most CPUs that Linux can have (`NR_CPUS`).
pub const GREATEST: u32 = 8191;

/// Numbers in the order in which they were written, none of them twice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NumberList(Vec<u32>);

/// Why a text is no list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NumberListError {
    /// A part is neither a number nor a range.
    #[error("`{0}` is neither a number nor a range like 0-3")]
    NotANumber(String),
    /// A number that no CPU or queue has.
    #[error("{0} is too large: {GREATEST} is the most")]
    TooLarge(String),
    /// A range that ends before it begins.
    #[error("the range {0} runs backwards")]
    Backwards(String),
    /// A number that was there before.
    #[error("{0} is in the list twice")]
    Twice(u32),
}

impl NumberList {
    /// The numbers.
    #[must_use]
    pub fn numbers(&self) -> &[u32] {
        &self.0
    }
}

impl FromIterator<u32> for NumberList {
    /// Of a number that comes twice, the first counts.
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut list = Vec::new();
        for number in numbers {
            if !list.contains(&number) {
                list.push(number);
            }
        }
        Self(list)
    }
}

impl FromStr for NumberList {
    type Err = NumberListError;

    /// Numbers and ranges with commas between them. Nothing at all is an empty list, as in the kernel's files.
    fn from_str(text: &str) -> Result<Self, NumberListError> {
        let text = text.trim();
        let mut numbers = Vec::new();
        if text.is_empty() {
            return Ok(Self(numbers));
        }
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first, part)?, number(last, part)?);
            if last < first {
                return Err(NumberListError::Backwards(part.to_owned()));
            }
            for number in first..=last {
                if numbers.contains(&number) {
                    return Err(NumberListError::Twice(number));
                }
                numbers.push(number);
            }
        }
        Ok(Self(numbers))
    }
}

fn number(digits: &str, part: &str) -> Result<u32, NumberListError> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NumberListError::NotANumber(part.to_owned()));
    }
    match digits.parse() {
        Ok(number) if number <= GREATEST => Ok(number),
        _ => Err(NumberListError::TooLarge(digits.to_owned())),
    }
}

impl fmt::Display for NumberList {
    /// With ranges for numbers in a row.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.iter().copied().peekable();
        let mut separator = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if_eq(&(last + 1)) {
                last = next;
            }
            match last - first {
                0 => write!(out, "{separator}{first}")?,
                _ => write!(out, "{separator}{first}-{last}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_as_people_and_the_kernel_write_them() {
        let cases: [(&str, &[u32]); 6] = [
            ("0", &[0]),
            ("0-3,8\n", &[0, 1, 2, 3, 8]),
            ("5,1-2", &[5, 1, 2]),
            ("7-7", &[7]),
            ("", &[]),
            ("8191", &[8191]),
        ];
        for (text, numbers) in cases {
            let list: NumberList = text.parse().unwrap();
            assert_eq!(list.numbers(), numbers, "{text}");
        }
    }

    #[test]
    fn what_is_no_list_is_told() {
        let error = |text: &str| text.parse::<NumberList>().unwrap_err().to_string();
        for text in ["x", "1,,2", ",", "1-", "-1", "1-2-3", "+1", "0x1", "1 2"] {
            assert!(error(text).contains("neither a number"), "{text}");
        }
        assert!(error("3-1").contains("3-1 runs backwards"));
        assert!(error("0-3,2").contains("2 is in the list twice"));
        for text in ["8192", "0-4294967295", "99999999999999999999"] {
            assert!(error(text).contains("too large"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_list_is_read_as_it_was_shown(numbers in proptest::collection::vec(0..=GREATEST, 0..40)) {
            let list: NumberList = numbers.into_iter().collect();
            prop_assert_eq!(list.to_string().parse::<NumberList>().unwrap(), list);
        }

        #[test]
        fn no_text_is_too_much(text in "[0-9,\\-]{0,20}") {
            if let Ok(list) = text.parse::<NumberList>() {
                prop_assert!(list.numbers().len() <= GREATEST as usize + 1);
            }
        }
    }
}
