//! The build of the object: the same bytes from any folder, user and cargo home.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{calls, compilers, prune};
use crate::process;
use crate::repository::Repository;

const TARGET: &str = "bpfel-unknown-none";

/// Which object to compile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The one that is committed.
    Release,
    /// The same with the probes' messages through aya-log.
    Debug,
}

impl Kind {
    /// The folder for what this build makes.
    pub(crate) fn target(self, repository: &Repository) -> PathBuf {
        repository.target().join(match self {
            Self::Release => "ebpf",
            Self::Debug => "ebpf-debug",
        })
    }
}

/// Compiles the object and returns its bytes, without what a kernel does not read.
///
/// # Errors
///
/// If a compiler is missing or the build fails.
pub(crate) fn compile(repository: &Repository, kind: Kind) -> Result<Vec<u8>> {
    let target = kind.target(repository);
    // The folders of cargo's home that the flags name exist only once something was downloaded.
    process::run(
        compilers::nightly("cargo")
            .args(["fetch", "--locked"])
            .current_dir(repository.ebpf()),
    )?;
    let mut build = compilers::nightly("cargo");
    build
        .args(["build", "--release", "--locked", "-Z", "build-std=core"])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(repository, &target)?)
        .current_dir(repository.ebpf());
    if kind == Kind::Debug {
        build.args(["--features", "log"]);
    }
    process::run(&mut build)?;

    let path = target.join(TARGET).join("release").join("galileo-ebpf");
    let object = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let object = prune::prune(&object)?;
    if kind == Kind::Release {
        calls::none_beside_tail_calls(&object)?;
    }
    Ok(object)
}

/// The compiler's flags, in the form of `CARGO_ENCODED_RUSTFLAGS`.
fn flags(repository: &Repository, target: &Path) -> Result<OsString> {
    let mut flags: Vec<OsString> = [
        // BTF is made from debug information.
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        // Instructions that every kernel from 5.1 on knows: 32-bit arithmetic and jumps.
        "-Ctarget-cpu=v3",
        // Eight bytes of a head are read at any address. x86_64 and aarch64 kernels allow that; without it the compiler
        // reads byte by byte.
        "-Ctarget-feature=+allows-misaligned-mem-access",
        // aya's bindings differ between architectures in pt_regs alone, which no program here reads. Left open, it
        // would be the building machine's architecture.
        "--cfg=bpf_target_arch=\"x86_64\"",
    ]
    .map(OsString::from)
    .into();
    // BTF names source files. The later of two prefixes that match is taken, hence the inner folders last.
    let mut rename = |from: &Path, to: &str| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push("=");
        flag.push(to);
        flags.push(flag);
    };
    rename(repository.root(), "/galileo");
    rename(target, "/target");
    let cargo_home = cargo_home()?;
    rename(&cargo_home, "/cargo");
    for registry in registries(&cargo_home)? {
        rename(&registry, "/cargo/registry");
    }
    rename(Path::new(&compilers::sysroot()?), "/rust");
    Ok(flags.join(std::ffi::OsStr::new("\x1f")))
}

fn cargo_home() -> Result<PathBuf> {
    match env::var_os("CARGO_HOME") {
        Some(home) if !home.is_empty() => Ok(PathBuf::from(home)),
        _ => Ok(env::home_dir()
            .context("cannot tell where cargo's home is: set CARGO_HOME")?
            .join(".cargo")),
    }
}

/// The folders that sources are unpacked in; their names hold a hash of the registry's address.
fn registries(cargo_home: &Path) -> Result<Vec<PathBuf>> {
    let sources = cargo_home.join("registry").join("src");
    let Ok(entries) = fs::read_dir(&sources) else {
        return Ok(Vec::new());
    };
    let mut folders = Vec::new();
    for entry in entries {
        folders.push(
            entry
                .with_context(|| format!("cannot list {}", sources.display()))?
                .path(),
        );
    }
    folders.sort();
    Ok(folders)
}
