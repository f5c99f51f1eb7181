//! `galileo delete`: runs and all that belongs to them.

use anyhow::bail;
use galileo_expdb::Status;

use crate::exit::Exit;
use crate::failure::Advise;
use crate::output;
use crate::results::remove_run_folder;
use crate::session::Session;

/// Delete runs: their records, the output of their replicas and their reports
///
/// Either all of them are deleted or, if one of the ids is wrong, none. A run that is in progress is left alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  galileo delete last
  galileo delete 202611250242-1f3a 202611250250-77c0")]
pub struct Args {
    /// The runs: ids, beginnings of ids, or `last`
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,

    /// Delete a run that counts as running, too
    #[arg(long)]
    force: bool,
}

/// Does it.
pub async fn run(args: &Args, session: &Session) -> anyhow::Result<Exit> {
    let database = session.existing_database().await?;
    let mut ids = Vec::new();
    for given in &args.ids {
        let id = database.resolve(given).await?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    for id in &ids {
        if !args.force
            && matches!(
                database.experiment(id).await?.status,
                Status::Queued | Status::Running
            )
        {
            refuse(id)
                .help("if it was killed, `galileo clean` marks it; --force deletes it anyway")?;
        }
    }
    for id in &ids {
        database.delete(id).await?;
        remove_run_folder(&session.run_folder(id)?)?;
        output::print(format!("deleted {id}\n"))?;
    }
    Ok(Exit::Success)
}

fn refuse(id: &str) -> anyhow::Result<()> {
    bail!("the run {id} is in progress")
}
