//! The build tool of Galileo, called as `cargo xtask <command>`.
//!
//! In reading order: [`repository`] (where things lie), [`process`] (how programs are run), [`machine`] (what a
//! machine needs), [`demo`], [`test`], [`bench`], [`corpus`] and [`ebpf`].

#![forbid(unsafe_code)]

mod bench;
mod corpus;
mod demo;
mod ebpf;
mod machine;
mod process;
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
    /// Measure what docs/measurements.md tells, against real peers in the same run
    Bench(bench::Options),
    /// Hold what the probes see of real servers and clients against what these did, and write docs/conformance.md
    ///
    /// Installs the servers with apt. Must be run as root.
    Corpus(corpus::Options),
    /// Compile the eBPF object into ebpf/prebuilt, or check the one that lies there
    Ebpf(ebpf::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let repository = Repository::of_this_xtask();
    let result = match arguments.command {
        Command::Demo => demo::run(&repository),
        Command::Setup => machine::prepare(machine::Purpose::Test),
        Command::Test(options) => test::run(&repository, &options),
        Command::Bench(options) => bench::run(&repository, &options),
        Command::Corpus(options) => corpus::run(&repository, &options),
        Command::Ebpf(options) => ebpf::run(&repository, &options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
