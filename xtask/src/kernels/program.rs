//! The probes' self-test, built so that it needs nothing but a kernel.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::catalog::Architecture;
use crate::process;
use crate::repository::Repository;

/// Builds it, and returns the program.
///
/// # Errors
///
/// If the target's standard library is missing and cannot be installed, or the build fails.
pub(crate) fn build(repository: &Repository, architecture: Architecture) -> Result<Vec<u8>> {
    let target = architecture.target();
    let library = process::output(
        Command::new("rustc")
            .args(["--print", "target-libdir", "--target", target])
            .current_dir(repository.root()),
    )?;
    if !Path::new(&library).is_dir() {
        process::announce(&format!("installing Rust's library for {target}"));
        process::run(
            Command::new("rustup")
                .args(["target", "add", target])
                .current_dir(repository.root()),
        )?;
    }
    process::announce(&format!("building the self-test for {architecture}"));
    let linker = format!(
        "CARGO_TARGET_{}_LINKER",
        target.to_uppercase().replace('-', "_")
    );
    process::run(
        Command::new("cargo")
            .args([
                "build",
                "--release",
                "--quiet",
                "--package",
                "galileo-probes",
            ])
            .args(["--example", "selftest", "--target", target])
            .current_dir(repository.root())
            // It comes with Rust and links for every architecture; the libraries of musl come with the target.
            .env(linker, "rust-lld"),
    )?;
    let path = repository
        .target()
        .join(target)
        .join("release/examples/selftest");
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}
