//! Why a run measured nothing.

use crate::local;

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
    /// The run was cancelled before anything was measured.
    #[error("interrupted before anything was measured")]
    Cancelled,
}
