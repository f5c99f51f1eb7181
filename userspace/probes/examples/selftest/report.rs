//! Findings, one line of JSON each.

use std::io::Write;

use galileo_probes::Verdict;
use serde_json::{Value, json};

/// Longest end of a verifier's log that is handed on: a serial line is slow.
const LOG_BYTES: usize = 48 << 10;

/// Prints findings.
pub(crate) struct Report;

impl Report {
    /// What the verifier says to a program.
    pub(crate) fn verdict(verdict: &Verdict) {
        Self::line(&json!({
            "finding": "verdict",
            "program": verdict.program,
            "walked": verdict.walked,
            "refused": verdict.refused.as_deref().map(end_of),
        }));
    }

    /// One line. Nobody is left to tell if it cannot be written.
    pub(crate) fn line(finding: &Value) {
        let mut output = std::io::stdout().lock();
        let _ = writeln!(output, "{finding}").and_then(|()| output.flush());
    }
}

fn end_of(log: &str) -> &str {
    let mut from = log.len().saturating_sub(LOG_BYTES);
    while !log.is_char_boundary(from) {
        from += 1;
    }
    &log[from..]
}
