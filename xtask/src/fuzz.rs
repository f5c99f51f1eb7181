//! Random conversations for as long as one likes, through the framing on the host and through the kernel's hook.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::process;
use crate::repository::Repository;

/// What to try, and for how long.
#[derive(Args)]
pub(crate) struct Options {
    /// Seconds for each of the tests: five on the host side by side, then eight in the kernel one after the other
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,

    /// The first seed; the same seeds make the same conversations
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Write inputs that do not agree into this folder, made as small as they go, and go on behind them
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,

    /// Leave out the kernel, which needs root
    #[arg(long)]
    host: bool,
}

/// Runs the fuzzers.
///
/// # Errors
///
/// If an input does not agree and is not kept, or a build failed.
pub(crate) fn run(repository: &Repository, options: &Options) -> Result<()> {
    if let Some(folder) = &options.keep {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    process::announce("random conversations through the framing on the host");
    test(
        repository,
        options,
        &["-p", "galileo-ebpf-core", "--test", "http", "fuzz"],
    )?;
    if options.host {
        return Ok(());
    }
    process::announce("random conversations through the kernel's hook");
    test(
        repository,
        options,
        &["-p", "galileo-tests", "--test", "wire", "differential"],
    )
}

fn test(repository: &Repository, options: &Options, which: &[&str]) -> Result<()> {
    let mut command = Command::new("cargo");
    command
        .args(["test", "--release"])
        .args(which)
        .args(["--", "--nocapture"])
        .current_dir(repository.root())
        .env("GALILEO_FUZZ_SECONDS", options.seconds.to_string())
        .env("GALILEO_FUZZ_SEED", options.seed.to_string());
    if let Some(folder) = &options.keep {
        let folder = std::path::absolute(folder)
            .with_context(|| format!("cannot find {}", folder.display()))?;
        command.env("GALILEO_FUZZ_KEEP", folder);
    }
    process::run(&mut command)
}
