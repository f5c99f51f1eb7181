//! What is said about a file that is wrong.

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

/// One sound service `web` and a workload with these keys.
fn workload(keys: &str) -> Vec<String> {
    messages(&format!(
        "services: {{web: {{command: s, port: 80}}}}\nworkloads:\n- {{{keys}}}"
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
}

#[test]
fn unknown_keys_are_told_in_every_section_and_not_missed_once_more() {
    let text = "
»vresion: 1
nodes: {a: {»cpu: [0]}}
services: {web: {»comand: s, port: 80, limits: {»mem: 1GB}}}
workloads:
- {service: web, request: {»pth: /}, arrival: {»poison: 1/s}, requests: 1, »clinets: 1}
telemetry: {»perod: 1s}
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
fn wrong_types_say_what_was_expected_and_what_was_found() {
    assert_eq!(
        service("replicas: »two"),
        ["expected a whole number from 1 to 64, found 'two'"]
    );
    assert_eq!(
        service("replicas: »'2'"),
        ["expected a whole number from 1 to 64, found the text '2' in quotes"]
    );
    assert_eq!(
        service("replicas: »0"),
        ["expected a whole number from 1 to 64, found '0'"]
    );
    assert_eq!(
        service("replicas: »65"),
        ["expected a whole number from 1 to 64, found '65'"]
    );
    assert_eq!(
        service("replicas: »-1"),
        ["expected a whole number from 1 to 64, found '-1'"]
    );
    assert_eq!(
        service("replicas: »1.5"),
        ["expected a whole number from 1 to 64, found '1.5'"]
    );
    assert_eq!(
        service("replicas: »[2]"),
        ["expected a whole number from 1 to 64, found a list"]
    );
    assert_eq!(
        service("limits: {cpu: »lots}"),
        ["expected a number from 0.01 to 8192, found 'lots'"]
    );
    assert_eq!(
        service("limits: {cpu: »0}"),
        ["expected a number from 0.01 to 8192, found '0'"]
    );
    assert_eq!(
        service("limits: {memory: »1kB}"),
        ["a limit of memory is at least 1MiB"]
    );
    assert_eq!(
        service("ready_timeout: »0s"),
        ["ready_timeout must be more than 0"]
    );
    assert_eq!(
        service("weights: »3"),
        [
            "expected a list of weights, one for each replica, such as [1, 1], found a text or number"
        ]
    );
    assert_eq!(
        service("env: »[A=b]"),
        ["expected environment variables, as in 'env: {LOG: debug}', found a list"]
    );
    assert_eq!(
        service("env: {A: »[b]}"),
        ["expected the text of an environment variable, found a list"]
    );
    assert_eq!(
        service("env: {A»: }"),
        ["expected the text of an environment variable, found nothing; write '' for an empty text"]
    );
    assert_eq!(
        service("cwd: »''"),
        ["the path is empty; leave the key out for the folder of this file"]
    );
}

#[test]
fn ports_are_in_range_and_bound_once() {
    let two = |first: &str, second: &str| {
        messages(&format!(
            "services:\n  a: {{command: a, {first}}}\n  b: {{command: b, {second}}}\nduration: »0s"
        ))
    };
    assert_eq!(
        two("port: 80", "port: »80"),
        [
            "port 80 is bound by the service 'a' already",
            "duration must be more than 0"
        ]
    );
    assert_eq!(
        two("port: 80", "port: 80, replicas: 2"),
        ["duration must be more than 0"]
    );
    assert_eq!(
        two("port: »0", "port: »70000"),
        [
            "expected a whole number from 1 to 65535, found '0'",
            "expected a whole number from 1 to 65535, found '70000'",
            "duration must be more than 0"
        ]
    );
}

#[test]
fn commands_are_neither_empty_nor_cut_off() {
    let command = |text: &str| {
        messages(&format!(
            "services: {{a: {{command: {text}}}}}\nduration: 1s"
        ))
    };
    for text in ["»[]", "»''", "»'  '", "»['']"] {
        assert_eq!(
            command(text),
            ["the command is empty; it needs at least a program"],
            "{text}"
        );
    }
    assert_eq!(
        command("»\"./a 'b\""),
        ["a quote in the command has no end"]
    );
    assert_eq!(
        command("[a, »[b]]"),
        ["expected a word of the command, found a list"]
    );
    assert_eq!(
        command("[a, »\"b\\0\"]"),
        ["a NUL character cannot be passed to a program"]
    );
    assert_eq!(
        command("»{a: b}"),
        [
            "expected a command: a line such as './server --port 80', or a list such as [./server, --port, 80], \
         found a mapping"
        ]
    );
}

#[test]
fn services_have_sound_names_and_there_is_at_least_one() {
    assert_eq!(
        messages("services: »{}\nduration: 1s"),
        ["an experiment needs at least one service"]
    );
    assert_eq!(
        messages("»duration: 1s"),
        ["an experiment file needs the key 'services'"]
    );
    assert_eq!(
        messages("services: {»-a: {command: a}}\nduration: 1s"),
        ["the service name '-a' begins with '-'; write for example 'a'"]
    );
}

#[test]
fn weights_fit_the_replicas() {
    assert_eq!(
        service("weights: »[1, 2]"),
        ["2 given for 1 replica; there must be one for each"]
    );
    assert_eq!(
        service("replicas: 3, weights: »[1, 2]"),
        ["2 given for 3 replicas; there must be one for each"]
    );
    assert_eq!(
        service("replicas: 2, weights: »[0, 0]"),
        ["all weights are 0: no replica would get a request"]
    );
    assert_eq!(
        service("weights: [»-1]"),
        ["expected a whole number from 0 to 1000000, found '-1'"]
    );
}

#[test]
fn nodes_are_known_and_have_cpus() {
    let nodes = |nodes: &str, node: &str| {
        messages(&format!(
            "nodes: {nodes}\nservices: {{a: {{command: a, node: {node}}}}}\nduration: 1s"
        ))
    };
    assert_eq!(
        nodes("{a: {cpus: [0]}}", "[a, »bb]"),
        ["unknown node 'bb'; the only node is 'a'"]
    );
    assert_eq!(
        nodes("{a: {cpus: »[]}}", "a"),
        ["a node needs at least one CPU"]
    );
    assert_eq!(nodes("{a: {cpus: [0, »0]}}", "a"), ["CPU 0 is there twice"]);
    assert_eq!(
        nodes("{a: {cpus: »0}}", "a"),
        ["expected a list of CPU numbers such as [0, 1], found a text or number"]
    );
    assert_eq!(nodes("{»a: {}}", "a"), ["a node needs the key 'cpus'"]);
    assert_eq!(
        nodes("{a: {cpus: [0]}}", "»[]"),
        ["the list of nodes is empty; leave the key out to run on any CPU"]
    );
    assert_eq!(service("node: »a"), ["unknown node 'a'; there is no node"]);
}

#[test]
fn health_needs_a_port_and_a_path() {
    assert_eq!(
        service("health: »index.html"),
        ["expected a path that begins with '/', or tcp, found 'index.html'"]
    );
    assert_eq!(
        service("health: »/a b"),
        ["a path cannot hold ' '; write it as %20"]
    );
    assert_eq!(
        messages("services: {a: {command: a, »health: /}}\nduration: 1s"),
        ["without a 'port' there is nothing that could be asked for health"]
    );
}

#[test]
fn environment_names_are_sound_and_port_is_ours() {
    assert_eq!(
        service("env: {»A=B: x}"),
        ["the name of an environment variable is made of letters, digits, '_', '-' and '.'"]
    );
    assert_eq!(
        service("env: {»PORT: 1}"),
        ["PORT is set by Galileo: it tells a replica which port is its own"]
    );
}

#[test]
fn a_workload_needs_a_service_with_a_port_an_arrival_process_and_an_end() {
    assert_eq!(
        messages("services: {web: {command: s, port: 80}}\nworkloads:\n- »»»{clients: 1}"),
        [
            "a workload needs the key 'service'",
            "a workload needs the key 'arrival'",
            "a workload needs a 'duration' or a number of 'requests'",
        ]
    );
    assert_eq!(
        workload("service: web, arrival: {constant: 1/s}, »requests: 1, duration: 1s"),
        ["a workload ends after a 'duration' or after a number of 'requests'; leave one out"]
    );
    assert_eq!(
        workload("service: web, requests: 1, arrival: {»constant: 1/s, poisson: 1/s}"),
        ["a workload has one arrival process; leave 'poisson' or 'constant' out"]
    );
    assert_eq!(
        workload("service: web, requests: 1, arrival: »{}"),
        ["an arrival process is 'poisson' or 'constant', as in {poisson: 200/s}"]
    );
    assert_eq!(
        messages(&format!(
            "services: {{web: {{command: s}}}}\nworkloads: [{}]",
            LOAD.replace(": web", ": »web")
        )),
        ["the service 'web' has no 'port' that requests could be sent to"]
    );
    assert_eq!(
        messages("services: {web: {command: s, port: 80}}\nworkloads: »{a: b}"),
        ["expected a list of workloads, '[]' for none, found a mapping"]
    );
}

#[test]
fn values_of_a_workload_are_in_range() {
    let sound = "service: web, arrival: {constant: 1/s}";
    let told = |keys: &str| workload(&format!("{sound}, {keys}"));
    assert_eq!(
        told("requests: »0"),
        ["expected a whole number from 1 to 1000000000000, found '0'"]
    );
    assert_eq!(told("duration: »0s"), ["duration must be more than 0"]);
    let told = |keys: &str| workload(&format!("{sound}, requests: 1, {keys}"));
    assert_eq!(
        told("through: »proxy"),
        ["unknown way 'proxy'; ways are balancer, direct"]
    );
    assert_eq!(
        told("through: »balance"),
        ["unknown way 'balance'; did you mean 'balancer'?"]
    );
    assert_eq!(
        told("clients: »0"),
        ["expected a whole number from 1 to 100000, found '0'"]
    );
    assert_eq!(
        told("in_flight: »0"),
        ["expected a whole number from 1 to 1000000, found '0'"]
    );
    assert_eq!(
        told("seed: »-1"),
        ["expected a whole number from 0 to 18446744073709551615, found '-1'"]
    );
    assert_eq!(told("timeout: »0s"), ["timeout must be more than 0"]);
}

#[test]
fn requests_hold_what_http_allows() {
    let told = |keys: &str| {
        workload(&format!(
            "service: web, arrival: {{constant: 1/s}}, requests: 1, request: {{{keys}}}"
        ))
    };
    assert_eq!(
        told("method: »get"),
        ["unknown method 'get'; did you mean 'GET'?"]
    );
    assert_eq!(
        told("path: »index"),
        ["the path 'index' must begin with '/'"]
    );
    assert_eq!(
        told("path: »/é"),
        ["a path cannot hold 'é'; write it as %C3%A9"]
    );
    assert_eq!(
        told("path: »\"/a\\r\\nHost: x\""),
        ["a path cannot hold '\\r'; write it as %0D"]
    );
    assert_eq!(
        told("headers: {»Host: x}"),
        ["the header 'Host' is written by Galileo"]
    );
    assert_eq!(
        told("headers: {»a b: x}"),
        ["the name of a header is made of letters, digits and !#$%&'*+-.^_`|~"]
    );
    assert_eq!(
        told("headers: {a: »\"x\\r\\ny: z\"}"),
        ["the text of a header is one line without control characters"]
    );
}

#[test]
fn duration_stands_where_there_are_no_workloads() {
    assert_eq!(
        messages("»services: {a: {command: a}}"),
        [
            "an experiment without workloads only observes and needs a 'duration', for example 'duration: 12s'"
        ]
    );
    assert_eq!(
        messages("services: {a: {command: a}}\n»workloads: []"),
        [
            "an experiment without workloads only observes and needs a 'duration', for example 'duration: 12s'"
        ]
    );
    let text =
        format!("services: {{web: {{command: s, port: 80}}}}\nworkloads: [{LOAD}]\n»duration: 1s");
    assert_eq!(
        messages(&text),
        [
            "with workloads each has a 'duration' of its own; the top-level one is for experiments without any"
        ]
    );
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
    assert_eq!(
        told("warmup: »soon"),
        ["'soon' is no time; write for example 500ms, 20s or 1m30s"]
    );
    assert_eq!(
        told("record: {exchanges: »many}"),
        ["expected a whole number from 0 to 1000000000, found 'many'"]
    );
}
