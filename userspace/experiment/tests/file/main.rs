//! The experiment file and its plan, through the public door.

mod limits;
mod plan;
mod problems;
mod secrets;
mod values;

use galileo_experiment::file::{ExperimentFile, FileError};

/// Reads a text as the file `/lab/quickstart.yaml`.
fn parse(text: &str) -> Result<ExperimentFile, FileError> {
    ExperimentFile::parse("/lab/quickstart.yaml".as_ref(), text)
}

fn sound(text: &str) -> ExperimentFile {
    parse(text).unwrap_or_else(|error| panic!("{error}"))
}

/// What is said about a text that is wrong, as under the path `quickstart.yaml`.
fn told(text: &str) -> String {
    ExperimentFile::parse("quickstart.yaml".as_ref(), text)
        .expect_err("the text is wrong")
        .to_string()
}

/// What is said about a text that is wrong, without the places: each must be that of a `»`, which is no part of the text.
fn messages(marked: &str) -> Vec<String> {
    let (mut line, mut column, mut places) = (1, 1, Vec::new());
    for c in marked.chars() {
        match c {
            '»' => places.push((line, column)),
            '\n' => (line, column) = (line + 1, 1),
            _ => column += 1,
        }
    }
    let error = parse(&marked.replace('»', "")).expect_err("the text is wrong");
    let found: Vec<_> = error
        .problems()
        .iter()
        .map(|problem| (problem.line, problem.column))
        .collect();
    assert_eq!(found, places, "{error}");
    error
        .problems()
        .iter()
        .map(|problem| problem.message.clone())
        .collect()
}
