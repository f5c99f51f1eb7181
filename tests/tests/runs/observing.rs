//! Runs without load: `record`, and `workloads: []`.

use galileo_expdb::Status;
use galileo_tests::{
    accounts::first_process_ns,
    runs::{Place, left},
};
use serde_json::Value;

use crate::experiments::{assert_accounted, id, machine};

fn cpu(json: &Value, service: &str) -> f64 {
    let seconds = &json["services"][service]["replicas"][0]["cpu_seconds"];
    seconds.as_f64().expect("a number")
}

/// How long the CPU that was watched longest was.
fn watched_seconds(json: &Value) -> f64 {
    let cpus = json["cpus"].as_array().expect("an array").iter();
    let watched = cpus.map(|cpu| cpu["watched_seconds"].as_f64().expect("a number"));
    watched.fold(0.0, f64::max)
}

fn measured_seconds(place: &Place, json: &Value) -> f64 {
    let window = place.stored(id(json)).measured();
    (window.end_ns - window.start_ns) as f64 / 1e9
}

#[test]
fn record_for_a_time_watches_a_command_and_ends_it() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();

    let hidden_before = first_process_ns();

    let json = place.recorded(&["--for", "2s", "--", "sh", "-c", "while :; do :; done"]);

    assert_eq!(json["experiment"]["name"], "sh");
    assert_eq!(json["experiment"]["partial"], false);
    assert_eq!(json["workloads"].as_array().map(Vec::len), Some(0));
    let used = cpu(&json, "sh");
    // It cannot run longer than it is watched, which is until the last reading. What hidden switches made its own besides is at most
    // what the first process used, which is told in hundredths of a second.
    let hidden = (first_process_ns() - hidden_before) as f64 / 1e9 + 0.01;
    // CPUs are read one after the other, and the machine may be busy in between.
    let most = watched_seconds(&json) + hidden + 0.05;
    assert!((0.2..=most).contains(&used), "{used} s of {most} s");
    assert!((measured_seconds(&place, &json) - 2.0).abs() < 0.001);
    left::nothing(id(&json));
    assert_eq!(place.stored(id(&json)).status, Status::Finished);
}

#[test]
fn record_ends_with_its_command_and_counts_its_children() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    // Each child burns a known time; the command itself but sleeps and waits.
    let burn = "python3 -S -c \"import time
while time.process_time() < 0.4: pass\"";
    let script = format!("{burn} & {burn} & wait; echo done");

    let json = place.recorded(&["--", "sh", "-c", &script]);

    assert_eq!(json["valid"], true, "{}", json["invalid_reasons"]);
    let used = cpu(&json, "sh");
    assert!((0.7..3.0).contains(&used), "{used} s");
    left::nothing(id(&json));
    let output = std::fs::read_to_string(place.path("runs").join(id(&json)).join("sh-0.out"));
    assert_eq!(output.expect("output is kept"), "done\n");
    assert!(measured_seconds(&place, &json) > 0.35);
}

#[test]
fn record_tells_of_a_command_that_fails() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();

    let said = place.galileo(&[
        "record",
        "--output",
        "json",
        "--",
        "sh",
        "-c",
        "sleep 0.3; echo no such luck >&2; exit 5",
    ]);

    assert_eq!(said.code, Some(3), "{}{}", said.out, said.err);
    let json = said.json();
    assert_eq!(json["experiment"]["partial"], false);
    let reasons = json["invalid_reasons"].to_string();
    assert!(reasons.contains("sh-0 ended with exit code 5"), "{reasons}");
    assert!(reasons.contains("no such luck"), "{reasons}");
    left::nothing(&place.id());
}

#[test]
fn an_experiment_without_load_observes_for_its_duration() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let file = "name: watch
services:
  idle: {command: [sleep, 600]}
  busy: {command: [sh, -c, 'while :; do :; done']}
workloads: []
duration: 1500ms
telemetry: {period: 200ms}
";

    let json = place.results(file);

    assert_eq!(json["joined"], 0);
    assert!(cpu(&json, "idle") < 0.05);
    assert!(cpu(&json, "busy") > 0.3);
    assert!((measured_seconds(&place, &json) - 1.5).abs() < 0.001);
    left::nothing(id(&json));
    let shown = place.galileo(&["show"]).fine();
    assert!(shown.contains("busy"), "{shown}");
}

/// Forty cgroups one after the other, each gone before the next reading comes.
const SHORT_LIVES: &str = "
own=$(sed -n 's/^0:://p' /proc/self/cgroup)
n=0
while [ $n -lt 40 ]; do
  n=$((n + 1))
  mkdir \"$0$own/$n\"
  sh -c 'echo $$ > \"$0/cgroup.procs\"; n=0; while [ $n -lt 40000 ]; do n=$((n + 1)); done' \"$0$own/$n\"
  until rmdir \"$0$own/$n\"; do :; done
done
sleep 60
";

#[test]
fn what_short_lived_cgroups_below_a_replica_used_is_the_replicas() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let mount = galileo_probes::cgroup::mount_point().expect("a cgroup2 mount");
    let script = place.file("short-lives.sh", SHORT_LIVES);
    let (script, mount) = (script.display(), mount.display());
    // `$0` of the script is the mount.
    let file = format!(
        "version: 1
name: short-lives
services: {{spawn: {{command: [sh, -c, '. {script}', '{mount}']}}}}
workloads: []
duration: 8s
"
    );

    // What others on this machine do may cost the run its validity.
    let said = place.experiment(&file);
    assert!(matches!(said.code, Some(0 | 3)), "{}", said.err);
    let json = said.json();

    let stored = place.stored(&place.id());
    let capture = stored.capture();
    let usage = capture.services["spawn"].replicas[0].usage.as_ref();
    let usage = usage.expect("it was seen");
    let accounted = usage.accounted_cpu_ns.expect("cpu.stat is there");
    assert!(accounted > 100_000_000, "{accounted} ns");
    // A task is created outside and moves: what it runs before is the parent's, by either.
    assert_accounted("spawn-0", usage, accounted / 50 + 10_000_000);
    let used = cpu(&json, "spawn");
    assert!((used - usage.cpu_ns as f64 / 1e9).abs() < 1e-6);
}
