//! The commands: each file has the arguments of one and what it does.

#![allow(
    clippy::doc_markdown,
    reason = "clap prints these comments, and backticks would stand in the help"
)]

pub mod check;
pub mod clean;
pub mod completions;
pub mod delete;
pub mod export;
pub mod init;
pub mod list;
pub mod man;
pub mod record;
pub mod report;
pub mod run;
pub mod show;
pub mod validate;

use crate::cli::Command;
use crate::exit::Exit;
use crate::session::Session;

/// Does what a command says.
pub async fn dispatch(command: Command, session: &Session) -> anyhow::Result<Exit> {
    match command {
        Command::Run(args) => run::run(args, session).await,
        Command::Record(args) => record::run(args, session).await,
        Command::List(args) => list::run(&args, session).await,
        Command::Show(args) => show::run(&args, session).await,
        Command::Report(args) => report::run(&args, session).await,
        Command::Export(args) => export::run(&args, session).await,
        Command::Delete(args) => delete::run(&args, session).await,
        Command::Clean(args) => clean::run(&args, session).await,
        Command::Check(args) => check::run(&args, session).await,
        Command::Validate(args) => validate::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}
