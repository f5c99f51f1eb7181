//! Plans made of files and of commands.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use galileo_experiment::file::spec::Telemetry;
use galileo_experiment::local::Port;
use galileo_experiment::plan::{Host, Plan, RecordError, WorkloadPlan, record_plan};

use crate::sound;

fn host(cpus: u32) -> Host {
    Host {
        name: "pi".into(),
        cpus: (0..cpus).collect(),
    }
}

fn plan(text: &str) -> Plan {
    Plan::of_file(&sound(text), &host(2)).unwrap()
}

const TWO: &str = "
nodes: {a: {cpus: [0]}, b: {cpus: [1]}}
services:
  web: {command: [./server, --work, 2ms], port: 8080, replicas: 3, node: [a, b], weights: [3, 2, 1]}
  api: {command: python3 -m http.server, port: 9000, node: b}
workloads:
- {service: web, arrival: {poisson: 100/s}, duration: 20s, seed: 7}
- {service: api, arrival: {constant: 50/s}, duration: 10s}
- {service: web, arrival: {constant: 30/s}, duration: 30s, through: direct}
warmup: 3s
";

#[test]
fn replicas_have_names_nodes_ports_and_weights() {
    let plan = plan(TWO);
    let of = |index: usize| {
        let replicas = plan.services[index].replicas.iter();
        replicas
            .map(|one| {
                (
                    one.name.as_str(),
                    one.node.as_str(),
                    one.cpus.clone(),
                    one.port,
                    one.weight,
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(
        of(0),
        [
            ("web-0", "a", Some(vec![0]), Port::Free, 3),
            ("web-1", "b", Some(vec![1]), Port::Free, 2),
            ("web-2", "a", Some(vec![0]), Port::Free, 1),
        ]
    );
    assert_eq!(of(1), [("api-0", "b", Some(vec![1]), Port::Fixed(9000), 1)]);
    let nodes: Vec<_> = plan.nodes.keys().map(String::as_str).collect();
    assert_eq!(nodes, ["a", "b"]);
    assert_eq!(plan.seed(), 7);
}

#[test]
fn workloads_of_one_service_are_numbered() {
    let plan = plan(TWO);
    let names: Vec<_> = plan
        .workloads
        .iter()
        .map(|workload| workload.name.as_str())
        .collect();
    assert_eq!(names, ["web#1", "api", "web#2"]);
}

#[test]
fn a_replica_without_a_node_runs_on_the_host() {
    let plan = plan("services: {a: {command: a}}\nduration: 1s");
    let replica = &plan.services[0].replicas[0];
    assert_eq!(
        (replica.node.as_str(), &replica.cpus, replica.port),
        ("pi", &None, Port::None)
    );
    assert_eq!(plan.nodes["pi"], [0, 1]);
}

#[test]
fn programs_with_a_slash_count_from_the_folder_of_the_file() {
    let plan = plan(
        "services:
  a: {command: ./server ./data}
  b: {command: python3 x/y.py}
  c: {command: /usr/bin/env, cwd: sub}
  d: {command: [bin/my tool], cwd: /var}
duration: 1s",
    );
    let of = |index: usize| {
        let service = &plan.services[index];
        let argv: Vec<_> = service.argv.iter().map(String::as_str).collect();
        (argv, service.cwd.to_str().unwrap())
    };
    assert_eq!(of(0), (vec!["/lab/server", "./data"], "/lab"));
    assert_eq!(of(1), (vec!["python3", "x/y.py"], "/lab"));
    assert_eq!(of(2), (vec!["/usr/bin/env"], "/lab/sub"));
    assert_eq!(of(3), (vec!["/lab/bin/my tool"], "/var"));
}

#[test]
fn cpus_that_the_machine_lacks_are_told_at_their_place() {
    let file =
        sound("nodes: {a: {cpus: [0, 2, 3]}}\nservices: {a: {command: a, node: a}}\nduration: 1s");
    let error = Plan::of_file(&file, &host(2)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/lab/quickstart.yaml:1:19: node 'a' has CPU 2, 3, which this machine lacks (online: 0-1)
  |
1 | nodes: {a: {cpus: [0, 2, 3]}}
  |                   ^^^^^^^^^"
    );
    assert!(Plan::of_file(&file, &host(4)).is_ok());
}

#[test]
fn the_line_of_a_plan_says_what_will_be_done() {
    let quickstart = "
nodes: {a: {cpus: [0]}, b: {cpus: [1]}}
services:
  fast: {command: s, port: 8080, replicas: 2, node: [a, b]}
  slow: {command: s, port: 8081, replicas: 2, node: [a, b]}
workloads:
- {service: fast, arrival: {poisson: 150/s}, duration: 20s}
- {service: slow, arrival: {poisson: 50/s}, duration: 20s}
warmup: 3s
";
    assert_eq!(
        plan(quickstart).plan_line(),
        "quickstart: 2 services, 4 replicas on 2 nodes; 2 workloads, 20 s + 3 s warm-up, ~4,000 requests"
    );
    assert_eq!(
        plan("services: {a: {command: a}}\nduration: 1m30s\nname: idle").plan_line(),
        "idle: 1 service, 1 replica; no load, 1 min 30 s"
    );
    assert_eq!(
        plan("services: {a: {command: a, port: 1}}\nworkloads: [{service: a, arrival: {constant: 1/s}, requests: 1}]").plan_line(),
        "quickstart: 1 service, 1 replica; 1 workload, 1 s, 1 request"
    );
}

#[test]
fn planned_lengths_and_numbers_follow_rate_and_extent() {
    let one = |workload: &str| {
        let text = format!(
            "services: {{a: {{command: a, port: 1}}}}\nworkloads: [{{service: a, {workload}}}]"
        );
        let plan = plan(&text);
        (plan.measured().unwrap(), plan.workloads[0].requests())
    };
    // Half-open intervals: the first at 0, none at the end.
    let seconds = Duration::from_secs;
    assert_eq!(
        one("arrival: {constant: 30/s}, duration: 30s"),
        (seconds(30), (900, true))
    );
    assert_eq!(
        one("arrival: {constant: 1/3s}, duration: 30s"),
        (seconds(30), (10, true))
    );
    assert_eq!(
        one("arrival: {constant: 1/3s}, duration: 31s"),
        (seconds(31), (11, true))
    );
    assert_eq!(
        one("arrival: {poisson: 200/s}, duration: 20s"),
        (seconds(20), (4000, false))
    );
    assert_eq!(
        one("arrival: {poisson: 200/s}, requests: 100"),
        (Duration::from_millis(500), (100, true))
    );
    assert_eq!(
        one("arrival: {constant: 4/s}, requests: 10"),
        (Duration::from_millis(2500), (10, true))
    );
}

#[test]
fn a_plan_lasts_as_long_as_its_longest_workload() {
    let plan = plan(TWO);
    assert_eq!(plan.measured(), Some(Duration::from_secs(30)));
    assert_eq!(plan.planned(), Some(Duration::from_secs(33)));
}

#[test]
fn a_plan_keeps_the_file_without_secrets() {
    let text = "services: {a: {command: a, env: {K: hunter2}}}\nduration: 1s\n";
    let plan = plan(text);
    assert_eq!(plan.file, text.replace("hunter2", "'***'"));
    assert!(!format!("{plan:?}").contains("hunter2"));
    assert_eq!(plan.services[0].env["K"].reveal(), "hunter2");
}

fn recorded(
    command: &[&str],
    duration: Option<Duration>,
    name: Option<&str>,
) -> Result<Plan, RecordError> {
    let command: Vec<OsString> = command.iter().map(OsString::from).collect();
    record_plan(
        &command,
        duration,
        name.map(str::to_owned),
        Telemetry::default(),
        Path::new("/home/me"),
        &host(2),
    )
}

#[test]
fn a_recorded_command_is_one_service_named_after_its_program() {
    let plan = recorded(
        &["./bin/My_Server.py", "--port", "80"],
        Some(Duration::from_secs(60)),
        None,
    )
    .unwrap();
    let [service] = &plan.services[..] else {
        panic!("one service")
    };
    assert_eq!(
        (plan.name.as_str(), service.name.as_str()),
        ("my-server-py", "my-server-py")
    );
    assert_eq!(service.argv, ["/home/me/bin/My_Server.py", "--port", "80"]);
    assert_eq!(service.cwd, Path::new("/home/me"));
    assert_eq!(service.replicas[0].name, "my-server-py-0");
    assert_eq!(
        plan.plan_line(),
        "my-server-py: 1 service, 1 replica; no load, 1 min"
    );
    let plan = recorded(&["../../é"], None, Some("trial")).unwrap();
    assert_eq!(
        (plan.name.as_str(), plan.services[0].name.as_str()),
        ("trial", "app")
    );
    assert_eq!(
        plan.plan_line(),
        "trial: 1 service, 1 replica; no load, until the end of its services"
    );
    assert_eq!(plan.planned(), None);
}

#[test]
fn nothing_to_record_is_an_error() {
    assert_eq!(
        recorded(&[], None, None).unwrap_err(),
        RecordError::NoCommand
    );
    assert_eq!(
        recorded(&[""], None, None).unwrap_err(),
        RecordError::NoCommand
    );
}

#[test]
fn words_that_are_no_text_cannot_be_recorded() {
    use std::os::unix::ffi::OsStringExt;

    let command = [
        OsString::from("cat"),
        OsString::from_vec(b"caf\xe9".to_vec()),
    ];
    let error = record_plan(
        &command,
        None,
        None,
        Telemetry::default(),
        Path::new("/"),
        &host(1),
    )
    .unwrap_err();
    assert_eq!(error, RecordError::NotText("caf\u{fffd}".into()));
}

#[test]
fn what_is_started_and_sent_holds_the_secrets() {
    let plan = plan(
        "nodes: {b: {cpus: [1]}}
services:
  web: {command: ./s, port: 80, env: {K: hunter2}, node: b, limits: {cpu: 0.5, memory: 64MiB}}
workloads:
- {service: web, arrival: {poisson: 5/s}, duration: 2s, request: {path: /a, headers: {Authorization: x}, body: b}}
- {service: web, arrival: {constant: 5/s}, requests: 9, through: direct, request: {path: /a}}",
    );
    let service = &plan.services[0];
    let spec = service.spec(&service.replicas[0]);
    assert_eq!(
        (spec.name.as_str(), spec.argv[0].as_str()),
        ("web-0", "/lab/s")
    );
    assert_eq!(spec.env["K"], "hunter2");
    assert_eq!((spec.cpus, spec.port), (vec![1], Port::Fixed(80)));
    assert_eq!(
        (spec.cpu_limit, spec.memory_limit_bytes),
        (Some(0.5), Some(64 << 20))
    );

    let request = plan.workloads[0].load_request();
    assert_eq!(
        (request.path.as_str(), request.body.as_slice()),
        ("/function/web/a", &b"b"[..])
    );
    assert_eq!(
        request.headers,
        [("Authorization".to_owned(), "x".to_owned())]
    );
    assert_eq!(plan.workloads[1].load_request().path, "/a");

    let captured: Vec<_> = plan.workloads.iter().map(WorkloadPlan::captured).collect();
    assert_eq!(
        (captured[0].arrival.as_str(), captured[0].through.as_str()),
        ("poisson 5/s", "balancer")
    );
    assert_eq!(
        (captured[0].duration_ns, captured[0].requests),
        (Some(2_000_000_000), None)
    );
    assert_eq!(
        (captured[1].name.as_str(), captured[1].requests),
        ("web#2", Some(9))
    );
}
