//! The eBPF object: compiled reproducibly into `ebpf/prebuilt`, so that users need neither nightly nor LLVM.
//!
//! In reading order: [`compilers`] (what it takes), [`compile`] (the build), [`prune`] (what of it is kept), [`calls`] (what no kernel may be given), [`source`]
//! and [`manifest`] (what the committed object says it came from), [`check`] (whether that is so).

mod calls;
mod check;
mod compile;
mod compilers;
mod manifest;
mod prune;
mod source;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::process;
use crate::repository::Repository;
use compile::Kind;
use compilers::Compilers;
use manifest::Manifest;

/// The variable that makes Galileo load another object than the one compiled in.
const OBJECT_VARIABLE: &str = "GALILEO_EBPF_OBJECT";

/// What to do with the object.
#[derive(Args)]
pub(crate) struct Options {
    /// Compare the committed object with its sources instead of writing it
    ///
    /// With the compilers that made it, it is rebuilt and its bytes must be the same. With others, the hash of its
    /// sources is compared; `strict` does not accept that.
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "lenient")]
    check: Option<Strictness>,
    /// Compile with the probes' own messages into the target folder, and print how to use it
    #[arg(long, conflicts_with = "check")]
    debug: bool,
}

/// Whether a comparison of hashes is enough where the bytes cannot be compared.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Strictness {
    /// It is, with a line that says so.
    Lenient,
    /// It is an error.
    Strict,
}

/// Builds or checks the object.
///
/// # Errors
///
/// If a compiler is missing, the build fails, or a check finds a difference.
pub(crate) fn run(repository: &Repository, options: &Options) -> Result<()> {
    match options.check {
        Some(strictness) => check::run(repository, strictness),
        None if options.debug => build_for_debugging(repository),
        None => build(repository),
    }
}

fn build(repository: &Repository) -> Result<()> {
    let compilers = Compilers::find()?;
    process::announce(&format!("compiling the eBPF object with {compilers}"));
    let object = compile::compile(repository, Kind::Release)?;
    let manifest = Manifest::new(source::hash(&repository.ebpf())?, compilers, &object);

    write(&repository.prebuilt_object(), &object)?;
    write(
        &repository.prebuilt_manifest(),
        manifest.to_json()?.as_bytes(),
    )?;
    eprintln!(
        "wrote {} ({} bytes)",
        repository.prebuilt_object().display(),
        object.len()
    );
    Ok(())
}

fn build_for_debugging(repository: &Repository) -> Result<()> {
    let compilers = Compilers::find()?;
    process::announce(&format!(
        "compiling the eBPF object with its messages, with {compilers}"
    ));
    let object = compile::compile(repository, Kind::Debug)?;
    let path = Kind::Debug.target(repository).join("galileo.bpf.o");
    write(&path, &object)?;
    eprintln!("to see the probes' messages, run galileo with:");
    println!("{OBJECT_VARIABLE}={}", path.display());
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use object::build::elf::Builder;
    use object::elf::SHF_EXECINSTR;

    use super::*;

    #[test]
    fn no_program_reads_the_record_of_a_classic_tracepoint() {
        // D-17: the offsets in such a record differ between kernels. Raw tracepoints pass numbers and pointers.
        let object = fs::read(Repository::of_this_xtask().prebuilt_object()).unwrap();
        let sections = Builder::read(&object[..]).unwrap().sections;
        let hooks: Vec<String> = sections
            .iter()
            .filter(|section| section.sh_flags & u64::from(SHF_EXECINSTR) != 0)
            .map(|section| String::from_utf8_lossy(&section.name).into_owned())
            .collect();

        assert!(hooks.iter().any(|hook| hook == "raw_tp/sched_switch"));
        for hook in hooks {
            let known = [".text", "cgroup/skb", "sockops"].contains(&hook.as_str());
            assert!(known || hook.starts_with("raw_tp/"), "{hook}");
        }
    }
}
