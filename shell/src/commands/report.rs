//! `galileo report`: the HTML report of a stored run.

use std::path::{Path, PathBuf};

use crate::exit::Exit;
use crate::output;
use crate::results::{self, Results};
use crate::session::Session;

/// Write the HTML report of a stored run: one file that needs no network
///
/// A file that exists is replaced. Prints where the report is.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  galileo report
  galileo report 202611250242-1f3a --out paper/figure-3.html
  galileo report last --out - | gzip > report.html.gz")]
pub struct Args {
    /// The run: its id, the beginning of its id, or `last`
    #[arg(value_name = "ID", default_value = "last")]
    id: String,

    /// The file to write, or - for standard output [default: report.html in the folder of the run]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Does it.
pub async fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let database = session.existing_database().await?;
    let id = database.resolve(&args.id).await?;
    let results = Results::load(&database, &id).await?;
    if args.out.as_deref() == Some(Path::new("-")) {
        output::print(results.page())?;
        return Ok(Exit::Success);
    }
    let path = match &args.out {
        Some(path) => path.clone(),
        None => session.run_folder(&id)?.join(results::REPORT),
    };
    results.write_page(&path)?;
    output::print(format!("{}\n", path.display()))?;
    Ok(Exit::Success)
}
