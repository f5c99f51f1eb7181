//! Errors as people read them: what failed, why, what to do.

use std::error::Error;
use std::fmt;

use galileo_experiment::file::FileError;

use crate::exit::Exit;
use crate::output::tell;

/// An error and what can be done about it.
#[derive(Debug)]
struct Advised {
    error: anyhow::Error,
    help: String,
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Advised {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

/// Adds advice to errors.
pub trait Advise<T> {
    /// Says what to do.
    fn help(self, help: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Advise<T> for Result<T, E> {
    fn help(self, help: impl Into<String>) -> anyhow::Result<T> {
        self.map_err(|error| advised(error.into(), help.into()))
    }
}

/// An error with advice.
pub fn advised(error: anyhow::Error, help: String) -> anyhow::Error {
    anyhow::Error::new(Advised { error, help })
}

/// Prints an error to standard error and gives the exit code that it stands for.
pub fn report(error: &anyhow::Error, colour: bool) -> Exit {
    let (text, exit) = told(error, colour);
    tell(text);
    exit
}

fn told(error: &anyhow::Error, colour: bool) -> (String, Exit) {
    let paint = |code: &str, word: &str| match colour {
        true => format!("\u{1b}[{code}m{word}\u{1b}[0m"),
        false => word.to_owned(),
    };
    let label = paint("1;31", "error:");
    if let Some(file) = file_error(error)
        && !file.problems().is_empty()
    {
        let count = file.problems().len();
        let problems = if count == 1 { "problem" } else { "problems" };
        let help = paint("1", "help:");
        let text = format!(
            "{file}\n{label} the experiment file has {count} {problems}; nothing was started\n  \
             {help} `galileo init` writes an example that explains the keys"
        );
        return (text, Exit::Usage);
    }
    let mut text = format!("{label} {error}");
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Many messages end with that of their source.
        if !said.contains(&cause) {
            text.push_str(&format!("\n  {} {cause}", paint("1", "caused by:")));
        }
        said = cause;
    }
    if let Some(help) = advice(error) {
        text.push_str(&format!("\n  {} {help}", paint("1", "help:")));
    }
    let exit = match file_error(error) {
        Some(_) => Exit::Usage,
        None => Exit::Failure,
    };
    (text, exit)
}

fn advice(error: &anyhow::Error) -> Option<&str> {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Advised>())
        .map(|advised| advised.help.as_str())
}

fn file_error(error: &anyhow::Error) -> Option<&FileError> {
    error.chain().find_map(|cause| {
        cause.downcast_ref::<FileError>().or_else(|| {
            cause
                .downcast_ref::<Advised>()
                .and_then(|advised| file_error(&advised.error))
        })
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn an_error_says_what_why_and_what_to_do() {
        let error = Err::<(), _>(std::io::Error::other("the disk is full"))
            .help("make room")
            .context("cannot write r.html")
            .expect_err("it is an error");
        assert_eq!(
            told(&error, false),
            (
                "error: cannot write r.html\n  caused by: the disk is full\n  help: make room"
                    .to_owned(),
                Exit::Failure
            )
        );
    }

    #[test]
    fn a_cause_that_the_message_holds_already_is_not_said_twice() {
        let inner = std::io::Error::other("no space");
        let error = anyhow::Error::new(inner).context("cannot write: no space");
        assert_eq!(told(&error, false).0, "error: cannot write: no space");
    }

    #[test]
    fn problems_of_a_file_are_told_one_by_one_and_are_usage_errors() {
        let text = "services: {web: {command: ./s, replica: 2}}";
        let error = galileo_experiment::file::ExperimentFile::parse("f.yaml".as_ref(), text)
            .expect_err("there is no such key");
        let (told, exit) = told(&anyhow::Error::new(error), false);
        assert!(told.contains("did you mean 'replicas'?"), "{told}");
        assert!(told.contains("nothing was started"), "{told}");
        assert_eq!(exit, Exit::Usage);
    }
}
