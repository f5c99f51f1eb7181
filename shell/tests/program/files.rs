//! Experiment files: `init`, `validate`, and `run` with a wrong one.

use serde_json::Value;

use crate::program::Place;

const GOOD: &str = "\
name: good
services: {web: {command: ./server, port: 8080}}
workloads:
  - {service: web, through: direct, clients: 2, request: {path: /}, arrival: {constant: 30/s}, duration: 30s}
";
const BAD: &str = "\
name: bad
duration: 1s
services: {web: {command: ./server, replica: 2}}
workloads: []
";

#[test]
fn what_init_writes_is_valid() {
    let place = Place::new();
    let said = place.galileo(&["init"]).fine();
    assert!(said.starts_with("wrote galileo.yaml"), "{said}");
    let plan = place.galileo(&["validate", "galileo.yaml"]).fine();
    assert!(plan.contains("2 replicas"), "{plan}");
    let text = std::fs::read_to_string(place.path("galileo.yaml")).unwrap();
    assert!(text.contains("galileo run galileo.yaml"), "{text}");
}

#[test]
fn init_replaces_a_file_only_by_force() {
    let place = Place::new();
    let path = place.file("mine.yaml", "precious");

    let said = place.galileo(&["init", "mine.yaml"]).failed(1);

    assert!(said.contains("help: --force replaces it"), "{said}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    place.galileo(&["init", "--force", "mine.yaml"]).fine();
    assert!(
        std::fs::read_to_string(&path)
            .unwrap()
            .contains("services:")
    );
}

#[test]
fn a_good_file_is_told_as_one_line() {
    let place = Place::new();
    place.file("good.yaml", GOOD);
    assert_eq!(
        place.galileo(&["validate", "good.yaml"]).fine(),
        "good: 1 service, 1 replica; 1 workload, 30 s, 900 requests\n"
    );
    let json: Value = serde_json::from_str(
        &place
            .galileo(&["validate", "--output", "json", "good.yaml"])
            .fine(),
    )
    .unwrap();
    assert_eq!(json["valid"], true);
    assert_eq!(json["problems"].as_array().unwrap().len(), 0);
}

#[test]
fn a_bad_file_is_told_with_line_column_and_the_nearest_key() {
    let place = Place::new();
    place.file("bad.yaml", BAD);
    let said = place.galileo(&["validate", "bad.yaml"]).failed(2);
    assert!(
        said.starts_with("bad.yaml:3:37: unknown key 'replica'; did you mean 'replicas'?"),
        "{said}"
    );
    assert!(
        said.contains("error: the experiment file has 1 problem"),
        "{said}"
    );

    let said = place.galileo(&["validate", "--output", "json", "bad.yaml"]);
    assert_eq!(said.code, Some(2));
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(json["valid"], false);
    assert_eq!(
        (&json["problems"][0]["line"], &json["problems"][0]["column"]),
        (&3.into(), &37.into())
    );
}

#[test]
fn a_file_that_is_not_there_is_a_usage_error() {
    let place = Place::new();
    for command in ["validate", "run"] {
        let said = place.galileo(&[command, "none.yaml"]).failed(2);
        assert!(
            said.starts_with("error: none.yaml cannot be read"),
            "{said}"
        );
    }
}

#[test]
fn a_bad_file_starts_nothing_and_makes_no_database() {
    let place = Place::new();
    place.file("bad.yaml", BAD);
    let said = place.galileo(&["run", "bad.yaml"]).failed(2);
    assert!(said.contains("nothing was started"), "{said}");
    assert!(!place.database().exists());
}

#[test]
fn a_cpu_that_this_machine_lacks_is_a_problem_of_the_file() {
    let place = Place::new();
    let text =
        GOOD.replace("port: 8080", "port: 8080, node: far") + "nodes: {far: {cpus: [4095]}}\n";
    place.file("far.yaml", &text);
    let said = place.galileo(&["validate", "far.yaml"]).failed(2);
    assert!(said.contains("4095"), "{said}");
}

#[test]
fn a_report_that_cannot_be_written_is_told_before_anything_starts() {
    let place = Place::new();
    place.file("good.yaml", GOOD);
    let said = place
        .galileo(&["run", "good.yaml", "--report", "/proc/none/report.html"])
        .failed(1);
    assert!(said.contains("the report cannot be written"), "{said}");
    assert!(!place.database().exists());
}

#[test]
fn record_needs_a_command_and_a_time_that_is_one() {
    let place = Place::new();
    let said = place.galileo(&["record"]).failed(2);
    assert!(said.contains("<COMMAND>"), "{said}");
    for (time, told) in [
        ("60", "60s"),
        ("0s", "more than 0"),
        ("-1s", "'-1s' is no time"),
    ] {
        let said = place
            .galileo(&["record", "--for", time, "--", "true"])
            .failed(2);
        assert!(said.contains(told), "{said}");
    }
}
