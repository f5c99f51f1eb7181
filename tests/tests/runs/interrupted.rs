//! Runs that are stopped: in order, at once, and by SIGKILL.

use std::time::{Duration, Instant};

use galileo_expdb::Status;
use galileo_tests::{
    free_port,
    runs::{Place, Said, Started, left, stored::counts},
    wait::until,
};
use rustix::process::Signal;

use crate::experiments::{Plain, machine, server};

/// Long enough for a test that would wait for its end to fail.
const LONG: &str = "duration: 10m";
/// Within this an orderly stop is over, whatever the phase; replicas that do not end by themselves have 5 s.
const ORDERLY: Duration = Duration::from_secs(8);
/// What was not waited for that has 5 s; a machine that is busy may take nearly as long for all else.
const ALL_BUT_5_S: Duration = Duration::from_millis(4_800);

/// A run that measures.
fn measuring(place: &Place) -> Started {
    let plain = Plain {
        extent: LONG,
        ..Plain::new(free_port())
    };
    let mut run = place.start_experiment(&plain.text());
    run.says("measuring for 10 min");
    run
}

/// Stops a run in order and says how it ended.
fn interrupt(run: Started) -> Said {
    let begin = Instant::now();
    run.interrupt();
    let said = run.end();
    assert!(begin.elapsed() < ORDERLY, "took {:?}", begin.elapsed());
    assert!(
        said.err.contains("Stopping: what was measured is kept."),
        "{}",
        said.err
    );
    said
}

/// Waits until so many requests are in the database.
fn recorded(place: &Place, traces: u64) {
    until("requests are recorded", || {
        let id = place.ids().pop()?;
        (counts(&place.database(), &id)?.traces >= traces).then_some(())
    });
}

/// A run of which nothing was measured.
fn nothing_was_measured(place: &Place, said: Said) {
    let err = said.failed(130);
    assert!(
        err.contains("Interrupted before anything was measured."),
        "{err}"
    );
    let id = place.id();
    left::nothing(&id);
    let stored = place.stored(&id);
    assert_eq!(stored.status, Status::Aborted);
    assert_eq!(stored.capture, None);
    let err = place.galileo(&["show", "last"]).failed(1);
    assert!(err.contains("ended before anything was measured"), "{err}");
}

#[test]
fn ctrl_c_while_a_service_starts_leaves_nothing() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let port = free_port();
    let file = format!(
        "services: {{web: {{command: [sleep, 600], port: {port}}}}}
workloads: [{{service: web, arrival: {{constant: 1/s}}, duration: 1s}}]
"
    );
    let mut run = place.start_experiment(&file);
    run.says("starting web-0");
    let id = place.id();
    until("the service runs", || {
        (!left::processes(&id).is_empty()).then_some(())
    });

    nothing_was_measured(&place, interrupt(run));
}

#[test]
fn ctrl_c_in_the_warm_up_leaves_nothing_and_keeps_its_records() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let plain = Plain {
        warmup: "10m",
        ..Plain::new(free_port())
    };
    let mut run = place.start_experiment(&plain.text());
    run.says("warming up for 10 min");
    recorded(&place, 5);

    nothing_was_measured(&place, interrupt(run));

    let stored = place.stored(&place.id());
    assert!(stored.traces.len() >= 5);
    assert!(stored.served("web-0").count() >= 5);
}

#[test]
fn ctrl_c_while_measuring_keeps_what_was_measured() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let run = measuring(&place);
    recorded(&place, 20);

    let said = interrupt(run);

    assert_eq!(said.code, Some(130), "{}{}", said.out, said.err);
    let id = place.id();
    left::nothing(&id);
    let json = said.json();
    assert_eq!(json["experiment"]["partial"], true);
    assert_eq!(json["valid"], false);
    let reasons = json["invalid_reasons"].to_string();
    assert!(reasons.contains("interrupted"), "{reasons}");
    let completed = json["workloads"][0]["completed"]
        .as_u64()
        .expect("a number");
    assert!(completed >= 20, "{completed}");
    assert_eq!(json["joined"], completed);
    let cpu = json["services"]["web"]["replicas"][0]["cpu_seconds"].as_f64();
    assert!(cpu.expect("a number") > 0.0);
    let stored = place.stored(&id);
    assert_eq!(stored.status, Status::Aborted);
    assert_eq!(
        place.galileo(&["show", "last", "--output", "json"]).json(),
        json
    );
    let shown = place.galileo(&["show", "last"]).fine();
    assert!(shown.contains("NOT VALID"), "{shown}");
    assert!(shown.contains("The run was interrupted"), "{shown}");
}

#[test]
fn ctrl_c_while_the_last_answers_are_awaited_does_not_wait_for_them() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let plain = Plain {
        work: "600s",
        rate: "4/s",
        extent: "duration: 500ms",
        ..Plain::new(free_port())
    };
    let mut run = place.start_experiment(&plain.text());
    run.says("waiting for the last answers");

    let begin = Instant::now();
    let said = interrupt(run);

    // The answers would have had 5 s.
    assert!(begin.elapsed() < ALL_BUT_5_S, "{:?}", begin.elapsed());
    assert_eq!(said.code, Some(130), "{}{}", said.out, said.err);
    let id = place.id();
    left::nothing(&id);
    let json = said.json();
    assert_eq!(json["experiment"]["partial"], true);
    assert_eq!(json["workloads"][0]["intended"], 2);
    assert_eq!(json["workloads"][0]["unfinished"], 2);
    let shown = place.galileo(&["show", "last"]).fine();
    assert!(shown.contains("NOT VALID"), "{shown}");
}

#[test]
fn a_second_ctrl_c_ends_at_once_and_leaves_nothing() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let port = free_port();
    let server = server();
    // It does not listen to SIGTERM, so that an orderly stop would take 5 s.
    let file = format!(
        "services:
  web: {{command: [sh, -c, 'trap \"\" TERM; exec {server} --work 0ms'], port: {port}}}
workloads: [{{service: web, through: direct, arrival: {{constant: 20/s}}, {LONG}}}]
"
    );
    let mut run = place.start_experiment(&file);
    run.says("measuring");
    // From the first one on, behind which the orderly stop would take its time.
    let begin = Instant::now();
    run.interrupt();
    run.says("Once more stops at once.");

    run.interrupt();
    let said = run.end();

    assert!(begin.elapsed() < ALL_BUT_5_S, "{:?}", begin.elapsed());
    assert_eq!(said.code, Some(130), "{}{}", said.out, said.err);
    left::nothing_stays(&place.id());
}

#[test]
fn after_sigkill_nothing_is_left_and_clean_marks_the_run() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let port = free_port();
    let server = server();
    // Through the balancer, with processes that the replica started itself.
    let file = format!(
        "services:
  web: {{command: [sh, -c, 'sleep 600 & setsid sleep 601 & exec {server} --work 0ms'], port: {port}, replicas: 2}}
workloads: [{{service: web, arrival: {{constant: 20/s}}, {LONG}}}]
"
    );
    let mut run = place.start_experiment(&file);
    run.says("measuring");
    recorded(&place, 5);
    let id = place.id();
    assert!(
        left::processes(&id).len() >= 6,
        "{:?}",
        left::processes(&id)
    );
    assert!(!left::cgroups(&id).is_empty());

    run.signal(Signal::KILL);
    let said = run.end();

    assert_eq!(said.code, None);
    left::nothing_stays(&id);
    let list = place.galileo(&["list"]).fine();
    assert!(list.contains(&id) && list.contains("RUNNING"), "{list}");
    let err = place.galileo(&["show"]).failed(1);
    assert!(err.contains("galileo clean"), "{err}");
    // What others left on this machine is not for a test to remove.
    let clean = place.galileo(&["clean", "--cgroup-parent", "/none"]).fine();
    assert!(
        clean.contains(&format!("marked run {id} as aborted")),
        "{clean}"
    );
    let stored = place.stored(&id);
    assert_eq!(stored.status, Status::Aborted);
    assert!(stored.traces.len() >= 5);
}

#[test]
fn galileo_may_be_killed_while_it_says_goodbye() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let run = measuring(&place);
    let id = place.id();
    let guards: Vec<_> = left::cgroups(&id)
        .into_iter()
        .map(|cgroup| cgroup.join("guard"))
        .filter(|guard| guard.exists())
        .collect();
    assert!(!guards.is_empty());

    run.interrupt();
    while guards.iter().any(|guard| guard.exists()) {
        std::thread::yield_now();
    }
    run.signal(Signal::KILL);

    // Whether the signal came in time does not matter.
    let _ = run.end();
    left::nothing_stays(&id);
}
