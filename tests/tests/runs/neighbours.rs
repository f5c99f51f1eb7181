//! Who disturbs whom, and what a limit does.

use galileo_tests::{
    free_port,
    pod::{Pod, v1_cpu_controller},
    runs::{Excuse, Place, Said, Stored},
    wait::until,
};
use serde_json::Value;

use crate::experiments::{example, machine, replaced};
use crate::throttled::{PERIOD, Throttled, Within, watch};

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

/// A figure of one of the CPUs.
fn of_cpu(json: &Value, number: u32, figure: &str) -> f64 {
    let mut cpus = json["cpus"].as_array().expect("an array").iter();
    let cpu = cpus.find(|cpu| cpu["cpu"] == number).expect("it is online");
    cpu[figure].as_f64().expect("a number")
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
    let found = pairs
        .iter()
        .find(|pair| pair["victim"] == "web/web-0" && pair["aggressor"] == "batch/batch-0");
    let by_batch = found.unwrap_or_else(|| panic!("not in {pairs:?}"))["wait_seconds"]
        .as_f64()
        .expect("a number");
    let waits = waited(&beside, "web", "other_cgroups");
    // Whoever else runs on that CPU has its part in the waits, too.
    let others = of_cpu(&beside, 0, "cgroups_seconds") - cpu(&beside, "web");
    let part = cpu(&beside, "batch") / others;
    assert!(
        by_batch > 0.4 * part * waits,
        "{by_batch} s of {waits} s, of which it ran {part}"
    );
    let before = waited(&alone, "web", "other_cgroups");
    let idle = of_cpu(&alone, 0, "idle_seconds") / of_cpu(&alone, 0, "watched_seconds");
    // Or somebody else is the noisy neighbour of both runs.
    if idle > 0.5 {
        assert!(before < 0.6 * waits, "{before} s alone, {waits} s beside");
    }
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

/// The CPU that victim, neighbour and whoever else is there share.
const SHARED: u32 = 1;
/// What a wait or a hold across each edge of a window may make of a difference.
const EDGES: f64 = 2.0 * PERIOD;

/// The time of a replica that always wants its CPU is spent on the CPU, at its limit, or waiting for others. What the kernel tells of the
/// limit is the limit's, and nobody else's, however many others run beside.
fn limit_is_told_apart(json: &Value, service: &str, held: Within) {
    let used = cpu(json, service);
    let limit = waited(json, service, "cpu_limit");
    let others = waited(json, service, "other_cgroups");
    let told = held.seconds - EDGES..=held.seconds + held.unread_seconds + EDGES;
    assert!(
        told.contains(&limit),
        "{limit} s, but the kernel tells of {held:?}"
    );
    let most = of_cpu(json, SHARED, "watched_seconds") - used - held.seconds + EDGES;
    assert!(
        others > 0.0 && others <= most,
        "{others} s of {most} s, {held:?}"
    );
}

/// It uses a share of a CPU if it is let: no more, and in periods in which it was held all of it.
fn share_is_kept(stored: &Stored, json: &Value, service: &str, share: f64, held: Within) {
    let usage = &stored.capture().services[service].replicas[0].usage;
    let apart = usage.as_ref().and_then(|usage| usage.apart);
    let apart = apart.expect("it is known what the kernel takes off");
    // The kernel does not count these against the quota, and the probes see a task that runs on.
    let taken_off = (apart.steal_ns + apart.interrupts_ns) as f64 / 1e9;
    let used = cpu(json, service);
    let most = share * (of_cpu(json, SHARED, "watched_seconds") + PERIOD) + taken_off;
    // A timer that is late by whole periods has each of them counted and the quota filled up once.
    let missed = (taken_off / PERIOD).floor();
    let least = share * PERIOD * (held.periods as f64 - missed);
    // A limit takes effect at a tick of 10 ms at most; the next period pays.
    let ticks = 0.05;
    assert!(
        (least - ticks..=most + ticks).contains(&used),
        "{used} s, {least} s to {most} s"
    );
}

/// The results of a run that is not invalid but for what the machine did.
fn valid_or_excused(said: &Said) -> Value {
    let json = said.json();
    assert!(
        said.code == Some(0) || Excuse::of(&json).is_some(),
        "{} {}",
        json["invalid_reasons"],
        said.err
    );
    json
}

#[test]
fn a_cpu_limit_is_kept_and_no_neighbour_is_blamed_for_it() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let spin = "command: [sh, -c, 'while :; do :; done']";
    let mut run = place.start_experiment(&format!(
        "nodes: {{one: {{cpus: [{SHARED}]}}}}
services:
  spin: {{{spin}, node: one, limits: {{cpu: 0.2}}}}
  neighbour: {{{spin}, node: one}}
workloads: []
duration: 3s
"
    ));
    run.says("measuring");
    let id = place.id();

    let mut held = Throttled::of_replica(&id, "spin-0");
    let said = watch(run, &id, &mut [&mut held]);

    let json = valid_or_excused(&said);
    let stored = place.stored(&id);
    let held = held.within(stored.measured());
    share_is_kept(&stored, &json, "spin", 0.2, held);
    limit_is_told_apart(&json, "spin", held);
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

/// How long a victim waited for all others.
fn blamed(json: &Value, victim: &str) -> f64 {
    let pairs = json["interference"].as_array().expect("an array").iter();
    let own = pairs.filter(|pair| pair["victim"] == victim);
    own.map(|pair| pair["wait_seconds"].as_f64().expect("a number"))
        .sum()
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
    let shared = SHARED.to_string();
    let spin = ["taskset", "-c", &shared, "sh", "-c", "while :; do :; done"];
    let _spinning = stranger.start(&spin);
    // The service goes below a group whose quota it shares with nobody, and has none of its own.
    let parent = controller.join(format!("galileo-test-{}-parent", std::process::id()));
    let outer = parent.display();
    let file = format!(
        "version: 1
name: parent
nodes:
  one: {{cpus: [{SHARED}]}}
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
    let mut run = place.start_experiment(&file);
    run.says("measuring");
    let id = place.id();

    let mut of_parent = Throttled::of(parent.clone());
    let mut of_stranger = Throttled::of(controller.join(stranger.name()));
    let said = watch(run, &id, &mut [&mut of_parent, &mut of_stranger]);

    for folder in [parent.join("inner"), parent] {
        until("nothing runs there", || std::fs::remove_dir(&folder).ok());
    }
    let json = valid_or_excused(&said);
    let stored = place.stored(&id);
    let held = of_parent.within(stored.measured());
    // It may run a tenth of the time and wants to run always. While it may, the others take their turns.
    share_is_kept(&stored, &json, "spin", 0.1, held);
    limit_is_told_apart(&json, "spin", held);
    let limit = waited(&json, "spin", "cpu_limit");
    let bounds = &json["services"]["spin"]["replicas"][0]["waits_seconds"]["bounds"];
    assert_eq!(bounds["cpu_limit"]["low"].as_f64(), Some(limit), "{bounds}");
    let others = waited(&json, "spin", "other_cgroups");
    let (by_neighbour, known) = pair(&json, "spin/spin-0", "neighbour/neighbour-0");
    assert!(by_neighbour > 0.0, "it runs whenever it can");
    assert!(by_neighbour <= others && known == true, "{by_neighbour} s");
    let victim = format!("/{}", stranger.name());
    let (by_neighbour, known) = pair(&json, &victim, "neighbour/neighbour-0");
    assert!(by_neighbour > 0.0 && known == true, "{by_neighbour} s");
    // By who ran alone it would be all the time in which it did not run itself.
    let held = of_stranger.within(stored.measured());
    let most = of_cpu(&json, SHARED, "watched_seconds") - held.seconds + EDGES;
    let by_all = blamed(&json, &victim);
    assert!(by_all <= most, "{by_all} s of {most} s, {held:?}");
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
