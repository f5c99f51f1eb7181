//! `galileo delete`: runs and all that belongs to them.

use anyhow::bail;
use galileo_expdb::Status;
use galileo_experiment::local;

use crate::exit::Exit;
use crate::failure::Advise;
use crate::output;
use crate::results::{Deletion, delete_run};
use crate::session::Session;

/// Delete runs: their records, the output of their replicas and their reports
///
/// If one of the ids is wrong or names a run in progress, none is deleted. One that cannot be removed does not keep the
/// others: they are deleted, and it is named at the end.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  galileo delete last
  galileo delete 202611250242-1f3a 202611250250-77c0")]
pub struct Args {
    /// The runs: ids, beginnings of ids, or `last`
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,

    /// Delete a run that counts as running although its Galileo is dead, too
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
    let living = local::remains(&session.runs_folder()?)?.living;
    for id in &ids {
        let status = database.experiment(id).await?.status;
        if living.contains(id) {
            refuse(id).help("its Galileo lives; end that first, for example with Ctrl-C")?;
        }
        if !args.force && matches!(status, Status::Queued | Status::Running) {
            refuse(id)
                .help("if it was killed, `galileo clean` marks it; --force deletes it anyway")?;
        }
    }
    let mut deletion = Deletion::default();
    for id in &ids {
        if deletion.did(id, delete_run(&database, session, id).await) {
            output::print(format!("deleted {id}\n"))?;
        }
    }
    deletion.end()?;
    Ok(Exit::Success)
}

fn refuse(id: &str) -> anyhow::Result<()> {
    bail!("the run {id} is in progress")
}
