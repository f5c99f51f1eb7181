//! Services, and the nodes that they run on.

use super::service;
use crate::messages;

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
