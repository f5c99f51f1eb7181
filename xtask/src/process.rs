//! Running other programs, with errors that say what was run and what became of it.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Child, ChildStdout, Command, ExitStatus};

use anyhow::{Context, Result, bail};

/// Runs `command` with the caller's terminal; an unsuccessful end is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", line(command)))?;
    succeeded(&line(command), status)
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

/// The begin of a command whose program gets a signal (`TERM`, `KILL`) when this process is gone, even if that was killed and
/// could put nothing in order. The program and its arguments are to follow.
pub(crate) fn leashed(signal: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal]);
    command
}

/// A program that runs beside this one. If it is dropped before [`Running::wait`], as an early return does, the program
/// is killed and waited for: nothing is left that loads the machine or holds a pipe.
pub(crate) struct Running {
    child: Child,
    line: String,
}

impl Running {
    /// Starts `command`.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let line = line(command);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        Ok(Self { child, line })
    }

    /// Its standard output, which must be piped; it is given out once.
    pub(crate) fn stdout(&mut self) -> Result<ChildStdout> {
        let output = self.child.stdout.take();
        output.with_context(|| format!("the output of `{}` is not at hand", self.line))
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input, which must be piped.
    pub(crate) fn tell(&mut self, text: &str) -> Result<()> {
        let input = self.child.stdin.as_mut();
        input
            .with_context(|| format!("the input of `{}` is not at hand", self.line))?
            .write_all(text.as_bytes())
            .with_context(|| format!("`{}` does not listen", self.line))
    }

    /// Ends its standard input, if that is piped.
    pub(crate) fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for its end; an unsuccessful one is an error.
    pub(crate) fn wait(mut self) -> Result<()> {
        let status = self
            .child
            .wait()
            .with_context(|| format!("cannot wait for `{}`", self.line))?;
        succeeded(&self.line, status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // No harm after its end: std remembers that it was waited for. There is nobody to tell an error to.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Turns an unsuccessful end of a command into an error.
fn succeeded(line: &str, status: ExitStatus) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    bail!("`{line}` ended with {status}")
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
    use std::io::Read;
    use std::process::Stdio;

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
    fn a_running_program_ends_when_it_is_dropped() {
        let mut running = Running::start(
            Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        )
        .unwrap();
        let mut output = running.stdout().unwrap();
        // Keeps its input open: without a signal it would go on for ever.
        let input = running.child.stdin.take();

        drop(running);

        let mut text = String::new();
        output.read_to_string(&mut text).unwrap();
        assert_eq!(text, "");
        drop(input);
    }

    #[test]
    fn a_running_program_that_fails_is_named() {
        let running = Running::start(Command::new("sh").args(["-c", "exit 4"])).unwrap();

        let text = running.wait().unwrap_err().to_string();

        assert_eq!(text, "`sh -c exit 4` ended with exit status: 4");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run(&mut Command::new("no-such-program")).unwrap_err();

        assert_eq!(error.to_string(), "cannot start `no-such-program`");
    }
}
