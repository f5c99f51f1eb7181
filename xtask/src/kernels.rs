//! The probes on kernels that this machine does not run: Debian's, booted in qemu with the probes' self-test as their first
//! process, and the committed object.
//!
//! In reading order: [`catalog`] (which kernels), [`packages`] (where they come from), [`program`] (the self-test),
//! [`initramfs`] (what the kernel is given to start with), [`guest`] (the boot), [`outcome`] (what the self-test said),
//! [`table`] (docs/kernels.md) and [`gate`] (what is done of it before each change).

mod catalog;
mod gate;
mod guest;
mod initramfs;
mod outcome;
mod packages;
mod program;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::machine::{self, Purpose};
use crate::process;
use crate::repository::Repository;
use catalog::{Architecture, Kernel};
use guest::Guest;
use outcome::Outcome;
use program::Program;

/// Where the object lies in the guest.
const OBJECT: &str = "/galileo.bpf.o";

/// Which kernels, and what of the self-test.
#[derive(Args)]
pub(crate) struct Options {
    /// A kernel of the list, for instance 5.10; may be given several times [default: all]
    #[arg(long, value_name = "NAME")]
    kernel: Vec<String>,
    /// An architecture; may be given several times [default: all]
    #[arg(long, value_enum)]
    arch: Vec<Architecture>,
    /// Hide the kernel's BTF throughout; without it, the self-test runs both with and without BTF
    #[arg(long)]
    no_btf: bool,
    /// Only ask the verifier about every program: the quick answer for whoever changes them
    #[arg(long)]
    verify: bool,
    /// Load this object instead of the committed one
    #[arg(long, value_name = "FILE", env = "GALILEO_EBPF_OBJECT")]
    object: Option<PathBuf>,
    /// Boot this kernel image instead of Debian's; needs one --arch
    #[arg(long, value_name = "FILE", conflicts_with = "kernel")]
    image: Option<PathBuf>,
    /// The Debian mirror [default: the one that this machine's apt uses]
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Longest time of one boot in seconds, emulated processors being slow
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    time_limit: u64,
    /// Only print which kernels there are
    #[arg(long)]
    list: bool,
    /// Only what a gate has time for: two kernels at once, one run of the self-test each
    ///
    /// The self-test is the one that `cargo test` builds, so that nothing is compiled for it. What cannot be had, as there is
    /// no qemu or no mirror, is left out, with a line that says why, or fails if
    /// `GALILEO_TEST_SKIPS` is `deny`.
    #[arg(long, conflicts_with_all = ["kernel", "arch", "no_btf", "verify", "image", "list"])]
    gate: bool,
}

/// A kernel image with a name.
struct Candidate {
    name: String,
    architecture: Architecture,
    image: PathBuf,
    /// What it is booted with besides what all are.
    arguments: &'static str,
}

/// Boots the kernels, one after the other, and prints the table. If all were asked for it goes to docs/kernels.md, too.
///
/// # Errors
///
/// If a kernel cannot be had or does not boot, or the self-test finds a fault on one; after all were tried.
pub(crate) fn run(repository: &Repository, options: &Options) -> Result<()> {
    if options.gate {
        return gate::run(repository, options);
    }
    let kernels = catalog::select(&options.kernel, &options.arch)?;
    if options.list {
        for kernel in kernels {
            println!("{kernel}");
        }
        return Ok(());
    }
    process::announce("does this machine have what the kernels need?");
    machine::prepare(Purpose::Kernels)?;

    let object = object(repository, options)?;
    let mut outcomes = Vec::new();
    let mut faults = Vec::new();
    let mut boot = |candidate: Result<Candidate>, name: &str| {
        let outcome = candidate.and_then(|candidate| {
            let program = program::build(repository, candidate.architecture)?;
            test(repository, options, &object, &program, &candidate)
        });
        faults.extend(faults_of(name, &outcome));
        outcomes.extend(outcome.ok());
    };
    if let Some(image) = &options.image {
        let [architecture] = options.arch[..] else {
            bail!("an image of one's own needs one --arch");
        };
        let candidate = Candidate {
            name: "image".to_owned(),
            architecture,
            image: image.clone(),
            arguments: "",
        };
        boot(Ok(candidate), "image");
    } else {
        for kernel in &kernels {
            boot(fetch(repository, options, kernel), &kernel.to_string());
        }
    }

    let table = table::render(&outcomes, options.verify)?;
    println!("\n{table}");
    let everything = options.kernel.is_empty() && options.arch.is_empty();
    let committed = options.object.is_none() && !options.verify && !options.no_btf;
    if everything && committed && options.image.is_none() {
        let path = repository.root().join("docs/kernels.md");
        fs::write(&path, table).with_context(|| format!("cannot write {}", path.display()))?;
    }
    none(&faults)
}

/// What went wrong on one kernel.
fn faults_of(name: &str, outcome: &Result<Outcome>) -> Vec<String> {
    match outcome {
        Ok(outcome) => {
            let faults = outcome.faults().into_iter();
            faults.map(|fault| format!("{name}: {fault}")).collect()
        }
        Err(error) => vec![format!("{name}: {error:#}")],
    }
}

/// An error that tells all faults.
fn none(faults: &[String]) -> Result<()> {
    if faults.is_empty() {
        return Ok(());
    }
    bail!("the kernels disagree:\n  {}", faults.join("\n  "))
}

/// The object to load in the guests.
fn object(repository: &Repository, options: &Options) -> Result<Vec<u8>> {
    let own = options.object.clone();
    let path = own.unwrap_or_else(|| repository.prebuilt_object());
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn fetch(repository: &Repository, options: &Options, kernel: &Kernel) -> Result<Candidate> {
    process::announce(&format!("fetching {kernel}"));
    Ok(Candidate {
        name: kernel.name.to_owned(),
        architecture: kernel.architecture,
        image: packages::image(&folder(repository), options.mirror.as_deref(), kernel)?,
        arguments: kernel.arguments,
    })
}

/// Boots one kernel and collects what the self-test says.
fn test(
    repository: &Repository,
    options: &Options,
    object: &[u8],
    program: &Program,
    candidate: &Candidate,
) -> Result<Outcome> {
    let folder = folder(repository).join(format!("{}-{}", candidate.name, candidate.architecture));
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let initramfs = folder.join("initramfs");
    let libraries = program.libraries.iter();
    let files = libraries
        .map(|(path, library)| (path.as_str(), library.as_slice()))
        .chain([(OBJECT, object)]);
    fs::write(&initramfs, initramfs::with(&program.bytes, files))
        .with_context(|| format!("cannot write {}", initramfs.display()))?;

    process::announce(&format!(
        "booting {} on {}",
        candidate.name, candidate.architecture
    ));
    let guest = Guest {
        architecture: candidate.architecture,
        image: &candidate.image,
        arguments: candidate.arguments,
        initramfs: &initramfs,
        environment: &[
            ("SELFTEST", &tasks(options)),
            ("GALILEO_EBPF_OBJECT", OBJECT),
        ],
        console: &folder.join("console.log"),
        limit: Duration::from_secs(options.time_limit),
    };
    let booted = guest.boot()?;
    let outcome = Outcome::read(&candidate.name, candidate.architecture, &booted)?;
    outcome.keep_logs(&folder)?;
    eprintln!("{}", outcome.summary());
    Ok(outcome)
}

/// What the first process of the guest is to do.
fn tasks(options: &Options) -> String {
    if options.gate {
        return "run".to_owned();
    }
    let verify = format!("verify,{OBJECT}");
    match (options.verify, options.no_btf) {
        (true, false) => verify,
        (true, true) => format!("hide-btf;{verify}"),
        (false, true) => format!("hide-btf;{verify};run"),
        (false, false) => format!("{verify};run;hide-btf;run"),
    }
}

/// Where everything is kept.
fn folder(repository: &Repository) -> PathBuf {
    repository.target().join("kernels")
}

/// Whether a file is there and not empty: an empty one is what an interrupted run left.
fn is_kept(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.len() > 0)
}

/// The first line of what a program says to `--version`.
fn version(program: &str) -> Result<String> {
    let text = process::output(Command::new(program).arg("--version"))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
