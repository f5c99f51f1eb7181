//! After an orderly end nothing is left.

use std::path::PathBuf;
use std::time::Duration;

use galileo_experiment::local::{LocalPlatform, Options, ReplicaSpec};

use crate::ground::{Ground, cgroup_of, cgroups_of, lives, number_in, run_id, script, wait_for};

#[tokio::test]
async fn stop_ends_replicas_in_order_and_returns_home() {
    let Some(ground) = Ground::of_root() else {
        return;
    };
    let home = cgroup_of("self");
    let mut platform = ground.open("stop");
    let patient = platform
        .start(script(
            "patient-0",
            "trap 'echo bye; exit 7' TERM; echo 1; while :; do sleep 0.01; done",
        ))
        .unwrap();
    let limited = ReplicaSpec {
        cpu_limit: Some(1.0),
        memory_limit_bytes: Some(64 << 20),
        ..script("limited-0", "exec sleep 1000")
    };
    let limited = platform.start(limited).unwrap();
    let gone = platform.start(script("gone-0", "exit 0")).unwrap();
    number_in(&patient.output().stdout);
    gone.wait().await;
    let report = platform.stop(Duration::from_secs(20)).await;

    assert_eq!(report.problems, Vec::<String>::new());
    let told: Vec<(&str, String, bool, bool)> = report
        .replicas
        .iter()
        .map(|stopped| {
            (
                stopped.name.as_str(),
                stopped.exit.unwrap().to_string(),
                stopped.before,
                stopped.forced,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (
                "patient-0",
                "ended with exit code 7".to_owned(),
                false,
                false
            ),
            ("limited-0", "was ended by SIGTERM".to_owned(), false, false),
            ("gone-0", "ended with exit code 0".to_owned(), true, false),
        ]
    );
    assert!(
        report
            .replicas
            .iter()
            .all(|stopped| stopped.usage.is_some_and(|usage| usage.cpu_ns > 0))
    );
    assert!(!lives(patient.pid()) && !lives(limited.pid()));
    assert_eq!(cgroups_of(&run_id("stop")), Vec::<PathBuf>::new());
    assert_eq!(cgroup_of("self"), home);
}

#[tokio::test]
async fn replica_that_ignores_sigterm_is_killed_at_the_deadline() {
    let ground = Ground::new();
    let mut platform = ground.open("stubborn");
    let replica = platform
        .start(script(
            "web-0",
            "trap '' TERM; echo 1; while :; do sleep 0.01; done",
        ))
        .unwrap();
    number_in(&replica.output().stdout);
    let report = platform.stop(Duration::from_millis(200)).await;
    assert!(report.replicas[0].forced);
    assert_eq!(
        report.replicas[0].exit.unwrap().to_string(),
        "was ended by SIGKILL"
    );
    assert!(!lives(replica.pid()));
}

#[tokio::test]
async fn daemon_that_forked_twice_into_its_own_session_is_killed() {
    let ground = Ground::new();
    let mut platform = ground.open("daemon");
    let text = "(setsid sh -c 'setsid sleep 1000 & echo $!' &) ; exit 0";
    let replica = platform.start(script("web-0", text)).unwrap();
    assert!(replica.wait().await.is_success());
    let daemon = number_in(&replica.output().stdout);
    wait_for("the shells to be gone", || {
        (replica.members() == [daemon]).then_some(())
    });
    assert!(lives(daemon));
    drop(platform);
    assert!(!lives(daemon));
}

#[test]
fn dropping_leaves_nothing() {
    let Some(ground) = Ground::of_root() else {
        return;
    };
    let home = cgroup_of("self");
    let mut platform = ground.open("drop");
    let replica = platform
        .start(script("web-0", "sleep 1000 & sleep 1000"))
        .unwrap();
    drop(platform);
    assert!(!lives(replica.pid()));
    assert_eq!(cgroups_of(&run_id("drop")), Vec::<PathBuf>::new());
    assert_eq!(cgroup_of("self"), home);
    assert_eq!(
        std::fs::read_dir(ground.state.path().join(run_id("drop")))
            .unwrap()
            .count(),
        2,
        "output files only"
    );
}

#[tokio::test]
async fn two_runs_at_once_do_not_disturb_each_other() {
    let Some(ground) = Ground::of_root() else {
        return;
    };
    let home = cgroup_of("self");
    let mut first = ground.open("first");
    let mut second = ground.open("second");
    let kept = second.start(script("web-0", "exec sleep 1000")).unwrap();
    let ended = first.start(script("web-0", "exec sleep 1000")).unwrap();
    assert_eq!(
        first.stop(Duration::from_secs(5)).await.problems,
        Vec::<String>::new()
    );
    assert!(!lives(ended.pid()) && lives(kept.pid()));
    let third = second.start(script("web-1", "exec sleep 1000")).unwrap();
    assert!(lives(third.pid()));
    assert_eq!(
        second.stop(Duration::from_secs(5)).await.problems,
        Vec::<String>::new()
    );
    assert_eq!(cgroups_of(&run_id("second")), Vec::<PathBuf>::new());
    assert_eq!(cgroup_of("self"), home);
}

#[tokio::test]
async fn cgroup_parent_holds_the_run() {
    let Some(ground) = Ground::of_root() else {
        return;
    };
    let unified = galileo_probes::mounts::Hierarchies::read()
        .unwrap()
        .unified
        .unwrap();
    let parent = format!("/galileo-test-parent-{}", std::process::id());
    let folder = unified.folder(&parent).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let options = Options {
        cgroup_parent: Some(PathBuf::from(&parent)),
        ..ground.options("below")
    };
    let mut platform = LocalPlatform::open(options).unwrap();
    let replica = platform
        .start(ReplicaSpec {
            cpu_limit: Some(0.5),
            ..script("web-0", "exec sleep 1000")
        })
        .unwrap();
    assert_eq!(
        replica.cgroup().unwrap().name,
        format!("{parent}/galileo/{}/web-0", run_id("below"))
    );
    assert_eq!(
        platform.stop(Duration::ZERO).await.problems,
        Vec::<String>::new()
    );
    std::fs::remove_dir(&folder).unwrap();
    assert_eq!(cgroups_of(&run_id("below")), Vec::<PathBuf>::new());
}
