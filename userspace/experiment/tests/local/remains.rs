//! After a SIGKILL of Galileo nothing is left either.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use galileo_experiment::local::clean;
use galileo_experiment::local::procfs::Stat;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::ground::{Ground, cgroups_of, helper, lives, number_in, run_id, wait_for};

/// A Galileo of its own: the example program with one replica.
pub struct Other {
    pub process: Child,
    /// What it said of its replica.
    pub started: Value,
}

impl Other {
    pub fn start(
        mut program: Command,
        state: &Path,
        run: &str,
        more: &[&str],
        script: &str,
    ) -> Self {
        let mut process = program
            .args(["--run", &run_id(run), "--state"])
            .arg(state)
            .args(more)
            .args(["--", "sh", "-c", script])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let started =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        Self { process, started }
    }

    pub fn replica(&self) -> u32 {
        u32::try_from(self.started["pid"].as_u64().unwrap()).unwrap()
    }

    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Waits until the shells in between are gone, and the replica is two processes.
    fn wait_for_two_members(&self) {
        let procs = PathBuf::from(self.started["cgroup"].as_str().unwrap()).join("cgroup.procs");
        wait_for("two members", || {
            let listed = fs::read_to_string(&procs).unwrap();
            (listed.lines().count() == 2).then_some(())
        });
    }

    fn guard(&self) -> u32 {
        let cgroup = PathBuf::from(self.started["cgroup"].as_str().unwrap());
        let listed =
            fs::read_to_string(cgroup.parent().unwrap().join("guard/cgroup.procs")).unwrap();
        listed.trim().parse().unwrap()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // A test that failed must not leave it; after others it is gone.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts a daemon that has left its session, and says its process id in the replica's output.
const WITH_DAEMON: &str = "(setsid sh -c 'setsid sleep 1000 & echo $!' &); exec sleep 1000";

fn daemon_of(state: &Path, run: &str) -> u32 {
    number_in(&state.join(run_id(run)).join("command-0.out"))
}

#[test]
fn killed_galileo_leaves_no_process_and_no_cgroup() {
    let Some(ground) = Ground::of_root() else {
        return;
    };
    let state = ground.state.path();
    let mut other = Other::start(
        Command::new(helper()),
        state,
        "killed",
        &["--cpu", "0.5"],
        WITH_DAEMON,
    );
    let daemon = daemon_of(state, "killed");
    other.wait_for_two_members();
    let (replica, guard) = (other.replica(), other.guard());
    assert!(lives(replica) && lives(daemon) && lives(guard));
    assert!(!Stat::of(guard).unwrap().comm.contains("galileo"));

    other.kill();
    let log = state.join(run_id("killed")).join("guard.log");
    wait_for("the guard's work", || log.exists().then_some(()));
    wait_for("the guard's end", || (!lives(guard)).then_some(()));
    assert!(!lives(replica) && !lives(daemon));
    assert_eq!(cgroups_of(&run_id("killed")), Vec::<PathBuf>::new());
    assert!(!state.join(run_id("killed")).join("owner.json").exists());
    let log = fs::read_to_string(log).unwrap();
    assert!(log.ends_with("killed 2 processes\n"), "{log}");
}

#[test]
fn clean_removes_dead_runs_and_spares_the_living() {
    let Some(ground) = Ground::of_root() else {
        return;
    };
    let state = ground.state.path();
    let mut dead = Other::start(
        Command::new(helper()),
        state,
        "dead",
        &["--cpu", "0.5"],
        WITH_DAEMON,
    );
    let living = Other::start(
        Command::new(helper()),
        state,
        "living",
        &[],
        "exec sleep 1000",
    );
    let daemon = daemon_of(state, "dead");
    dead.wait_for_two_members();
    let guard = dead.guard();
    let killed = Pid::from_raw(guard.cast_signed()).unwrap();
    kill_process(killed, Signal::KILL).unwrap();
    wait_for("the guard's death", || (!lives(guard)).then_some(()));
    dead.kill();
    assert!(lives(daemon), "nobody is there to remove it");

    // Another data folder: the run's cgroup names its owner file.
    let elsewhere = tempfile::tempdir().unwrap();
    let report = clean(elsewhere.path(), None).unwrap();
    let removed = report
        .removed
        .iter()
        .find(|removed| removed.run_id == run_id("dead"))
        .unwrap();
    assert_eq!((removed.processes, &removed.problems), (2, &Vec::new()));
    assert!(report.living.contains(&run_id("living")));
    assert!(!lives(daemon) && !lives(dead.replica()));
    assert_eq!(cgroups_of(&run_id("dead")), Vec::<PathBuf>::new());
    assert!(!state.join(run_id("dead")).join("owner.json").exists());
    assert!(lives(living.replica()));

    end(living);
    assert_eq!(cgroups_of(&run_id("living")), Vec::<PathBuf>::new());
    let again = clean(state, None).unwrap();
    assert!(
        !again
            .removed
            .iter()
            .any(|removed| [run_id("dead"), run_id("living")].contains(&removed.run_id))
    );
}

#[test]
fn signal_ends_it_in_order() {
    let ground = Ground::new();
    let other = Other::start(
        Command::new(helper()),
        ground.state.path(),
        "term",
        &[],
        WITH_DAEMON,
    );
    let (replica, daemon) = (other.replica(), daemon_of(ground.state.path(), "term"));
    end(other);
    assert!(!lives(replica) && !lives(daemon));
    assert_eq!(cgroups_of(&run_id("term")), Vec::<PathBuf>::new());
}

/// Ends it with SIGTERM, as a user would.
pub fn end(mut other: Other) -> Value {
    let pid = Pid::from_raw(other.process.id().cast_signed()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    let mut line = String::new();
    BufReader::new(other.process.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(other.process.wait().unwrap().success());
    let ended: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ended["problems"], Value::Array(Vec::new()));
    ended
}
