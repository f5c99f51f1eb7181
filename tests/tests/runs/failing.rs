//! Runs that do not come about, or lose a service on the way: clear errors, and nothing is left.

use std::net::TcpListener;

use galileo_expdb::Status;
use galileo_tests::{
    free_port,
    runs::{Place, Started, left, stored::counts},
    wait::until,
};

use crate::experiments::{id, machine, server};

/// One service with this command and these further keys, asked for two seconds.
fn with_service(command: &str, port: u16, keys: &str) -> String {
    format!(
        "services: {{web: {{command: {command}, port: {port}{keys}}}}}
workloads: [{{service: web, through: direct, arrival: {{constant: 20/s}}, duration: 2s}}]
"
    )
}

/// Carries out an experiment that fails, and gives what it said.
fn failure(file: &str) -> String {
    failure_of(file, |_, _| ())
}

/// The same of one that something is done to meanwhile.
fn failure_of(file: &str, meanwhile: impl Fn(&Place, &mut Started)) -> String {
    let _machine = galileo_tests::runs::alone();
    let place = Place::new();
    let mut run = place.start_experiment(file);
    meanwhile(&place, &mut run);
    let said = run.end();
    assert_eq!(said.out, "");
    let err = said.failed(1);
    assert!(err.contains("error: the run has measured nothing"), "{err}");
    let id = place.id();
    left::nothing(&id);
    let stored = place.stored(&id);
    assert_eq!(stored.status, Status::Failed);
    assert_eq!(stored.capture, None);
    let list = place.galileo(&["list"]).fine();
    assert!(list.contains(&id) && list.contains("FAILED"), "{list}");
    err
}

#[test]
fn a_command_that_is_not_there_is_named() {
    let err = failure(&with_service("[no-such-server, -x]", free_port(), ""));
    assert!(
        err.contains("web-0: command not found: no-such-server"),
        "{err}"
    );
}

#[test]
fn a_service_that_ends_at_once_is_told_with_status_and_output() {
    let command = "[sh, -c, 'echo no configuration >&2; exit 3']";
    let err = failure(&with_service(command, free_port(), ""));
    assert!(
        err.contains("web-0 ended with exit code 3 before it was ready"),
        "{err}"
    );
    assert!(err.contains("| no configuration"), "{err}");
    assert!(err.contains("what its programs printed is in"), "{err}");
}

#[test]
fn the_holder_of_a_taken_port_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
    let port = holder.local_addr().expect("it is bound").port();
    let err = failure(&with_service(&format!("['{}']", server()), port, ""));
    let own = std::process::id();
    assert!(
        err.contains(&format!("web-0: port {port} is taken by "))
            && err.contains(&format!("(process {own})")),
        "{err}"
    );
}

#[test]
fn a_service_that_never_gets_ready_is_told_with_what_was_met_last() {
    let port = free_port();
    let command = "[sh, -c, 'echo thinking; exec sleep 600']";
    let err = failure(&with_service(command, port, ", ready_timeout: 1s"));
    assert!(err.contains("web-0 was not ready within 1s"), "{err}");
    assert!(
        err.contains(&format!("cannot connect to 127.0.0.1:{port}")),
        "{err}"
    );
    assert!(err.contains("| thinking"), "{err}");
}

#[test]
fn a_service_that_is_ready_only_with_errors_is_told_with_its_status() {
    let command = "[python3, -m, http.server, --bind, 127.0.0.1]";
    let port = free_port();
    let command = command.replace(']', &format!(", '{port}']"));
    let keys = ", health: /none, ready_timeout: 10s";
    let err = failure(&with_service(&command, port, keys));
    assert!(err.contains("is answered with status 404"), "{err}");
}

#[test]
fn a_service_that_dies_while_measuring_is_told_and_what_was_measured_is_kept() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let server = server();
    let script = format!(
        "{server} --work 0ms & while [ ! -e die ]; do sleep 0.02; done; kill $!; echo the disk is gone >&2; exit 7"
    );
    let port = free_port();
    let file = with_service(&format!("[sh, -c, '{script}']"), port, "")
        .replace("duration: 2s", "duration: 10m");
    let mut run = place.start_experiment(&file);
    run.says("measuring");
    let id = place.id();
    until("requests are recorded", || {
        (counts(&place.database(), &id)?.traces >= 10).then_some(())
    });

    place.file("die", "");
    let said = run.end();

    assert_eq!(said.code, Some(3), "{}{}", said.out, said.err);
    left::nothing(&id);
    let json = said.json();
    assert_eq!(json["experiment"]["partial"], true);
    assert_eq!(json["valid"], false);
    let reasons = json["invalid_reasons"].to_string();
    for told in ["web-0 ended with exit code 7", "the disk is gone"] {
        assert!(reasons.contains(told), "no '{told}' in {reasons}");
    }
    assert!(reasons.contains("while measuring"), "{reasons}");
    assert!(json["workloads"][0]["completed"].as_u64() >= Some(10));
    assert_eq!(place.stored(&id).status, Status::Aborted);
    let shown = place.galileo(&["show", "last"]).fine();
    assert!(shown.contains("web-0 ended with exit code 7"), "{shown}");
}

#[test]
fn a_service_that_dies_in_the_warm_up_ends_the_run() {
    let server = server();
    let script = format!(
        "{server} --work 0ms & while [ ! -e die ]; do sleep 0.02; done; echo too warm >&2; kill -9 $$"
    );
    let file = with_service(&format!("[sh, -c, '{script}']"), free_port(), "") + "warmup: 10m\n";
    let err = failure_of(&file, |place, run| {
        run.says("warming up for 10 min");
        place.file("die", "");
    });
    assert!(
        err.contains("web-0 was ended by SIGKILL before anything was measured"),
        "{err}"
    );
    assert!(err.contains("| too warm"), "{err}");
}

#[test]
fn a_service_that_goes_to_the_background_has_not_died() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    // Its first process ends at once, and well.
    let command = format!("[sh, -c, 'setsid {} --work 0ms &']", server());

    let json = place.results(&with_service(&command, free_port(), ""));

    assert_eq!(json["joined"], 40);
    left::nothing(id(&json));
}

#[test]
fn a_service_that_reaches_its_memory_limit_is_told_as_that() {
    let Some(_machine) = machine() else { return };
    let place = Place::new();
    let server = server();
    let script = format!(
        "{server} --work 0ms & while [ ! -e die ]; do sleep 0.02; done; \
         exec python3 -S -c \"bytearray(1 << 30)\""
    );
    let limits = ", limits: {memory: 64MiB}";
    let file = with_service(&format!("[sh, -c, '{script}']"), free_port(), limits)
        .replace("duration: 2s", "duration: 10m");
    let mut run = place.start_experiment(&file);
    run.says("measuring");

    place.file("die", "");
    let said = run.end();

    assert_eq!(said.code, Some(3), "{}{}", said.out, said.err);
    let reasons = said.json()["invalid_reasons"].to_string();
    assert!(
        reasons.contains("web-0 was killed by the kernel at its memory limit while measuring"),
        "{reasons}"
    );
    left::nothing(&place.id());
}
