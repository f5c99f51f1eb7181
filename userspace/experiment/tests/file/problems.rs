//! What is said about a file that is wrong.

mod keys;
mod services;
mod workloads;

use insta::assert_snapshot;

use crate::{messages, told};

/// A sound workload of the service `web`, as an item of a list.
const LOAD: &str = "{service: web, arrival: {constant: 1/s}, requests: 1}";

/// One service `web` with these keys, and a workload for it.
fn service(keys: &str) -> Vec<String> {
    messages(&format!(
        "services: {{web: {{command: s, port: 80, {keys}}}}}\nworkloads: [{LOAD}]"
    ))
}

#[test]
fn all_problems_of_a_file_are_told_at_once_with_their_lines() {
    let text = "version: 1
nodes: {left: {cpus: [0]}}
services:
  web: {replica: 2, port: 80800, node: lefd}
  Batch: {command: job, limits: {memory: 64}}
workloads:
  - service: wbe
    arrival: {poisson: 200}
    duration: 20
warmup: 3 s
";
    assert_snapshot!(told(text), @r"
    quickstart.yaml:4:3: a service needs the key 'command'
      |
    4 |   web: {replica: 2, port: 80800, node: lefd}
      |   ^^^
    quickstart.yaml:4:9: unknown key 'replica'; did you mean 'replicas'?
      |
    4 |   web: {replica: 2, port: 80800, node: lefd}
      |         ^^^^^^^
    quickstart.yaml:4:27: expected a whole number from 1 to 65535, found '80800'
      |
    4 |   web: {replica: 2, port: 80800, node: lefd}
      |                           ^^^^^
    quickstart.yaml:4:40: unknown node 'lefd'; did you mean 'left'?
      |
    4 |   web: {replica: 2, port: 80800, node: lefd}
      |                                        ^^^^
    quickstart.yaml:5:3: the service name 'Batch' may hold a-z, 0-9 and '-' only; write for example 'batch'
      |
    5 |   Batch: {command: job, limits: {memory: 64}}
      |   ^^^^^
    quickstart.yaml:5:42: '64' has no unit; write for example 64MiB or 64B
      |
    5 |   Batch: {command: job, limits: {memory: 64}}
      |                                          ^^
    quickstart.yaml:7:14: unknown service 'wbe'; did you mean 'web'?
      |
    7 |   - service: wbe
      |              ^^^
    quickstart.yaml:8:24: `200` is no rate: it has no time; write a number and a time, e.g. 200/s, 0.5/s, 30/min or 1/3s
      |
    8 |     arrival: {poisson: 200}
      |                        ^^^
    quickstart.yaml:9:15: '20' has no unit; write 20s for seconds or 20ms for milliseconds
      |
    9 |     duration: 20
      |               ^^
    quickstart.yaml:10:9: '3 s' is no time; write for example 500ms, 20s or 1m30s
       |
    10 | warmup: 3 s
       |         ^^^
    ");
}

#[test]
fn top_level_values_are_in_range() {
    let told = |line: &str| {
        messages(&format!(
            "services: {{a: {{command: a}}}}\nduration: 1s\n{line}"
        ))
    };
    assert_eq!(
        told("version: »2"),
        ["version 2 is not known here; this Galileo reads version 1"]
    );
    assert_eq!(
        told("version: »0"),
        ["expected a whole number from 1 to 4294967295, found '0'"]
    );
    assert_eq!(
        told("name: »''"),
        ["a name is one line of 1 to 100 characters"]
    );
    assert_eq!(
        told("name: »[a]"),
        ["expected the experiment's name, found a list"]
    );
    assert_eq!(
        told("telemetry: {period: »1ms}"),
        ["period must be at least 10ms"]
    );
    for (value, found) in [
        ("yes", "'yes'"),
        ("1", "'1'"),
        ("True", "'True'"),
        ("'true'", "the text 'true' in quotes"),
        ("[true]", "a list"),
    ] {
        assert_eq!(
            told(&format!("telemetry: {{interrupts: »{value}}}")),
            [format!("expected true or false, found {found}")]
        );
    }
    assert_eq!(
        told("warmup: »soon"),
        ["'soon' is no time; write for example 500ms, 20s or 1m30s"]
    );
    assert_eq!(
        told("record: {exchanges: »many}"),
        ["expected a whole number from 0 to 1000000000, found 'many'"]
    );
}
