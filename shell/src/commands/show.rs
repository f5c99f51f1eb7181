//! `galileo show`: the answers of a stored run.

use crate::exit::Exit;
use crate::output::{self, Form};
use crate::results::{self, Results};
use crate::session::Session;

/// Print the answers of a stored run again
///
/// They are made anew from the records, so a newer version of Galileo may tell more about an old run.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  galileo show
  galileo show 202611250242-1f3a
  galileo show last --output json")]
pub struct Args {
    /// The run: its id, the beginning of its id, or `last`
    #[arg(value_name = "ID", default_value = "last")]
    id: String,

    /// Print the results as text or as JSON (see docs/result-json.md)
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    output: Form,
}

/// Does it.
pub async fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let database = session.existing_database().await?;
    let id = database.resolve(&args.id).await?;
    let results = Results::load(&database, &id).await?;
    match args.output {
        Form::Json => output::print_json(&results.result)?,
        Form::Text => {
            let mut text = results.summary(session.width(), session.colour());
            let report = session.run_folder(&id)?.join(results::REPORT);
            if report.is_file() {
                text.push_str(&format!("\nReport: {}\n", report.display()));
            }
            output::print(text)?;
        }
    }
    Ok(Exit::Success)
}
