//! What docs/measurements.md tells, measured again: each figure against a real peer in the same run.

mod network;
mod nginx;
mod page;
mod probes;
mod reading;
mod rows;
mod samples;
mod switch;
mod wrk;

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::process;
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
    /// nginx runs with one worker on CPU 0 and wrk with 64 connections on CPU 1, each in a cgroup of its
    /// own, over loopback or between two network namespaces joined by a veth pair, which come and go
    /// with the row. First all exchanges of a load are counted by the
    /// probes, in both roles, and by nginx (`stub_status`). Then nothing, programs that do nothing (the floor of the packet
    /// hooks) and each set of features take turns of 0.1 s beside one load; the 95 % interval is that of a bootstrap over the
    /// rounds. In the end the kernel counts runs and time of each program for 2 s.
    ///
    /// The machine should do nothing else. Must be run as root. All rows take eight minutes. A short look at one:
    ///
    /// cargo xtask bench probes --rows keep-alive --kept-seconds 6
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

/// Builds an example in release and returns its path.
fn example(repository: &Repository, package: &str, name: &str) -> Result<PathBuf> {
    process::run(Command::new("cargo").current_dir(repository.root()).args([
        "build",
        "--release",
        "--package",
        package,
        "--example",
        name,
    ]))?;
    Ok(repository
        .target()
        .join("release")
        .join("examples")
        .join(name))
}
