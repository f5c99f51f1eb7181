//! The state machines of the probes under Miri, which finds undefined behaviour that a test passes over: they read at
//! computed places, and the same code runs in the kernel.
//!
//! Miri builds a standard library of its own, from the sources that compiling the object needs, too.
//!
//! What cannot run there, as Miri has no kernel: all that makes system calls of its own, which is the rest of galileo-probes
//! (mapped arrays, loading, attaching), and the object itself, which the verifier walks instead.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::process;
use crate::repository::Repository;

/// Cases of each property: Miri is some hundred times slower than a processor.
const CASES: &str = "1";

/// Runs the tests of ebpf/abi and ebpf/core, and those of galileo-probes that make typed values of the kernel side's bytes.
///
/// # Errors
///
/// If nightly has no Miri, a test fails, or something undefined happens.
pub(crate) fn run(repository: &Repository) -> Result<()> {
    if process::output(Command::new("rustup").args([
        "run",
        "nightly",
        "cargo",
        "miri",
        "--version",
    ]))
    .is_err()
    {
        process::announce("installing Miri");
        process::run(Command::new("rustup").args([
            "component",
            "add",
            "miri",
            "--toolchain",
            "nightly",
        ]))?;
    }
    // Built one after the other, with all processors; Miri itself runs on one, so the tests are shared out.
    let mut jobs = Vec::new();
    for tested in &TESTED {
        let names = tested.names(repository)?;
        jobs.extend(names.chunks(TOGETHER).map(|some| (tested, some.to_vec())));
    }
    process::announce("running the tests");
    let jobs = Mutex::new(jobs);
    // A lock of its own for each: others take theirs meanwhile. Nobody panics while holding it.
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = || {
        while let Some((tested, names)) = next() {
            tested.run(repository, &names)?;
        }
        Ok(())
    };
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

/// Tests that one process runs. To begin takes some seconds.
const TOGETHER: usize = 5;

/// Some tests of one package.
struct Tested {
    targets: &'static [&'static str],
    /// Which of them; all if none is named.
    only: &'static [&'static str],
}

const TESTED: [Tested; 4] = [
    Tested {
        targets: &["--package", "galileo-ebpf-abi", "--lib"],
        only: &[],
    },
    Tested {
        targets: &["--package", "galileo-probes", "--lib"],
        only: &["exchange::", "plain::", "durations::"],
    },
    Tested {
        targets: &["--package", "galileo-ebpf-core", "--lib"],
        only: &[],
    },
    Tested {
        targets: &["--package", "galileo-ebpf-core", "--test", "*"],
        only: &[],
    },
];

impl Tested {
    /// Builds them and asks for their names.
    fn names(&self, repository: &Repository) -> Result<Vec<String>> {
        let mut command = self.command(repository);
        process::run(command.arg("--no-run"))?;
        let list = process::output(
            self.command(repository)
                .args(["--", "--list", "--format", "terse"])
                .args(self.only),
        )?;
        let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
        let names: Vec<String> = names.map(str::to_owned).collect();
        // Any of them lets a test pass, so one that does not fit any more would not be noticed.
        for filter in self.only {
            if !names.iter().any(|name| name.contains(filter)) {
                bail!("no test is called {filter}");
            }
        }
        Ok(names)
    }

    /// Runs those of these names, and tells in the end what they said: two at once would talk across each other.
    fn run(&self, repository: &Repository, names: &[String]) -> Result<()> {
        let output = self
            .command(repository)
            .args(["--", "--exact"])
            .args(names)
            .output()
            .context("cannot start `rustup`")?;
        print!("{}", String::from_utf8_lossy(&output.stdout));
        if !output.status.success() {
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            bail!(
                "Miri ended with {} in one of: {}",
                output.status,
                names.join(", ")
            );
        }
        Ok(())
    }

    fn command(&self, repository: &Repository) -> Command {
        let mut command = Command::new("rustup");
        command
            .args(["run", "nightly", "cargo", "miri", "test"])
            .args(self.targets)
            .current_dir(repository.root())
            // Where Miri keeps the standard library it builds; the user's cache folder otherwise.
            .env("XDG_CACHE_HOME", repository.target().join("miri-sysroot"))
            .env("PROPTEST_CASES", CASES)
            // The same cases each time, and nothing written down: Miri has no folder to write to.
            .env("PROPTEST_RNG_SEED", "10")
            .env(
                "MIRIFLAGS",
                "-Zmiri-disable-isolation -Zmiri-symbolic-alignment-check",
            );
        command
    }
}
