//! `record`, which needs nothing but a command: the course of a run as far as this program has a part in it.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::program::Place;

/// Takes some tenths of a second of CPU time.
const WORK: &str = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";

#[test]
fn a_command_is_watched_until_it_ends_and_its_results_are_stored() {
    let place = Place::new();
    let said = place.galileo(&[
        "record", "--output", "json", "--quiet", "--", "sh", "-c", WORK,
    ]);
    assert!(matches!(said.code, Some(0 | 3)), "{said:?}");
    let json: Value = serde_json::from_str(&said.out).unwrap();
    let replica = &json["services"]["sh"]["replicas"][0];
    let cpu_seconds = replica["cpu_seconds"].as_f64().unwrap();
    assert!(cpu_seconds > 0.01, "{replica}");
    assert_eq!(json["experiment"]["partial"], false, "{json}");

    let shown = place.galileo(&["show", "--output", "json"]).fine();
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), json);
    let id = json["experiment"]["id"].as_str().unwrap();
    let report = place.path("runs").join(id).join("report.html");
    assert!(report.is_file());
    let list = place.galileo(&["list"]).fine();
    assert!(list.contains(id) && list.contains("FINISHED"), "{list}");
}

#[test]
fn the_time_ends_a_command_that_does_not() {
    let place = Place::new();
    let said = place.galileo(&[
        "record", "--for", "300ms", "--name", "idle", "--", "sleep", "600",
    ]);
    assert!(matches!(said.code, Some(0 | 3)), "{said:?}");
    assert!(said.out.starts_with("idle\n"), "{said:?}");
    assert!(
        said.out.lines().last().unwrap().starts_with("Report: /"),
        "{said:?}"
    );
    // Progress is not for standard output.
    assert!(said.err.contains("measuring for 0.3 s"), "{said:?}");
}

#[test]
fn a_command_that_does_not_exist_is_told_by_its_name() {
    let place = Place::new();
    let said = place
        .galileo(&["record", "--", "no-such-program"])
        .failed(1);
    assert!(
        said.contains("command not found: no-such-program"),
        "{said}"
    );
    assert!(place.galileo(&["list"]).fine().contains("FAILED"));
}

#[test]
fn a_signal_ends_the_run_and_what_was_measured_is_kept() {
    let place = Place::new();
    let mut child = place
        .command(&["record", "--", "sleep", "600"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut progress = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("measuring") {
        line.clear();
        assert_ne!(progress.read_line(&mut line).unwrap(), 0, "it ended early");
    }

    kill_process(Pid::from_child(&child), Signal::INT).unwrap();

    let mut rest = String::new();
    progress.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{rest}");
    assert!(
        rest.contains("Stopping: what was measured is kept"),
        "{rest}"
    );
    assert!(String::from_utf8(output.stdout).unwrap().contains("sleep"));
    assert!(place.galileo(&["list"]).fine().contains("ABORTED"));
    place.galileo(&["show"]).fine();
}
