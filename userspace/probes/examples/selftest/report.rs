//! Findings, one line of JSON each.

use std::{error::Error, io::Write};

use galileo_probes::{Capability, ProgramCost, Verdict};
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

    /// Whether a feature is on.
    pub(crate) fn capability(capability: &Capability) {
        Self::line(&json!({
            "finding": "capability",
            "feature": capability.feature.as_str(),
            "meaning": capability.feature.meaning(),
            "off": capability.off.as_deref().map(end_of),
            "instead": capability.feature.instead(),
        }));
    }

    /// A comparison of what was counted with what is true.
    pub(crate) fn check(name: &str, holds: bool, detail: &str) {
        Self::line(&json!({"finding": "check", "name": name, "holds": holds, "detail": detail}));
    }

    /// How many exchanges there were, were reported, and were reported rightly, of one role.
    pub(crate) fn recall(role: &str, expected: usize, seen: usize, right: usize) {
        Self::line(&json!({
            "finding": "recall", "role": role, "expected": expected, "seen": seen, "right": right,
        }));
    }

    /// What a program cost.
    pub(crate) fn cost(program: &ProgramCost) {
        Self::line(&json!({
            "finding": "cost",
            "program": program.name,
            "runs": program.runs,
            "time_ns": program.time_ns,
        }));
    }

    /// That the test could not go on.
    pub(crate) fn error(error: &dyn Error) {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            text = format!("{text}: {source}");
            cause = source.source();
        }
        Self::line(&json!({"finding": "error", "text": end_of(&text)}));
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
