//! The probes' self-test, as a kernel's first process.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::catalog::Architecture;
use crate::process;
use crate::repository::Repository;

/// A program and what else it needs beside a kernel.
pub(crate) struct Program {
    pub(crate) bytes: Vec<u8>,
    /// Shared libraries, by the paths at which they are looked for.
    pub(crate) libraries: Vec<(String, Vec<u8>)>,
}

/// Builds it for any architecture, optimised, and so that it needs nothing but a kernel.
///
/// # Errors
///
/// If the target's standard library is missing and cannot be installed, or the build fails.
pub(crate) fn build(repository: &Repository, architecture: Architecture) -> Result<Program> {
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
    Ok(Program {
        bytes: read(&path)?,
        libraries: Vec::new(),
    })
}

/// The one that `cargo test --workspace` builds for this machine, with this machine's libraries: nothing is compiled for
/// it where the tests ran.
///
/// # Errors
///
/// If the build fails, or a library cannot be read.
pub(crate) fn of_the_tests(repository: &Repository) -> Result<Program> {
    process::announce("building the self-test as the tests do");
    process::run(
        Command::new("cargo")
            // With the features that its dependencies have in the whole workspace.
            .args(["build", "--quiet", "--workspace", "--example", "selftest"])
            .current_dir(repository.root()),
    )?;
    let path = repository.target().join("debug/examples/selftest");
    let listed = process::output(Command::new("ldd").arg(&path))?;
    let libraries = libraries(&listed)
        .map(|library| Ok((library.to_owned(), read(Path::new(library))?)))
        .collect::<Result<_>>()?;
    Ok(Program {
        bytes: read(&path)?,
        libraries,
    })
}

/// The files in what `ldd` says: `name => path (address)`, or `path (address)`; the kernel's own library has none.
fn libraries(listed: &str) -> impl Iterator<Item = &str> {
    listed
        .lines()
        .flat_map(str::split_whitespace)
        .filter(|word| word.starts_with('/'))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_program_are_its_libraries_and_its_loader() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffc1)\n\
                      \tlibgcc_s.so.1 => /lib/x86_64-linux-gnu/libgcc_s.so.1 (0x00007f31)\n\
                      \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f32)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f33)\n";

        let files: Vec<_> = libraries(listed).collect();

        assert_eq!(
            files,
            [
                "/lib/x86_64-linux-gnu/libgcc_s.so.1",
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2",
            ]
        );
    }
}
