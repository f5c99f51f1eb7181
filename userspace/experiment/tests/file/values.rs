//! What a sound file is read as.

use std::path::Path;
use std::time::Duration;

use galileo_experiment::file::spec::{Limits, Request, Telemetry, Through};
use galileo_experiment::file::{ExperimentFile, Memory, TEMPLATE};
use galileo_experiment::local::Health;
use galileo_load::schedule::{Arrival, Extent};

use crate::sound;

/// The example of the issue that asked for experiment files.
const QUICKSTART: &str = "
version: 1
name: quickstart
nodes: {a: {cpus: [0]}, b: {cpus: [1]}}
services:
  web: {command: [./server, --work, 2ms], port: 8080, replicas: 2, node: [a, b], env: {K: v}, health: /, limits: {cpu: 0.5, memory: 64MiB}, weights: [1, 1]}
workloads:
  - {service: web, through: balancer, clients: 8, request: {method: GET, path: /}, arrival: {poisson: 200/s}, duration: 20s, seed: 1}
warmup: 3s
telemetry: {period: 2s, interrupts: true}
";

#[test]
fn every_key_of_the_quickstart_arrives() {
    let file = sound(QUICKSTART);
    assert_eq!(file.name, "quickstart");
    assert_eq!(file.folder, Path::new("/lab"));
    let nodes: Vec<_> = file
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.cpus.as_slice()))
        .collect();
    assert_eq!(nodes, [("a", &[0][..]), ("b", &[1])]);
    let [web] = &file.services[..] else {
        panic!("one service")
    };
    assert_eq!(web.name, "web");
    assert_eq!(web.command, ["./server", "--work", "2ms"]);
    assert_eq!((web.port, web.replicas), (Some(8080), 2));
    assert_eq!(web.nodes, ["a", "b"]);
    assert_eq!(web.env["K"].reveal(), "v");
    assert_eq!(web.health, Health::Http("/".into()));
    assert_eq!(
        web.limits,
        Limits {
            cpu: Some(0.5),
            memory: Some(Memory(64 << 20))
        }
    );
    assert_eq!(web.weights, [1, 1]);
    let [load] = &file.workloads[..] else {
        panic!("one workload")
    };
    assert_eq!(
        (load.service.as_str(), load.through, load.clients, load.seed),
        ("web", Through::Balancer, 8, 1)
    );
    assert_eq!(load.arrival, Arrival::Poisson("200/s".parse().unwrap()));
    assert_eq!(load.extent, Extent::Duration(Duration::from_secs(20)));
    assert_eq!(file.warmup, Duration::from_secs(3));
    assert_eq!(
        file.telemetry,
        Telemetry {
            period: Duration::from_secs(2),
            interrupts: true
        }
    );
    assert_eq!(file.duration, None);
}

#[test]
fn what_is_left_out_has_its_default() {
    let file = sound(
        "services: {web: {command: ./server, port: 80}}
workloads: [{service: web, arrival: {constant: 5/s}, requests: 10}]",
    );
    assert_eq!(file.name, "quickstart", "the stem of the file");
    assert_eq!(file.warmup, Duration::ZERO);
    let default = Telemetry {
        period: Duration::from_secs(1),
        interrupts: false,
    };
    assert_eq!(file.telemetry, default);
    let told = |telemetry: &str| {
        let observes = "services: {job: {command: ./job}}\nduration: 1s\n";
        sound(&format!("{observes}telemetry: {telemetry}")).telemetry
    };
    assert_eq!(told("{interrupts: false}"), default);
    assert_eq!(told("{period: 1s}"), default);
    assert_eq!(file.stored_exchanges, 1_000_000);
    let web = &file.services[0];
    assert_eq!(
        (
            web.replicas,
            web.weights.as_slice(),
            web.nodes.len(),
            web.env.len()
        ),
        (1, &[1][..], 0, 0)
    );
    assert_eq!(
        (&web.health, web.ready_timeout),
        (&Health::Tcp, Duration::from_secs(30))
    );
    assert_eq!((web.limits, &web.cwd), (Limits::default(), &None));
    let load = &file.workloads[0];
    assert_eq!(
        (load.through, load.clients, load.seed, load.in_flight),
        (Through::Balancer, 1, 1, 1024)
    );
    assert_eq!(load.timeout, Duration::from_secs(30));
    assert_eq!(
        load.request,
        Request {
            method: "GET".into(),
            path: "/".into(),
            headers: vec![],
            body: String::new()
        }
    );
}

#[test]
fn an_experiment_without_load_needs_no_port_and_no_health() {
    for text in [
        "services: {job: {command: ./job}}\nworkloads: []\nduration: 12s",
        "services: {job: {command: ./job}}\nduration: 12s",
    ] {
        let file = sound(text);
        assert_eq!(file.duration, Some(Duration::from_secs(12)));
        assert_eq!(
            (file.services[0].port, &file.services[0].health),
            (None, &Health::Tcp)
        );
    }
}

#[test]
fn a_command_line_is_split_as_a_shell_splits_it() {
    let file = sound(
        r#"services: {a: {command: python3 -c 'print("a b")' --x="1 2"}, b: {command: [./my server, 8080, true]}}
duration: 1s"#,
    );
    assert_eq!(
        file.services[0].command,
        ["python3", "-c", "print(\"a b\")", "--x=1 2"]
    );
    assert_eq!(
        file.services[1].command,
        ["./my server", "8080", "true"],
        "list items stay whole"
    );
}

#[test]
fn services_and_workloads_keep_the_order_of_the_file() {
    let file = sound(
        "services: {z: {command: z, port: 1}, a: {command: a, port: 2}}
workloads:
- {service: z, arrival: {constant: 1/s}, requests: 1}
- {service: a, arrival: {constant: 1/s}, requests: 1}",
    );
    let names: Vec<_> = file
        .services
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert_eq!(names, ["z", "a"]);
    let asked: Vec<_> = file
        .workloads
        .iter()
        .map(|workload| workload.service.as_str())
        .collect();
    assert_eq!(asked, ["z", "a"]);
}

#[test]
fn a_value_with_an_anchor_can_be_used_again() {
    let file = sound(
        "services:
  a: {command: a, env: &common {K: v}, limits: &small {cpu: 1}}
  b: {command: b, env: *common, limits: *small}
duration: 1s",
    );
    assert_eq!(file.services[0].env, file.services[1].env);
    assert_eq!(file.services[1].limits.cpu, Some(1.0));
}

#[test]
fn requests_have_headers_and_a_body() {
    let file = sound(
        "services: {web: {command: s, port: 80}}
workloads:
- service: web
  request: {method: POST, path: '/a?b=c', headers: {Accept: text/plain, Authorization: Bearer x}, body: '{\"n\": 1}'}
  arrival: {constant: 1/s}
  requests: 1",
    );
    let request = &file.workloads[0].request;
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/a?b=c")
    );
    let headers: Vec<_> = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.reveal()))
        .collect();
    assert_eq!(
        headers,
        [("Accept", "text/plain"), ("Authorization", "Bearer x")]
    );
    assert_eq!(request.body, "{\"n\": 1}");
}

#[test]
fn the_example_that_init_writes_is_sound() {
    let file = sound(TEMPLATE);
    assert_eq!((file.services.len(), file.workloads.len()), (1, 1));
}

#[test]
fn the_example_stays_sound_with_its_commented_keys() {
    let mut text = String::new();
    for line in TEMPLATE.lines() {
        let uncommented = ["    # ", "# "].iter().find_map(|comment| {
            let rest = line.strip_prefix(comment)?;
            let indent = comment.trim_end_matches("# ");
            let key = [
                "env:", "limits:", "weights:", "node:", "nodes:", "  left:", "  right:",
            ];
            key.iter()
                .any(|key| rest.starts_with(key))
                .then(|| format!("{indent}{rest}"))
        });
        text.push_str(uncommented.as_deref().unwrap_or(line));
        text.push('\n');
    }
    let file = sound(&text);
    let web = &file.services[0];
    assert_eq!(
        (web.nodes.len(), web.env.len(), web.weights.as_slice()),
        (2, 1, &[3, 1][..])
    );
    assert_eq!(file.nodes.len(), 2);
}

#[test]
fn every_example_of_the_reference_is_sound() {
    let reference = include_str!("../../../../docs/experiment-file.md");
    let examples: Vec<&str> = reference
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(examples.len() >= 3, "{} examples", examples.len());
    for example in examples {
        ExperimentFile::parse("reference.yaml".as_ref(), example)
            .unwrap_or_else(|error| panic!("{error}\n{example}"));
    }
}

#[test]
fn every_example_of_the_repository_is_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            let file = ExperimentFile::read(&path).unwrap_or_else(|error| panic!("{error}"));
            assert!(!file.services.is_empty());
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn a_file_is_read_from_disk_with_its_folder_made_absolute() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab.yaml");
    std::fs::write(&path, "services: {a: {command: ./a}}\nduration: 1s\n").unwrap();
    let file = ExperimentFile::read(&path).unwrap();
    assert_eq!(
        (file.name.as_str(), file.folder.as_path()),
        ("lab", folder.path())
    );
    let relative = ExperimentFile::parse(
        "sub/lab.yaml".as_ref(),
        "services: {a: {command: a}}\nduration: 1s",
    )
    .unwrap();
    assert_eq!(
        relative.folder,
        std::env::current_dir().unwrap().join("sub")
    );
}
