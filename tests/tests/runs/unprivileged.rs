//! Without root: less is seen, and said so; what cannot be had is refused.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use galileo_tests::{
    free_port,
    runs::{Place, Said, Started, left, program},
};

use rustix::process::Signal;

use crate::experiments::machine;

/// nobody and nogroup.
const NOBODY: u32 = 65534;

/// A folder that belongs to nobody, with programs that nobody may start.
struct Poor {
    place: Place,
    galileo: PathBuf,
    server: PathBuf,
}

impl Poor {
    /// None if this user may not become another one.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            galileo_skips::skip("this user cannot become another one");
            return None;
        }
        let place = Place::new();
        let copy = |program: &Path| {
            let copy = place.path(program.file_name().expect("a program has a name"));
            fs::copy(program, &copy).expect("there is room");
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("it is ours");
            copy
        };
        let (galileo, server) = (copy(program::galileo()), copy(program::server()));
        chown(place.path(""), Some(NOBODY), Some(NOBODY)).expect("root may");
        Some(Self {
            place,
            galileo,
            server,
        })
    }

    fn galileo(&self, arguments: &[&str]) -> Said {
        self.start(arguments).end()
    }

    fn start(&self, arguments: &[&str]) -> Started {
        let own = self.place.command_of(&self.galileo, arguments);
        let mut command = Command::new("setpriv");
        command
            .args([
                "--reuid",
                "65534",
                "--regid",
                "65534",
                "--clear-groups",
                "--",
            ])
            .arg(own.get_program())
            .args(own.get_args())
            .current_dir(self.place.path(""));
        for (name, value) in own.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Started::new(command)
    }

    fn experiment(&self, limits: &str, duration: &str) -> Started {
        let text = format!(
            "services:
  web: {{command: ['{}', --work, 2ms], port: {}, health: /health{limits}}}
workloads: [{{service: web, arrival: {{constant: 50/s}}, duration: {duration}}}]
warmup: 200ms
",
            self.server.display(),
            free_port()
        );
        self.place.file("experiment.yaml", &text);
        self.start(&["run", "experiment.yaml"])
    }
}

#[test]
fn without_root_a_run_works_and_says_first_what_it_cannot_see() {
    let Some(_machine) = machine() else { return };
    let Some(poor) = Poor::new() else { return };

    let said = poor.experiment("", "2s").end();

    // Late requests make a run of a busy machine invalid, whoever starts it.
    assert!(matches!(said.code, Some(0 | 3)), "{}{}", said.out, said.err);
    let (top, _) = said.out.split_once("1  ").expect("there is a first answer");
    assert!(top.contains("NOT SEEN on this machine"), "{}", said.out);
    assert!(top.contains("no cgroups of their own"), "{top}");
    // One account of CPU time has no other to agree with.
    assert!(!said.out.contains("accounts of CPU time"), "{}", said.out);
    left::nothing(&poor.place.id());

    let shown = poor.galileo(&["show", "--output", "json"]).json();
    let replica = &shown["services"]["web"]["replicas"][0];
    assert_eq!(shown["workloads"][0]["completed"], 100);
    // A hundred requests of 2 ms, by clock ticks of 10 ms.
    let cpu = replica["cpu_seconds"].as_f64().expect("/proc tells");
    assert!((0.15..0.6).contains(&cpu), "{cpu} s");
    for unseen in ["rx_bytes", "exchanges", "service_ms", "waits_seconds"] {
        assert!(replica[unseen].is_null(), "{unseen}: {replica}");
    }
    let why = shown["unseen"][0].as_str().expect("a sentence");
    assert!(why.contains("no cgroups of their own"), "{why}");
    let page = poor
        .place
        .path("runs")
        .join(poor.place.id())
        .join("report.html");
    let page = fs::read_to_string(page).expect("there is a report");
    assert!(page.contains("no cgroups of their own"));
}

#[test]
fn without_root_limits_are_refused() {
    let Some(_machine) = machine() else { return };
    let Some(poor) = Poor::new() else { return };

    for (limits, what) in [
        (", limits: {cpu: 0.5}", "CPU cannot be limited"),
        (", limits: {memory: 64MiB}", "memory cannot be limited"),
    ] {
        let err = poor.experiment(limits, "2s").end().failed(1);
        assert!(err.contains(&format!("web-0: {what}")), "{err}");
        assert!(err.contains("run galileo as root"), "{err}");
    }
    poor.place.ids().iter().for_each(|id| left::nothing(id));
}

#[test]
fn without_root_nothing_is_left_of_a_run_that_is_interrupted_or_killed() {
    let Some(_machine) = machine() else { return };
    let Some(poor) = Poor::new() else { return };

    let mut run = poor.experiment("", "10m");
    run.says("measuring");
    let first = poor.place.id();
    assert!(!left::processes(&first).is_empty());
    run.interrupt();
    let said = run.end();

    assert_eq!(said.code, Some(130), "{}{}", said.out, said.err);
    assert!(said.out.contains("The run was interrupted"), "{}", said.out);
    left::nothing(&first);

    let mut run = poor.experiment("", "10m");
    run.says("measuring");
    let second = poor.place.ids().into_iter().find(|id| *id != first);
    let second = second.expect("there is another run");
    assert!(!left::processes(&second).is_empty());
    run.signal(Signal::KILL);

    assert_eq!(run.end().code, None);
    left::nothing_stays(&second);
}
