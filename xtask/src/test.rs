//! Every test of the workspace, with one line at the end that says how it went.

mod tally;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Args;

use crate::machine::{self, Purpose};
use crate::process::{self, Running};
use crate::repository::Repository;
use tally::Tally;

/// What to test.
#[derive(Args)]
pub(crate) struct Options {
    /// Leave out the end-to-end tests, which need root or capabilities, real servers and minutes
    #[arg(long)]
    quick: bool,
}

/// Runs the tests and prints the summary.
///
/// # Errors
///
/// If the machine lacks something, or a test or a build failed; a skip fails the test if `GALILEO_TEST_SKIPS` is `deny`.
pub(crate) fn run(repository: &Repository, options: &Options) -> Result<()> {
    process::announce("does this machine have what the tests need?");
    machine::prepare(Purpose::Test)?;

    process::announce("running the tests");
    let begin = Instant::now();
    let mut command = Command::new("cargo");
    command
        .args(["test", "--workspace", "--no-fail-fast"])
        .current_dir(repository.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    if options.quick {
        command.args(["--exclude", "galileo-tests"]);
    }
    let mut tests = Running::start(&mut command)?;
    let output = tests.stdout()?;
    let tally = copy_and_count(BufReader::new(output), &mut std::io::stdout().lock())?;
    let ended = tests.wait();

    println!("\n{tally} in {} s", begin.elapsed().as_secs());
    for skip in tally.skipped() {
        println!("{}{skip}", galileo_skips::MARK);
    }
    ended
}

/// Passes `output` on as it comes, and counts the results in it.
fn copy_and_count(mut output: impl BufRead, to: &mut impl Write) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut line = Vec::new();
    while output
        .read_until(b'\n', &mut line)
        .context("cannot read from `cargo test`")?
        > 0
    {
        to.write_all(&line)
            .context("cannot write to standard output")?;
        tally.count(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_passed_on_unchanged_even_if_it_is_not_text() {
        let output = b"\xff\xfe\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured;\nlast";
        let mut copy = Vec::new();

        let tally = copy_and_count(&output[..], &mut copy).unwrap();

        assert_eq!(copy, output);
        assert_eq!(
            tally.to_string(),
            "2 passed, 0 failed, 1 ignored, 0 skipped"
        );
    }
}
