//! `galileo run`: an experiment from its file to its report.

use std::path::PathBuf;

use galileo_experiment::file::ExperimentFile;
use galileo_experiment::plan::Plan;
use galileo_experiment::runner::host;

use crate::execution::{self, Presentation};
use crate::exit::Exit;
use crate::output::Form;
use crate::session::Session;

/// Run an experiment file: start its services, put its load on them, watch, store, report
///
/// Progress goes to standard error, the results to standard output. Ctrl-C ends the run in an orderly way and keeps what
/// was measured until then; a second one ends it at once. Either way no process and no cgroup of it is left.
///
/// Exit codes: 0 a valid run, 1 an error, 2 a wrong file, 3 a run that is not valid or ended early, 130 interrupted.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  galileo run examples/quickstart.yaml
  galileo run --output json --quiet galileo.yaml > result.json
  galileo --db ./here.db run --report ./report.html galileo.yaml")]
pub struct Args {
    /// The experiment file, YAML; `galileo init` writes one to start from
    #[arg(value_name = "FILE")]
    file: PathBuf,

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
}

/// Does it.
pub async fn run(args: Args, session: &Session) -> anyhow::Result<Exit> {
    let file = ExperimentFile::read(&args.file)?;
    let plan = Plan::of_file(&file, &host())?;
    let presentation = Presentation {
        form: args.output,
        quiet: args.quiet,
        report: args.report,
    };
    execution::execute(plan, args.cgroup_parent, presentation, session).await
}
