//! From a clone to a report: build what the demo needs and run the quickstart.

use std::process::Command;

use anyhow::{Context, Result};

use crate::machine::{self, Purpose};
use crate::process;
use crate::repository::Repository;

/// The experiment that the demo runs, counted from the top folder.
const EXPERIMENT: &str = "examples/quickstart.yaml";

/// Prepares the machine, builds in release and runs the quickstart.
///
/// # Errors
///
/// If the machine lacks something, a build fails or the experiment does not end well.
pub(crate) fn run(repository: &Repository) -> Result<()> {
    process::announce("1 of 3: does this machine have what the build needs?");
    machine::prepare(Purpose::Build)?;

    process::announce(
        "2 of 3: building Galileo and the example server (some minutes the first time)",
    );
    process::run(
        cargo(repository)
            .args(["build", "--release", "--package", "galileo"])
            .args(["--package", "galileo-example-server", "--target-dir"])
            // The examples name the server by its path from their folder.
            .arg(repository.own_target()),
    )
    .context("the build failed; the compiler's message stands above")?;

    process::announce(&format!("3 of 3: running {EXPERIMENT}"));
    process::run(
        Command::new(repository.own_target().join("release").join("galileo"))
            .args(["run", EXPERIMENT])
            .current_dir(repository.root()),
    )
    .context("the quickstart did not end well; `target/release/galileo check` says what works on this machine")
}

fn cargo(repository: &Repository) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(repository.root());
    command
}
