//! `galileo man`: the manual pages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::CommandFactory;
use clap_mangen::Man;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::output;

/// Print the manual, or write it as pages for `man`
///
/// Without --out all pages are printed one behind the other, the program's first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  galileo man | man -l -
  galileo man --out ~/.local/share/man/man1")]
pub struct Args {
    /// The folder to write galileo.1, galileo-run.1, … into; it is made if it does not exist
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Does it.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let pages = pages()?;
    match &args.out {
        None => output::print(
            pages
                .into_iter()
                .map(|page| page.text)
                .collect::<Vec<_>>()
                .concat(),
        )?,
        Some(folder) => write(folder, &pages)?,
    }
    Ok(Exit::Success)
}

struct Page {
    file: String,
    text: Vec<u8>,
}

fn pages() -> anyhow::Result<Vec<Page>> {
    // `galileo help` is for the command line; there is no page about it.
    let mut program = Cli::command().disable_help_subcommand(true);
    // Gives the commands their full names and the options of all commands.
    program.build();
    let commands: Vec<_> = program
        .get_subcommands()
        .cloned()
        .map(|command| {
            let name = format!("galileo-{}", command.get_name());
            command.display_name(name)
        })
        .collect();
    std::iter::once(program)
        .chain(commands)
        .map(|command| {
            let man = Man::new(command)
                .manual("Galileo")
                .source(concat!("galileo ", env!("CARGO_PKG_VERSION")));
            let mut text = Vec::new();
            man.render(&mut text).context("cannot make a page")?;
            let file = man.get_filename();
            Ok(Page { file, text })
        })
        .collect()
}

fn write(folder: &Path, pages: &[Page]) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for page in pages {
        let path = folder.join(&page.file);
        fs::write(&path, &page.text).with_context(|| format!("cannot write {}", path.display()))?;
        output::print(format!("{}\n", path.display()))?;
    }
    Ok(())
}
