//! One sentence from an error and its causes.

use std::error::Error;

/// The error's message, with those of its causes that it does not already contain: what failed, and why.
pub fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer{text}")]
    struct Outer {
        text: &'static str,
        source: std::fmt::Error,
    }

    #[test]
    fn a_cause_is_said_once() {
        let inner = std::fmt::Error.to_string();
        let silent = Outer {
            text: "",
            source: std::fmt::Error,
        };
        assert_eq!(explain(&silent), format!("outer: {inner}"));
        let text: &'static str = Box::leak(format!(" ({inner})").into_boxed_str());
        let said = Outer {
            text,
            source: std::fmt::Error,
        };
        assert_eq!(explain(&said), format!("outer ({inner})"));
    }
}
