//! Tests that cannot run where they are: said loudly, and a failure in CI. Used by the unit tests as well.

use std::{fmt::Display, io::Write};

/// Says that a test is skipped, in the words that `scripts/test` counts.
///
/// # Panics
/// In CI (`CI=true` or `1`): there nothing is skipped.
#[track_caller]
pub fn skip(why: impl Display) {
    let in_ci = std::env::var("CI").is_ok_and(|ci| ci == "true" || ci == "1");
    assert!(!in_ci, "cannot run here: {why}");
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    // Straight to the descriptor: the test runner swallows what passing tests print.
    let _ = writeln!(std::io::stderr(), "\nSKIPPED: {test}: {why}");
}
