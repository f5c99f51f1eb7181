//! A reader that closes the pipe early is no failure (CASES D-43).

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::fixture;
use crate::program::Place;

/// Reads one line of the output, closes the pipe, and gives the exit code and what was said on standard error.
fn first_line_only(place: &Place, arguments: &[&str]) -> (Option<i32>, String) {
    let mut child = place
        .command(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    // The buffer takes at most 8 KiB off the pipe, which holds 64.
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(!line.is_empty());
    let output = child.wait_with_output().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn assert_more_than_a_pipe_holds(place: &Place, arguments: &[&str]) {
    let length = place.galileo(arguments).fine().len();
    assert!(length > 80 << 10, "only {length} bytes");
}

#[test]
fn a_list_that_is_cut_short_ends_quietly() {
    let place = Place::new();
    fixture::many(&place.database(), 1_500);
    assert_more_than_a_pipe_holds(&place, &["list"]);
    assert_eq!(first_line_only(&place, &["list"]), (Some(0), String::new()));
    assert_eq!(
        first_line_only(&place, &["list", "--output", "json"]),
        (Some(0), String::new())
    );
}

#[test]
fn completions_and_manual_that_are_cut_short_end_quietly() {
    let place = Place::new();
    for arguments in [&["completions", "bash"][..], &["man"], &["--help"]] {
        assert_eq!(
            first_line_only(&place, arguments),
            (Some(0), String::new()),
            "{arguments:?}"
        );
    }
}

#[test]
fn errors_without_a_listener_end_quietly() {
    let place = Place::new();
    let mut child = place
        .command(&["show", "nothing"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
