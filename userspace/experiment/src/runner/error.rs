//! Why a run measured nothing.

use std::fmt;

use crate::local::{self, ExitInfo};

/// Errors of the runner.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The platform cannot be opened, or a replica cannot be started or does not become ready.
    #[error(transparent)]
    Platform(#[from] local::Error),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] galileo_expdb::Error),
    /// The balancer does not start.
    #[error("the balancer does not start: {0}")]
    Balancer(#[from] galileo_balancer::Error),
    /// A workload cannot be sent.
    #[error(transparent)]
    Load(#[from] galileo_load::Error),
    /// A replica that was needed ended during the warm-up, or right before the load.
    #[error("{0} before anything was measured{lines}", lines = .0.lines())]
    Ended(Ended),
    /// All services of an observing run ended before its measured phase began.
    #[error("all services ended before anything was measured{}", told(.0))]
    AllEnded(Vec<String>),
    /// The run was cancelled before anything was measured.
    #[error("interrupted before anything was measured")]
    Cancelled,
}

fn told(failures: &[String]) -> String {
    failures
        .iter()
        .map(|failure| format!("\n  | {failure}"))
        .collect()
}

/// A replica that ended although it was ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub replica: String,
    /// How.
    pub exit: ExitInfo,
    /// The last lines of its output.
    pub output: String,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.replica, self.exit)
    }
}

impl Ended {
    fn lines(&self) -> String {
        if self.output.is_empty() {
            return "; it printed nothing".to_owned();
        }
        let lines = self.output.lines().map(|line| format!("\n  | {line}"));
        format!("; it printed:{}", lines.collect::<String>())
    }

    /// The same in one sentence and on one line, as results have it.
    pub(crate) fn sentence(&self, when: &str) -> String {
        let lines: Vec<&str> = self.output.lines().map(str::trim).collect();
        match lines.as_slice() {
            [] => format!("{self}{when}; it printed nothing."),
            lines => format!("{self}{when}; it printed last: \"{}\".", lines.join(" / ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_replica_is_told_with_what_it_printed() {
        let mut ended = Ended {
            replica: "web-0".to_owned(),
            exit: ExitInfo {
                code: Some(7),
                signal: None,
                oom_killed: false,
                at_ns: 0,
            },
            output: "one\n  two".to_owned(),
        };
        assert_eq!(
            Error::Ended(ended.clone()).to_string(),
            "web-0 ended with exit code 7 before anything was measured; it printed:\n  | one\n  |   two"
        );
        assert_eq!(
            ended.sentence(" while measuring"),
            "web-0 ended with exit code 7 while measuring; it printed last: \"one / two\"."
        );
        ended.output.clear();
        assert_eq!(
            ended.sentence(""),
            "web-0 ended with exit code 7; it printed nothing."
        );
    }
}
