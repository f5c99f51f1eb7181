//! `galileo check`: what works on this machine.

use std::path::PathBuf;

use crate::checks::{self, Surroundings};
use crate::exit::Exit;
use crate::output::{self, Form};
use crate::session::Session;

/// Tell what works on this machine, why the rest does not, and what to do about it
///
/// Everything is tried, not guessed: the probes are loaded, a cgroup is made, a process is limited; all of it is undone.
///
/// Exit codes: 0 runs work and all of them can be seen, 3 runs work with reservations, 1 no run works.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  galileo check
  galileo check --output json | jq '.checks[] | select(.state != \"works\")'")]
pub struct Args {
    /// Print a table or JSON
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    output: Form,

    /// The cgroup that runs are to use, as in `galileo run`
    #[arg(long, value_name = "DIR")]
    cgroup_parent: Option<PathBuf>,
}

/// Does it.
pub async fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let surroundings = Surroundings {
        database: session.database_path()?,
        cgroup_parent: args.cgroup_parent.clone(),
    };
    let outcome = checks::all(&surroundings).await?;
    match args.output {
        Form::Json => output::print_json(&outcome)?,
        Form::Text => output::print(outcome.table(session.width(), session.colour()))?,
    }
    Ok(outcome.verdict.exit())
}
