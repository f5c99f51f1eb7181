//! The probes on kernels that this machine does not run: Debian's, booted in qemu with the probes' self-test as their first
//! process, and the committed object.
//!
//! In reading order: [`catalog`] (which kernels), [`packages`] (where they come from), [`program`] (the self-test),
//! [`initramfs`] (what the kernel is given to start with), [`guest`] (the boot), [`outcome`] (what the self-test said) and
//! [`table`] (docs/kernels.md).

mod catalog;
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
}

/// A kernel image with a name.
struct Candidate {
    name: String,
    architecture: Architecture,
    image: PathBuf,
}

/// Boots the kernels, one after the other, and prints the table. If all were asked for it goes to docs/kernels.md, too.
///
/// # Errors
///
/// If a kernel cannot be had or does not boot, or the self-test finds a fault on one; after all were tried.
pub(crate) fn run(repository: &Repository, options: &Options) -> Result<()> {
    let kernels = catalog::select(&options.kernel, &options.arch)?;
    if options.list {
        for kernel in kernels {
            println!("{kernel}");
        }
        return Ok(());
    }
    process::announce("does this machine have what the kernels need?");
    machine::prepare(Purpose::Kernels)?;

    let object = options
        .object
        .clone()
        .unwrap_or_else(|| repository.prebuilt_object());
    let object = fs::read(&object).with_context(|| format!("cannot read {}", object.display()))?;
    let mut outcomes = Vec::new();
    let mut faults = Vec::new();
    let mut boot = |candidate: Result<Candidate>, name: &str| {
        let outcome =
            candidate.and_then(|candidate| test(repository, options, &object, &candidate));
        match outcome {
            Ok(outcome) => {
                faults.extend(
                    outcome
                        .faults()
                        .into_iter()
                        .map(|fault| format!("{name}: {fault}")),
                );
                outcomes.push(outcome);
            }
            Err(error) => faults.push(format!("{name}: {error:#}")),
        }
    };
    if let Some(image) = &options.image {
        let [architecture] = options.arch[..] else {
            bail!("an image of one's own needs one --arch");
        };
        let candidate = Candidate {
            name: "image".to_owned(),
            architecture,
            image: image.clone(),
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
    if faults.is_empty() {
        return Ok(());
    }
    bail!("the kernels disagree:\n  {}", faults.join("\n  "))
}

fn fetch(repository: &Repository, options: &Options, kernel: &Kernel) -> Result<Candidate> {
    process::announce(&format!("fetching {kernel}"));
    Ok(Candidate {
        name: kernel.name.to_owned(),
        architecture: kernel.architecture,
        image: packages::image(&folder(repository), options.mirror.as_deref(), kernel)?,
    })
}

/// Boots one kernel and collects what the self-test says.
fn test(
    repository: &Repository,
    options: &Options,
    object: &[u8],
    candidate: &Candidate,
) -> Result<Outcome> {
    let program = program::build(repository, candidate.architecture)?;
    let folder = folder(repository).join(format!("{}-{}", candidate.name, candidate.architecture));
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let initramfs = folder.join("initramfs");
    fs::write(&initramfs, initramfs::with(&program, &[(OBJECT, object)]))
        .with_context(|| format!("cannot write {}", initramfs.display()))?;

    process::announce(&format!(
        "booting {} on {}",
        candidate.name, candidate.architecture
    ));
    let guest = Guest {
        architecture: candidate.architecture,
        image: &candidate.image,
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
