//! Workloads, and the duration of a file that has none.

use super::LOAD;
use crate::messages;

/// One sound service `web` and a workload with these keys.
fn workload(keys: &str) -> Vec<String> {
    messages(&format!(
        "services: {{web: {{command: s, port: 80}}}}\nworkloads:\n- {{{keys}}}"
    ))
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
