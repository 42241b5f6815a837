//! What fails in one place does not end the rest.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Does something that panics when it fails; its words are the error then (they are on standard error too).
pub fn attempt<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| words(panic.as_ref()))
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it does not say why").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_say_why() {
        assert_eq!(attempt(|| 7), Ok(7));
        let number = 5;
        let formatted = attempt(|| panic!("status {number}"));
        assert_eq!(formatted, Err::<(), _>("status 5".to_owned()));
        assert_eq!(
            attempt(|| panic!("plain")),
            Err::<(), _>("plain".to_owned())
        );
        let other = attempt(|| std::panic::panic_any(3));
        assert_eq!(other, Err::<(), _>("it does not say why".to_owned()));
    }
}
