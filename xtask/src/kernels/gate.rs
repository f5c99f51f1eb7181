//! The part of the kernels' tests that is done before each change: two kernels of this machine's architecture at once.

use std::thread;

use anyhow::{Result, bail};

use super::{Candidate, Options, catalog, faults_of, fetch, none, object, program, test};
use crate::machine::{self, Purpose};
use crate::process;
use crate::repository::Repository;

/// Boots them and says what was found; what cannot be had is left out, unless skips are denied.
///
/// # Errors
///
/// If something is left out and skips are denied, the self-test cannot be built, a kernel does not boot, or the self-test finds a fault on one; after both were tried.
pub(super) fn run(repository: &Repository, options: &Options) -> Result<()> {
    let kernels = catalog::gate();
    if kernels.is_empty() {
        return leave_out("there are no kernels of this machine's architecture");
    }
    process::announce("does this machine have what the kernels need?");
    if let Err(error) = machine::prepare(Purpose::OwnKernels) {
        return leave_out(&format!("{error:#}"));
    }
    let mut candidates: Vec<Candidate> = Vec::new();
    for kernel in &kernels {
        match fetch(repository, options, kernel) {
            Ok(candidate) => candidates.push(candidate),
            Err(error) => leave_out(&format!("{kernel}: {error:#}"))?,
        }
    }
    if candidates.is_empty() {
        return Ok(());
    }
    let program = program::of_the_tests(repository)?;
    let object = object(repository, options)?;
    // A kernel that boots uses one processor.
    let faults: Vec<String> = thread::scope(|scope| {
        let boots: Vec<_> = candidates
            .iter()
            .map(|candidate| {
                scope.spawn(|| {
                    let outcome = test(repository, options, &object, &program, candidate);
                    faults_of(&candidate.name, &outcome)
                })
            })
            .collect();
        let ends = boots.into_iter().map(thread::ScopedJoinHandle::join);
        ends.flat_map(|faults| {
            faults.unwrap_or_else(|_| vec!["the test of a kernel panicked".to_owned()])
        })
        .collect()
    });
    none(&faults)
}

/// Says what is not tested; an error where nothing may be.
fn leave_out(why: &str) -> Result<()> {
    if galileo_skips::denied() {
        bail!(
            "left out, which {}=deny forbids: {why}",
            galileo_skips::VARIABLE
        );
    }
    eprintln!("{}{why}", galileo_skips::MARK);
    Ok(())
}
