//! The command line of Galileo: thin over the crates that measure, store, analyse and report.
//!
//! ```no_run
//! use clap::Parser;
//!
//! let cli = galileo::Cli::parse_from(["galileo", "list"]);
//! std::process::exit(i32::from(galileo::run(cli).code()));
//! ```
//!
//! Reading order: [`cli`] (what can be asked for), `commands` (one file each), `execution` (a run from plan to report),
//! `live` (what is shown meanwhile), `results` (from records to the summary and the page), `checks` (what works here);
//! then what all share: `session`, `output`, `failure`, `exit`, `text`, `interrupt`.

#![forbid(unsafe_code)]

mod checks;
pub mod cli;
mod commands;
mod execution;
mod exit;
mod failure;
mod interrupt;
mod live;
mod output;
mod results;
mod session;
mod text;

use anyhow::Context;

pub use cli::Cli;
pub use exit::Exit;

/// Does what the command line asks for, with errors on standard error, and says how it ended.
#[must_use]
pub fn run(cli: Cli) -> Exit {
    let session = session::Session::new(&cli.global);
    let done = tokio::runtime::Builder::new_multi_thread()
        // The load has threads of its own; what is left reads rings, writes records and draws lines.
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start threads")
        .and_then(|runtime| runtime.block_on(commands::dispatch(cli.command, &session)));
    done.unwrap_or_else(|error| failure::report(&error, session.colour_errors()))
}
