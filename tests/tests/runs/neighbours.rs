//! Who disturbs whom, and what a limit does.

use galileo_tests::{
    free_port,
    pod::{Pod, v1_cpu_controller},
    runs::Place,
    wait::until,
};
use serde_json::Value;

use crate::experiments::{example, machine, replaced};

fn shortened(name: &str, port: u16) -> String {
    let file = example(name);
    let file = replaced(&file, "port: 8080", &format!("port: {port}"));
    let file = replaced(&file, "duration: 15s", "duration: 3s");
    replaced(&file, "warmup: 2s", "warmup: 500ms")
}

fn waited(json: &Value, service: &str, cause: &str) -> f64 {
    let waits = &json["services"][service]["replicas"][0]["waits_seconds"];
    waits[cause].as_f64().expect("a number")
}

fn cpu(json: &Value, service: &str) -> f64 {
    let seconds = &json["services"][service]["replicas"][0]["cpu_seconds"];
    seconds.as_f64().expect("a number")
}

#[test]
fn a_noisy_neighbour_is_named_by_its_victim() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let port = free_port();

    let alone = place.results(&shortened("noisy-neighbour-alone.yaml", port));
    let beside = place.experiment(&shortened("noisy-neighbour.yaml", port));

    assert!(matches!(beside.code, Some(0 | 3)), "{}", beside.err);
    let beside = beside.json();
    let pairs = beside["interference"].as_array().expect("an array");
    let aggressors: Vec<_> = pairs
        .iter()
        .filter(|pair| pair["victim"] == "web/web-0")
        .collect();
    assert_eq!(aggressors[0]["aggressor"], "batch/batch-0", "{pairs:?}");
    let waits = waited(&beside, "web", "other_cgroups");
    let by_batch = aggressors[0]["wait_seconds"].as_f64().expect("a number");
    // Whatever else runs on this machine disturbs both runs.
    assert!(by_batch > 0.4 * waits, "{by_batch} s of {waits} s");
    let before = waited(&alone, "web", "other_cgroups");
    assert!(before < 0.6 * waits, "{before} s alone, {waits} s beside");
    // The other way round: what web runs, batch waits.
    let suffered = pairs
        .iter()
        .find(|pair| pair["victim"] == "batch/batch-0" && pair["aggressor"] == "web/web-0");
    let suffered = suffered.expect("batch waits for web")["wait_seconds"].as_f64();
    let web = cpu(&beside, "web");
    let suffered = suffered.expect("a number");
    assert!(
        (suffered - web).abs() < 0.15 * web,
        "{suffered} s of {web} s"
    );
    // Nobody is blamed for what nobody else caused.
    assert_eq!(waited(&beside, "web", "cpu_limit"), 0.0);
}

#[test]
fn a_cpu_limit_is_kept_and_no_neighbour_is_blamed_for_it() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let file = "services: {spin: {command: [sh, -c, 'while :; do :; done'], limits: {cpu: 0.2}}}
workloads: []
duration: 3s
";

    let json = place.results(file);

    let used = cpu(&json, "spin") / 3.0;
    assert!((used - 0.2).abs() < 0.03, "{used} cores");
    let limit = waited(&json, "spin", "cpu_limit");
    let others = waited(&json, "spin", "other_cgroups");
    assert!(limit > 1.5, "{limit} s");
    assert!(others < limit / 10.0, "{others} s, limit {limit} s");
    let stored = place.stored(&place.id());
    let replica = &stored.capture().services["spin"].replicas[0];
    assert_eq!(replica.cpu_limit, Some(0.2));
}

/// How long a victim waited for somebody, and whether that is without what its limit held.
fn pair(json: &Value, victim: &str, aggressor: &str) -> (f64, Value) {
    let pairs = json["interference"].as_array().expect("an array");
    let found = pairs
        .iter()
        .find(|pair| pair["victim"] == victim && pair["aggressor"] == aggressor);
    found.map_or((0.0, Value::Bool(true)), |pair| {
        let seconds = pair["wait_seconds"].as_f64().expect("a number");
        (seconds, pair["limit_known"].clone())
    })
}

#[test]
fn no_neighbour_is_blamed_for_the_limit_of_a_parent_or_of_a_stranger() {
    let Some(_machine) = machine() else { return };
    let Some(controller) = v1_cpu_controller() else {
        galileo_skips::skip(
            "it takes a cpu controller of version 1, where a process can choose its parent's limit",
        );
        return;
    };
    let place = Place::new();
    // Somebody else's cgroup, at its own limit.
    let stranger = Pod::limited("stranger", 10);
    let _spinning = stranger.start(&["taskset", "-c", "1", "sh", "-c", "while :; do :; done"]);
    // The service goes below a group whose quota it shares with nobody, and has none of its own.
    let outer = controller.join(format!("galileo-test-{}-parent", std::process::id()));
    let outer = outer.display();
    let file = format!(
        "version: 1
name: parent
nodes:
  one: {{cpus: [1]}}
services:
  spin:
    node: one
    command:
      - sh
      - -c
      - |
        mkdir -p {outer}/inner && echo 100000 > {outer}/cpu.cfs_period_us && echo 10000 > {outer}/cpu.cfs_quota_us &&
        echo $$ > {outer}/inner/cgroup.procs && while :; do :; done
  neighbour: {{node: one, command: [sh, -c, 'while :; do :; done']}}
workloads: []
duration: 3s
"
    );

    let json = place.results(&file);

    for folder in ["inner", ""] {
        let folder = controller.join(format!(
            "galileo-test-{}-parent/{folder}",
            std::process::id()
        ));
        until("nothing runs there", || std::fs::remove_dir(&folder).ok());
    }
    // It may run a tenth of the time and wants to run always. While it may, the other two take their turns.
    let used = cpu(&json, "spin") / 3.0;
    assert!(used < 0.15, "{used} cores");
    let limit = waited(&json, "spin", "cpu_limit");
    let others = waited(&json, "spin", "other_cgroups");
    assert!(limit > 1.2, "{limit} s");
    assert!(others < 1.5, "{others} s, limit {limit} s");
    let bounds = &json["services"]["spin"]["replicas"][0]["waits_seconds"]["bounds"];
    assert_eq!(bounds["cpu_limit"]["low"].as_f64(), Some(limit), "{bounds}");
    let (blamed, known) = pair(&json, "spin/spin-0", "neighbour/neighbour-0");
    assert!(blamed <= others && known == true, "{blamed} s, {known}");
    // By who ran alone it would be some 2.5 s.
    let victim = format!("/{}", stranger.name());
    let (blamed, known) = pair(&json, &victim, "neighbour/neighbour-0");
    assert!(
        (0.1..1.5).contains(&blamed) && known == true,
        "{blamed} s, {known}"
    );
}

#[test]
fn the_time_of_what_is_in_no_cgroup_is_told_by_name() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let pod = Pod::new("left");
    let name = "open('/proc/self/comm', 'w').write('in-no-pod')";
    let leave = format!("{name}\nprint('ready')\nwhile True: pass");
    let mut spinner = pod.python(&leave, &[]);
    assert_eq!(spinner.line(), "ready");
    let mount = galileo_probes::cgroup::mount_point().expect("a cgroup2 mount");
    std::fs::write(mount.join("cgroup.procs"), spinner.id().to_string()).expect("root may");

    let json = place.results(
        "version: 1
name: system
services: {sleep: {command: [sleep, '60']}}
workloads: []
duration: 2s
",
    );

    let system = &json["system"];
    let seconds = |value: &Value| value.as_f64().expect("a number");
    let busiest = system["busiest"].as_array().expect("an array");
    let found = busiest.iter().find(|task| task["name"] == "in-no-pod");
    let found = found.unwrap_or_else(|| panic!("it is one of {busiest:?}"));
    assert_eq!(found["kernel_thread"], false);
    assert!(seconds(&found["cpu_seconds"]) > 0.5, "{system}");
    let [all, kernel, processes, rest] = [
        "cpu_seconds",
        "kernel_threads_seconds",
        "processes_seconds",
        "rest_seconds",
    ]
    .map(|part| seconds(&system[part]));
    // Two observers, some milliseconds apart on each of the CPUs.
    assert!(
        (kernel + processes + rest - all).abs() < 0.02 * all + 0.1,
        "{system}"
    );
    assert!(processes >= seconds(&found["cpu_seconds"]));
    for of in ["interrupts", "steal"] {
        let how = json["accounting"][of]["how"].as_str().expect("a text");
        assert!(!how.is_empty());
    }
}
