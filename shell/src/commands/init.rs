//! `galileo init`: an experiment file to start from.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::Context;
use galileo_experiment::file::TEMPLATE;

use crate::exit::Exit;
use crate::failure::Advise;
use crate::output;

/// Write an experiment file to start from, with every common key explained
///
/// It runs as it is wherever there is python3: two replicas of a web server under 50 requests a second.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  galileo init
  galileo init my-service.yaml")]
pub struct Args {
    /// The file to write
    #[arg(value_name = "FILE", default_value = "galileo.yaml")]
    file: PathBuf,

    /// Replace the file if it exists
    #[arg(long, short)]
    force: bool,
}

/// Does it.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let path = args.file.display();
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .create_new(!args.force)
        .truncate(true)
        .open(&args.file);
    let mut file = match opened {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error)
            .with_context(|| format!("{path} is left as it is"))
            .help("--force replaces it")?,
        opened => opened.with_context(|| format!("cannot write {path}"))?,
    };
    let command = shell_words::quote(&args.file.to_string_lossy()).into_owned();
    file.write_all(template(&command).as_bytes())
        .with_context(|| format!("cannot write {path}"))?;
    output::print(format!(
        "wrote {path}; next: galileo validate {command}, galileo run {command}\n"
    ))?;
    Ok(Exit::Success)
}

/// The template names the file that it is written to.
fn template(file: &str) -> String {
    TEMPLATE.replacen(
        "galileo run experiment.yaml",
        &format!("galileo run {file}"),
        1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_says_how_to_run_itself() {
        let text = template("a.yaml");
        assert!(text.contains("galileo run a.yaml"), "{text}");
    }
}
