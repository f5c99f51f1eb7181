//! Without root: a delegated cgroup if there is one, else the tree of processes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use galileo_probes::mounts::Hierarchies;

use crate::ground::{Ground, cgroups_of, helper, lives, number_in, run_id, wait_for};
use crate::remains::{Other, end};

/// `nobody`, who can run the example from a folder that it may enter.
struct Nobody {
    ground: Ground,
    program: PathBuf,
}

const NOBODY: u32 = 65_534;

impl Nobody {
    fn new() -> Option<Self> {
        let ground = Ground::of_root()?;
        if !Path::new("/usr/bin/setpriv").exists() {
            galileo_skips::skip("setpriv (util-linux) is missing");
            return None;
        }
        let folder = ground.state.path();
        chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        let program = folder.join("program");
        fs::copy(helper(), &program).unwrap();
        Some(Self { ground, program })
    }

    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"])
            .arg(&self.program);
        command
    }

    fn state(&self) -> &Path {
        self.ground.state.path()
    }

    fn printed_pid(&self, run: &str) -> u32 {
        number_in(&self.state().join(run_id(run)).join("command-0.out"))
    }
}

/// Uses 0.5 s in a child that the shell waits for, and 0.5 s in one whose parent ends before it.
const SPIN: &str = "spin='sub used { my @t = times; $t[0] + $t[1] } 1 while used() < 0.5'; perl -e \"$spin\" & wait; \
                    (perl -e \"$spin; print qq($$\\n); close STDOUT; sleep 1000\" &); sleep 1000";

#[test]
fn without_a_cgroup_cpu_time_of_the_tree_and_its_orphans_is_counted() {
    let Some(nobody) = Nobody::new() else { return };
    let other = Other::start(nobody.command(), nobody.state(), "tree", &[], SPIN);
    assert_eq!(other.started["cgroup"], serde_json::Value::Null);
    let unseen = other.started["unseen"].as_array().unwrap();
    assert!(
        unseen[0]
            .as_str()
            .unwrap()
            .starts_with("Replicas have no cgroups of their own: no cgroup can be made here")
    );
    let orphan = nobody.printed_pid("tree");
    assert!(lives(orphan));

    let ended = end(other);
    assert!(!lives(orphan));
    // Two programs of 0.5 s each, one waited for by the shell, one by nobody but the supervisor.
    let cpu_ns = ended["cpu_ns"].as_u64().unwrap();
    assert!((950_000_000..1_200_000_000).contains(&cpu_ns), "{ended}");
}

#[test]
fn without_a_cgroup_killed_galileo_leaves_no_process() {
    let Some(nobody) = Nobody::new() else { return };
    let daemon = "(setsid sh -c 'setsid sleep 1000 & echo $!' &); exec sleep 1000";
    let mut other = Other::start(nobody.command(), nobody.state(), "tree-killed", &[], daemon);
    let (replica, daemon) = (other.replica(), nobody.printed_pid("tree-killed"));
    assert!(lives(replica) && lives(daemon));
    other.kill();
    wait_for("the supervisor's work", || {
        (!lives(replica) && !lives(daemon)).then_some(())
    });
}

#[test]
fn without_a_cgroup_limits_are_refused() {
    let Some(nobody) = Nobody::new() else { return };
    let output = nobody
        .command()
        .args(["--run", &run_id("refused"), "--state"])
        .arg(nobody.state())
        .args(["--cpu", "0.5", "--", "true"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        told.starts_with("command-0: CPU cannot be limited: no cgroup can be made here"),
        "{told}"
    );
    assert!(
        told.trim_end()
            .ends_with("run galileo as root, or in a delegated cgroup"),
        "{told}"
    );
}

#[test]
fn delegated_cgroup_is_used_and_left_as_it_was() {
    let Some(nobody) = Nobody::new() else { return };
    let unified = Hierarchies::read().unwrap().unified.unwrap();
    let name = format!("/galileo-test-delegated-{}", std::process::id());
    let delegated = unified.folder(&name).unwrap();
    fs::create_dir(&delegated).unwrap();
    for path in [
        "",
        "cgroup.procs",
        "cgroup.subtree_control",
        "cgroup.threads",
    ] {
        chown(delegated.join(path), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    // The shell enters the cgroup and becomes the program.
    let enter = |killed: bool| {
        let mut command = Command::new("sh");
        let text = format!(
            "echo 0 > {}/cgroup.procs && exec setpriv --reuid=65534 --regid=65534 --clear-groups -- {} \"$@\"",
            delegated.display(),
            nobody.program.display()
        );
        command.args(["-c", &text, "sh"]);
        let run = if killed {
            "delegated-killed"
        } else {
            "delegated"
        };
        (
            Other::start(
                command,
                nobody.state(),
                run,
                &[],
                "sleep 1000 & exec sleep 1000",
            ),
            run_id(run),
        )
    };

    let (other, run) = enter(false);
    let cgroup = other.started["cgroup"].as_str().unwrap();
    assert_eq!(
        cgroup,
        delegated
            .join("galileo")
            .join(&run)
            .join("command-0")
            .to_str()
            .unwrap()
    );
    let replica = other.replica();
    end(other);
    assert!(!lives(replica));
    assert_eq!(cgroups_of(&run), Vec::<PathBuf>::new());

    let (mut other, run) = enter(true);
    let replica = other.replica();
    other.kill();
    wait_for("the guard's work", || {
        cgroups_of(&run).is_empty().then_some(())
    });
    assert!(!lives(replica));
    wait_for("the guard to leave", || fs::remove_dir(&delegated).ok());
}
