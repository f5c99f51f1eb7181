//! `galileo completions`: what a shell needs to complete the command line.

use clap::CommandFactory;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::output;

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  galileo completions bash > ~/.local/share/bash-completion/completions/galileo
  galileo completions zsh > ~/.zfunc/_galileo
  galileo completions fish > ~/.config/fish/completions/galileo.fish")]
pub struct Args {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: clap_complete::Shell,
}

/// Does it.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "galileo", &mut text);
    output::print(text)?;
    Ok(Exit::Success)
}
