//! What can go wrong with a workload as a whole. What goes wrong with a single request is an outcome, not an error.

use std::io;

/// Why a workload could not be run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The workload's description contradicts itself or HTTP: mend it.
    #[error("the workload for `{service}` cannot run: {why}")]
    Invalid {
        /// The service it was for.
        service: String,
        /// What is wrong with it and what would be right.
        why: String,
    },
    /// The process may not open as many connections as the workload may have in flight: raise the limit or lower `in_flight`.
    #[error(
        "the workload needs {needed} open files, and the limit of this process is {limit}: raise it (`ulimit -n {needed}`) \
         or lower the workload's `in_flight`"
    )]
    OpenFiles {
        /// Open files that the workload may need, with some room for the rest of the process.
        needed: u64,
        /// The hard limit of the process.
        limit: u64,
    },
    /// The system refused something that a load engine needs.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The engine's thread ended without a report: a defect of Galileo, told on standard error.
    #[error(
        "the load engine stopped without a report; its thread has written the reason to standard error"
    )]
    Died,
}
