//! The one way to standard output and standard error.
//!
//! A reader that has seen enough (`galileo list | head -1`) closes the pipe. Rust ignores SIGPIPE, so a write then fails
//! with `EPIPE`; that ends the printing and is no failure of the command.

use std::io::{self, Write};

use anyhow::Context;
use serde::Serialize;

/// What results are printed as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// For people.
    #[default]
    Text,
    /// One JSON document, for programs.
    Json,
}

/// Prints to standard output.
pub fn print(text: impl AsRef<[u8]>) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_ref())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Prints a value as indented JSON.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    text.push('\n');
    print(text)
}

/// Prints a line to standard error.
pub fn tell(line: impl AsRef<str>) {
    // Nobody listens any more if this fails, and there is no other place to say so.
    let _ = writeln!(io::stderr().lock(), "{}", line.as_ref());
}
