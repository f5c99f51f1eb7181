//! The state machines of the probes under Miri, which finds undefined behaviour that a test passes over: they read at
//! computed places, and the same code runs in the kernel.
//!
//! Miri builds a standard library of its own, from the sources that compiling the object needs, too.
//!
//! What cannot run there, as Miri has no kernel: all that makes system calls of its own, which is the rest of galileo-probes
//! (mapped arrays, loading, attaching), and the object itself, which the verifier walks instead.

use std::process::Command;

use anyhow::Result;

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
    let all: &[&str] = &[
        "--package",
        "galileo-ebpf-abi",
        "--package",
        "galileo-ebpf-core",
    ];
    let records: &[&str] = &[
        "--package",
        "galileo-probes",
        "--lib",
        "--",
        "exchange::",
        "plain::",
        "durations::",
    ];
    for what in [all, records] {
        process::run(
            Command::new("rustup")
                .args(["run", "nightly", "cargo", "miri", "test"])
                .args(what)
                .current_dir(repository.root())
                .env("PROPTEST_CASES", CASES)
                // The same cases each time, and nothing written down: Miri has no folder to write to.
                .env("PROPTEST_RNG_SEED", "10")
                .env(
                    "MIRIFLAGS",
                    "-Zmiri-disable-isolation -Zmiri-symbolic-alignment-check",
                ),
        )?;
    }
    Ok(())
}
