//! The two compilers of the object, and what to do where they are missing.

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::process;

const INSTALL_NIGHTLY: &str = "rustup toolchain install nightly --component rust-src";
const INSTALL_LINKER: &str = "cargo install bpf-linker --version 0.10.3 --locked";

/// The versions that decide the object's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Compilers {
    /// The line that `rustc --version` prints, with its commit.
    pub(crate) rustc: String,
    /// The line that `bpf-linker --version` prints.
    pub(crate) bpf_linker: String,
}

impl Compilers {
    /// The compilers on this machine.
    ///
    /// # Errors
    ///
    /// If one is missing, with the command that installs it.
    pub(crate) fn find() -> Result<Self> {
        let rustc = process::output(nightly("rustc").arg("--version"))
            .with_context(|| missing("Rust nightly", INSTALL_NIGHTLY))?;
        let sysroot = sysroot()?;
        if !Path::new(&sysroot)
            .join("lib/rustlib/src/rust/library/core")
            .exists()
        {
            bail!(missing(
                "the standard library's source (rust-src)",
                INSTALL_NIGHTLY
            ));
        }
        let bpf_linker = process::output(Command::new("bpf-linker").arg("--version"))
            .with_context(|| missing("bpf-linker", INSTALL_LINKER))?;
        Ok(Self { rustc, bpf_linker })
    }
}

impl fmt::Display for Compilers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.rustc, self.bpf_linker)
    }
}

/// Where the nightly toolchain lies.
///
/// # Errors
///
/// If there is no nightly toolchain.
pub(crate) fn sysroot() -> Result<String> {
    process::output(nightly("rustc").args(["--print", "sysroot"]))
        .with_context(|| missing("Rust nightly", INSTALL_NIGHTLY))
}

/// A command that runs `program` of the nightly toolchain, untouched by the stable one that runs this xtask.
pub(crate) fn nightly(program: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", program]);
    // Cargo sets the first for the programs it runs, so that they would load the other toolchain's libraries; the
    // others would choose other compilers or flags than the ones that the manifest tells.
    for name in [
        "LD_LIBRARY_PATH",
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_TARGET_DIR",
    ] {
        command.env_remove(name);
    }
    command
}

fn missing(what: &str, install: &str) -> String {
    format!("{what} is needed to compile the eBPF object; install it with `{install}`")
}
