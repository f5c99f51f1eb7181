//! The build tool of Galileo, called as `cargo xtask <command>`.
//!
//! In reading order: [`repository`] (where things lie), [`process`] (how programs are run), [`progress`] (how far they
//! are), [`namespace`] (networks of our own), [`cgroup`] (where programs run), [`machine`] (what a machine needs), [`demo`],
//! [`mod@test`], [`fuzz`], [`mod@bench`], [`corpus`], [`ebpf`], [`kernels`], [`deny`] and [`miri`].

#![forbid(unsafe_code)]

mod bench;
mod cgroup;
mod corpus;
mod demo;
mod deny;
mod ebpf;
mod fuzz;
mod kernels;
mod machine;
mod miri;
mod namespace;
mod process;
mod progress;
mod repository;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use repository::Repository;

/// Builds, tests and shows Galileo.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build Galileo and run the quickstart: from a clone to a report
    ///
    /// Installs what the machine lacks with apt if run as root; else prints the line that does it, and stops.
    Demo,
    /// Check that this machine has what building and testing need, and install it with apt if run as root
    Setup,
    /// Run every test: unit, contract and end to end
    Test(test::Options),
    /// Try random conversations on the framing of the probes, on the host and in the kernel
    Fuzz(fuzz::Options),
    /// Measure what docs/measurements.md tells, against real peers in the same run
    Bench(bench::Options),
    /// Hold what the probes see of real servers and clients against what these did, and write docs/conformance.md
    ///
    /// Installs the servers with apt. Must be run as root.
    Corpus(corpus::Options),
    /// Compile the eBPF object into ebpf/prebuilt, or check the one that lies there
    Ebpf(ebpf::Options),
    /// Boot other kernels in qemu and run the probes' self-test on them
    ///
    /// Needs no hardware virtualisation; a kernel takes about a minute. Packages and logs are kept under target/kernels.
    Kernels(kernels::Options),
    /// Check licences, bans and sources of all dependencies with cargo-deny
    ///
    /// Installs cargo-deny under target/ if it is not there.
    Deny,
    /// Run the probes' state machines under Miri, which finds undefined behaviour
    ///
    /// Takes three to ten minutes on two processors. Adds Miri to the nightly toolchain if it is not there.
    Miri,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let repository = Repository::of_this_xtask();
    let result = match arguments.command {
        Command::Demo => demo::run(&repository),
        Command::Setup => machine::prepare(machine::Purpose::Test),
        Command::Test(options) => test::run(&repository, &options),
        Command::Fuzz(options) => fuzz::run(&repository, &options),
        Command::Bench(options) => bench::run(&repository, &options),
        Command::Corpus(options) => corpus::run(&repository, &options),
        Command::Ebpf(options) => ebpf::run(&repository, &options),
        Command::Kernels(options) => kernels::run(&repository, &options),
        Command::Deny => deny::run(&repository),
        Command::Miri => miri::run(&repository),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
