//! What docs/measurements.md tells, measured again: each figure against a real peer in the same run.

mod peers;
mod probes;
mod reading;
mod switch;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::repository::Repository;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Recall against nginx's own count, and the part of its throughput that is kept
    ///
    /// nginx runs with one worker on CPU 0 and wrk on CPU 1, on loopback. The machine should do nothing else. Must be run
    /// as root.
    Probes(probes::Options),
    /// What the scheduler's probes add to a context switch, step by step
    ///
    /// Two processes on CPU 1 hand a byte to and fro while the programs come and go. Must be run as root.
    Switch(switch::Options),
    /// What reading all counters takes, and what the library takes of CPU and memory
    ///
    /// Makes up to a thousand cgroups. Must be run as root.
    Reading(reading::Options),
}

/// Runs a measurement and prints its table.
pub(crate) fn run(repository: &Repository, options: &Options) -> Result<()> {
    match &options.what {
        What::Probes(options) => probes::run(repository, options),
        What::Switch(options) => switch::run(repository, options),
        What::Reading(options) => reading::run(repository, options),
    }
}
