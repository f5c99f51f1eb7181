//! What can go wrong on the local platform, by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ports::Holder;
use super::process::ExitInfo;

/// Result of the local platform.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the local platform could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that cannot be that of a folder.
    #[error(
        "{name:?} cannot be the name of a {what}: use 1 to 100 letters, digits, `.`, `_` and `-`, the first one no dot; \
         `self` and `guard` are taken"
    )]
    Name {
        /// What was to be named.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Another process is running the same run.
    #[error("the run {run_id} is in progress in another process ({owner})")]
    Running {
        /// The run.
        run_id: String,
        /// What its owner file says.
        owner: String,
    },
    /// Cgroups of a dead run with this name are in the way.
    #[error("{} is left from a run that was killed; `galileo clean` removes it", .folder.display())]
    Remains {
        /// The run's cgroup.
        folder: PathBuf,
    },
    /// The cgroup named by `--cgroup-parent` cannot be used.
    #[error("the cgroup parent {parent} cannot be used: {why}")]
    Parent {
        /// As given.
        parent: String,
        /// The reason.
        why: String,
    },
    /// The helper program does not do what [`super::helper_main`] does.
    #[error("{} does not work as helper: {why}", .helper.display())]
    Helper {
        /// The program.
        helper: PathBuf,
        /// The reason.
        why: String,
    },
    /// The command of a replica could not be started.
    #[error("{replica}: {reason}")]
    Start {
        /// The replica.
        replica: String,
        /// The reason, e.g. `command not found: ./server`.
        reason: String,
    },
    /// Somebody else has the port.
    #[error("{replica}: port {port} is taken{}; stop that program or choose another port", by(.holder.as_ref()))]
    PortTaken {
        /// The replica that was to have it.
        replica: String,
        /// The port.
        port: u16,
        /// Who has it, if that can be found out.
        holder: Option<Holder>,
    },
    /// A limit that cannot be kept on this machine, or by this user.
    #[error("{replica}: {what} cannot be limited: {why}")]
    Limit {
        /// The replica.
        replica: String,
        /// `CPU` or `memory`.
        what: &'static str,
        /// The reason, and what to do.
        why: String,
    },
    /// The replica ended before it was ready.
    #[error("{replica} {exit} before it was ready{}", quoted(.output))]
    Died {
        /// The replica.
        replica: String,
        /// How it ended.
        exit: ExitInfo,
        /// The last lines of its output.
        output: String,
    },
    /// The replica is alive, but did not become ready in time.
    #[error("{replica} was not ready within {waited:?}: {last}{}", quoted(.output))]
    NotReady {
        /// The replica.
        replica: String,
        /// The time it was given.
        waited: Duration,
        /// What the last attempt met.
        last: String,
        /// The last lines of its output.
        output: String,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The system refused something.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried, e.g. `create /sys/fs/cgroup/galileo`.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
}

impl Error {
    /// Makes an [`Error::Io`] of `verb path`.
    pub(crate) fn at(verb: &str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            doing: format!("{verb} {}", path.display()),
            source,
        }
    }
}

fn by(holder: Option<&Holder>) -> String {
    holder
        .map(|holder| format!(" by {holder}"))
        .unwrap_or_default()
}

fn quoted(output: &str) -> String {
    if output.is_empty() {
        return "; it printed nothing".to_owned();
    }
    let lines: Vec<String> = output.lines().map(|line| format!("\n  | {line}")).collect();
    format!("; it printed:{}", lines.concat())
}
