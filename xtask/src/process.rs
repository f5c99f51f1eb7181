//! Running other programs, with errors that say what was run and what became of it.

use std::ffi::OsStr;
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, bail};

/// Runs `command` with the caller's terminal; an unsuccessful end is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    succeeded(command, status)
}

/// Runs `command` and returns what it wrote to standard output, without the blanks around it.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        // The first line says it; hints and traces follow.
        let first = message.trim().lines().next().unwrap_or("no message");
        bail!("`{}` ended with {}: {first}", line(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Turns an unsuccessful end of `command` into an error.
pub(crate) fn succeeded(command: &Command, status: ExitStatus) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    bail!("`{}` ended with {status}", line(command))
}

/// Announces a step of a longer task, apart from what the programs it runs print.
pub(crate) fn announce(step: &str) {
    eprintln!("\n==> {step}");
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unsuccessful_end_names_the_command_and_its_message() {
        let error =
            output(Command::new("sh").args(["-c", "echo no >&2; echo and more >&2; exit 3"]))
                .unwrap_err();

        let text = error.to_string();
        assert!(text.contains("sh -c"), "{text}");
        assert!(text.ends_with("exit status: 3: no"), "{text}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run(&mut Command::new("no-such-program")).unwrap_err();

        assert_eq!(error.to_string(), "cannot start `no-such-program`");
    }
}
