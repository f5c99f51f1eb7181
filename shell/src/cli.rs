//! What can be asked for on the command line.

#![allow(
    clippy::doc_markdown,
    reason = "clap prints these comments, and backticks would stand in the help"
)]

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::{
    check, clean, completions, delete, export, init, list, man, record, report, run, show, validate,
};

/// Runs an application under a controlled load, watches it from inside the kernel, and answers what it costs.
///
/// An experiment file says what runs where and under which load. `galileo run` starts it, each replica in a cgroup of its
/// own, puts the load on it, and prints how much CPU time a request takes, where its time goes, how replicas differ and
/// who disturbs whom. All records stay in an SQLite file.
#[derive(Debug, Parser)]
#[command(
    name = "galileo",
    version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("GALILEO_COMMIT"), ")"),
    arg_required_else_help = true,
    after_help = "\
A typical session:
  galileo check                    what works on this machine, and why the rest does not
  galileo init                     write galileo.yaml, an experiment to start from
  galileo validate galileo.yaml    check it; nothing is started
  galileo run galileo.yaml         run it, print the answers and where the report is
  galileo show last                print the answers again
  galileo record -- ./my-program   watch a program without an experiment file

Exit codes:
  0    done; a run is valid
  1    an error
  2    the command line or the experiment file is wrong
  3    a run is not valid or ended early; a machine is not fully fit (check)
  130  interrupted by a signal"
)]
pub struct Cli {
    /// What holds for all commands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of all commands.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Options of all commands")]
pub struct Global {
    /// The experiment database; output and reports of runs go into the folder `runs` beside it [env: GALILEO_DB] [default:
    /// ~/.local/share/galileo/galileo.db, or below $XDG_DATA_HOME]
    // Not by clap's `env`: a variable that is set and empty is none, and counts for no argument.
    #[arg(long, global = true, value_name = "FILE")]
    pub db: Option<PathBuf>,

    /// Log what happens to standard error; twice or thrice for more. GALILEO_LOG sets it by part, e.g.
    /// GALILEO_LOG=warn,galileo_load=debug
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Colours: only on a terminal without NO_COLOR, always, or never
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub color: Colour,
}

/// When there are colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// The commands in the order in which a user meets them.
#[derive(Debug, Subcommand)]
#[allow(
    missing_docs,
    reason = "each is documented by its arguments' type, where clap takes its help from"
)]
pub enum Command {
    Run(run::Args),
    Record(record::Args),
    List(list::Args),
    Show(show::Args),
    Report(report::Args),
    Export(export::Args),
    Delete(delete::Args),
    Clean(clean::Args),
    Check(check::Args),
    Validate(validate::Args),
    Init(init::Args),
    Completions(completions::Args),
    Man(man::Args),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
