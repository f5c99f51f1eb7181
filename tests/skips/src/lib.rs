//! What becomes of a test that the machine does not allow: it says so where `cargo xtask test` counts it, or fails.
//!
//! Some tests need root, a kernel that takes the probes, or a program. On a developer's machine they are [`skip`]ped; where
//! everything is there, as for `.ci/run`, a skip is a fault, and the [`VARIABLE`] set to `deny` makes it one.
//!
//! ```
//! fn the_kernel_takes_the_probes() {
//!     if !std::path::Path::new("/proc/self").exists() {
//!         galileo_skips::skip("there is no /proc");
//!         return;
//!     }
//! }
//! ```

#![forbid(unsafe_code)]

use std::env;
use std::fmt::Display;
use std::io::{self, Write};
use std::thread;

/// The environment variable: `deny` makes a skip a failure, `allow` (the default) a line.
pub const VARIABLE: &str = "GALILEO_TEST_SKIPS";

/// How the line of a skip begins; the test's name and the reason follow.
pub const MARK: &str = "skipped: ";

/// Says that the present test is skipped, and why; the test is to return then.
///
/// The line goes to standard output whether or not libtest keeps what tests print, as it keeps what passed.
///
/// # Panics
///
/// If skips are denied, or standard output is gone.
pub fn skip(why: impl Display) {
    let why = why.to_string();
    assert!(!denied(), "skipped, which {VARIABLE}=deny forbids: {why}");
    let current = thread::current();
    let line = line(current.name().unwrap_or("a test"), &why);
    io::stdout()
        .lock()
        .write_all(line.as_bytes())
        .expect("standard output is open while libtest writes to it");
}

/// Whether a skip is a failure.
///
/// # Panics
///
/// If the variable is neither `allow` nor `deny`: a misspelt ban would let everything pass.
pub fn denied() -> bool {
    let value = env::var_os(VARIABLE);
    match value.as_ref().map(|value| value.to_str()) {
        None | Some(Some("allow")) => false,
        Some(Some("deny")) => true,
        _ => panic!("{VARIABLE} is {value:?}; set it to allow or deny"),
    }
}

/// The break before it parts it from the begin of a line that libtest writes where it has one thread.
fn line(test: &str, why: &str) -> String {
    let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("\n{MARK}{test}: {why}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_of_several_lines_is_told_in_one() {
        assert_eq!(
            line("of::a_kernel", "no permission\n\n  try root"),
            "\nskipped: of::a_kernel: no permission try root\n"
        );
    }
}
