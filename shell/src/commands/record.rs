//! `galileo record`: a program watched without an experiment file.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::value_parser;
use galileo_experiment::file::spec::{DEFAULT_STORED_EXCHANGES, MOST_STORED_EXCHANGES, Telemetry};
use galileo_experiment::file::{TimeSpan, UnitError};
use galileo_experiment::plan::record_plan;
use galileo_experiment::runner::host;

use crate::execution::{self, Presentation};
use crate::exit::Exit;
use crate::output::Form;
use crate::session::Session;

/// Run a command in a cgroup of its own and watch it until it ends
///
/// All that the command starts counts for it. There is no load; HTTP requests that others send to it are seen. What it
/// prints goes into a file in the folder of the run. Ctrl-C ends it and keeps what was measured.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  galileo record -- ./my-program --its-options
  galileo record --for 60s --name idle -- python3 -m http.server 8000
  galileo record --output json -- sh -c 'make -j4 > make.log'")]
pub struct Args {
    /// Stop after this time, e.g. 500ms, 60s, 1m30s [default: when the command ends]
    #[arg(long = "for", value_name = "TIME", value_parser = some_time, allow_hyphen_values = true)]
    duration: Option<TimeSpan>,

    /// Name of the experiment [default: that of the program]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Measure what interrupts and softirqs take of each CPU; costs two runs of a probe for each of them
    #[arg(long)]
    interrupts: bool,

    /// Store at most so many of its HTTP exchanges one by one; those beyond are counted only. A busy server has more than the database
    /// takes: 100000 a second
    #[arg(long, value_name = "N", default_value_t = DEFAULT_STORED_EXCHANGES, value_parser = value_parser!(u64).range(..=MOST_STORED_EXCHANGES))]
    exchanges: u64,

    /// Print the results as text or as JSON (see docs/result-json.md)
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    output: Form,

    /// Print neither plan nor progress, only the results
    #[arg(long, short)]
    quiet: bool,

    /// Where to write the HTML report [default: report.html in the folder of the run]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Make the run's cgroups below this one, a path below the cgroup2 mount, e.g. /user.slice/me [default: the root, or
    /// the own cgroup where only that is writable]
    #[arg(long, value_name = "DIR")]
    cgroup_parent: Option<PathBuf>,

    /// The command and its arguments, behind `--`
    #[arg(value_name = "COMMAND", required = true, last = true)]
    command: Vec<OsString>,
}

/// A time that is more than none.
fn some_time(text: &str) -> Result<TimeSpan, String> {
    match text.parse() {
        Ok(TimeSpan(Duration::ZERO)) => Err("it must be more than 0".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(UnitError::to_string(&error)),
    }
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> anyhow::Result<Exit> {
    let folder = std::env::current_dir().context("the current folder cannot be found")?;
    let duration = args.duration.map(|span| span.0);
    let telemetry = Telemetry {
        interrupts: args.interrupts,
        ..Telemetry::default()
    };
    let mut plan = record_plan(
        &args.command,
        duration,
        args.name,
        telemetry,
        &folder,
        &host(),
    )?;
    plan.stored_exchanges = args.exchanges;
    let presentation = Presentation {
        form: args.output,
        quiet: args.quiet,
        report: args.report,
    };
    execution::execute(plan, args.cgroup_parent, presentation, session).await
}
