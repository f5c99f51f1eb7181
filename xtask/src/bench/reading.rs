//! `cargo xtask bench reading`: what it takes to read.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use super::example;
use crate::machine::{self, Purpose};
use crate::process;
use crate::repository::Repository;

/// How long to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Seconds for which the library's CPU time is taken, for each row
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

pub(super) fn run(repository: &Repository, options: &Options) -> Result<()> {
    machine::prepare(Purpose::Test)?;
    process::announce("building the measuring program");
    let program = example(repository, "galileo-probes", "bench_reading")?;
    process::run(Command::new(program).arg(options.seconds.to_string()))
}
