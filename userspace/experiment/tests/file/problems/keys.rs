//! What is no YAML, no experiment file, or no key of one.

use insta::assert_snapshot;

use super::service;
use crate::{messages, told};

#[test]
fn a_file_with_nothing_in_it_points_to_the_example() {
    for text in ["", "\n\n", "# only a comment\n", "---\n", "~"] {
        assert_eq!(
            messages(&format!("»{text}")),
            ["the file is empty; 'galileo init' writes an example"],
            "{text:?}"
        );
    }
}

#[test]
fn yaml_that_is_none_is_told_at_its_place() {
    assert_snapshot!(told("services:\n  web: {command: [a, b\n  db: {}\n"), @r"
    quickstart.yaml:3:5: illegal placement of ':' indicator
      |
    3 |   db: {}
      |     ^
    ");
    assert_snapshot!(told("services: *nowhere\n"), @r"
    quickstart.yaml:1:11: while parsing node, found unknown anchor
      |
    1 | services: *nowhere
      |           ^
    ");
    assert_snapshot!(told("name: a: b\n"), @r"
    quickstart.yaml:1:8: mapping values are not allowed in this context
      |
    1 | name: a: b
      |        ^
    ");
}

#[test]
fn tags_and_second_documents_are_refused() {
    assert_eq!(
        messages("name: »!!str 1"),
        ["YAML tags have no meaning in an experiment file"]
    );
    assert_eq!(
        messages("duration: 1s\n»---\nduration: 1s\n"),
        ["an experiment file holds one YAML document; this begins a second one"]
    );
}

#[test]
fn what_is_no_mapping_is_told_what_it_should_be() {
    let expected = "an experiment file (a mapping with the keys version, name, nodes, services, workloads, warmup, \
                    duration, telemetry, record)";
    assert_eq!(
        messages("»[a]"),
        [format!("expected {expected}, found a list")]
    );
    assert_eq!(
        messages("»hello"),
        [format!("expected {expected}, found a text or number")]
    );
}

#[test]
fn an_unknown_key_unlike_all_known_ones_gets_their_list() {
    assert_eq!(
        messages("services: {a: {command: a, limits: {»disk: 1}}}\nduration: 1s"),
        ["unknown key 'disk' in limits; it has cpu, memory"]
    );
    assert_eq!(
        messages("services: {a: {command: a}}\nduration: 1s\ntelemetry: {»steal: true}"),
        ["unknown key 'steal' in telemetry; it has period, interrupts"]
    );
}

#[test]
fn unknown_keys_are_told_in_every_section_and_not_missed_once_more() {
    let text = "
»vresion: 1
nodes: {a: {»cpu: [0]}}
services: {web: {»comand: s, port: 80, limits: {»mem: 1GB}}}
workloads:
- {service: web, request: {»pth: /}, arrival: {»poison: 1/s}, requests: 1, »clinets: 1}
telemetry: {»perod: 1s, »interupts: true}
record: {»exchange: 1}
";
    let unknown = [
        ("vresion", "version"),
        ("cpu", "cpus"),
        ("comand", "command"),
        ("mem", "memory"),
        ("pth", "path"),
        ("poison", "poisson"),
        ("clinets", "clients"),
        ("perod", "period"),
        ("interupts", "interrupts"),
        ("exchange", "exchanges"),
    ];
    let expected =
        unknown.map(|(key, meant)| format!("unknown key '{key}'; did you mean '{meant}'?"));
    assert_eq!(messages(text), expected);
}

#[test]
fn merge_keys_are_told_apart_from_slips() {
    assert_eq!(
        messages("services: {a: &a {command: a}, b: {»<<: *a}}\nduration: 1s"),
        [
            "merge keys ('<<') are no part of YAML 1.2; an alias for a whole value ('env: *common') works"
        ]
    );
}

#[test]
fn keys_that_come_twice_are_told_at_the_second() {
    assert_eq!(
        messages("services: {a: {command: a}, »a: {command: b}}\nduration: 1s\nname: x\n»name: y"),
        ["key 'a' is there twice", "key 'name' is there twice"]
    );
    assert_eq!(service("»port: 81"), ["key 'port' is there twice"]);
    assert_eq!(service("env: {A: x, »A: y}"), ["key 'A' is there twice"]);
}

#[test]
fn keys_that_are_no_text_are_told() {
    assert_eq!(
        messages("services: {a: {command: a}}\nduration: 1s\n? »[x]\n: 1"),
        ["a key must be a text"]
    );
    assert_eq!(
        messages("services: {a: {command: a}}\nduration: 1s\n»~: 1"),
        ["a key must be a text"]
    );
}

#[test]
fn a_key_without_a_value_is_told_once() {
    for (text, key) in [
        ("services: {a: {»command: }}\nduration: 1s", "command"),
        (
            "services: {a: {command: a}}\n»workloads:\nduration: 1s",
            "workloads",
        ),
        (
            "services: {a: {command: a}}\nduration: 1s\ntelemetry: {»interrupts: }",
            "interrupts",
        ),
        ("services: {a: {command: a, »env: ~}}\nduration: 1s", "env"),
        ("»services: null\nduration: 1s", "services"),
    ] {
        assert_eq!(
            messages(text),
            [format!(
                "'{key}' has no value; give it one or leave the key out"
            )]
        );
    }
}
