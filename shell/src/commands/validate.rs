//! `galileo validate`: an experiment file checked without running it.

use std::path::PathBuf;

use galileo_experiment::file::{ExperimentFile, FileError};
use galileo_experiment::plan::Plan;
use galileo_experiment::runner::host;
use serde::Serialize;

use crate::exit::Exit;
use crate::output::{self, Form};

/// Check an experiment file without starting anything
///
/// Prints what would be done in one line. Problems are told all at once, each with its line, its column and, for unknown
/// keys, the nearest known one. Exit codes: 0 it can be run here, 2 it cannot.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  galileo validate galileo.yaml
  galileo validate --output json galileo.yaml")]
pub struct Args {
    /// The experiment file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Print text or JSON
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    output: Form,
}

/// The verdict as JSON has it.
#[derive(Debug, Serialize)]
struct Verdict {
    valid: bool,
    /// What would be done.
    plan: Option<String>,
    problems: Vec<Told>,
}

/// A problem of the file.
#[derive(Debug, Serialize)]
struct Told {
    line: Option<usize>,
    column: Option<usize>,
    message: String,
}

/// Does it.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let host = host();
    let planned = ExperimentFile::read(&args.file).and_then(|file| Plan::of_file(&file, &host));
    match (args.output, planned) {
        (Form::Text, planned) => {
            output::print(format!("{}\n", planned?.plan_line()))?;
            Ok(Exit::Success)
        }
        (Form::Json, Ok(plan)) => {
            output::print_json(&Verdict {
                valid: true,
                plan: Some(plan.plan_line()),
                problems: Vec::new(),
            })?;
            Ok(Exit::Success)
        }
        (Form::Json, Err(error)) => {
            output::print_json(&Verdict {
                valid: false,
                plan: None,
                problems: problems(&error),
            })?;
            Ok(Exit::Usage)
        }
    }
}

fn problems(error: &FileError) -> Vec<Told> {
    if error.problems().is_empty() {
        return vec![Told {
            line: None,
            column: None,
            message: error.to_string(),
        }];
    }
    let told = error.problems().iter().map(|problem| Told {
        line: Some(problem.line),
        column: Some(problem.column),
        message: problem.message.clone(),
    });
    told.collect()
}
