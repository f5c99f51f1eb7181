//! What replicas used, what they may use, where they run.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use galileo_experiment::local::ReplicaSpec;

use crate::ground::{Ground, cgroup_of, command, script, spinner, wait_for};

#[tokio::test]
async fn cpu_time_is_what_the_process_measures_of_itself() {
    let Some(ground) = Ground::of_root() else {
        return;
    };
    let mut platform = ground.open("cpu");
    let replica = platform.start(spinner("spin-0", 1.0)).unwrap();
    let exit = replica.wait().await;
    let read = replica.usage().unwrap();
    let printed: f64 = fs::read_to_string(&replica.output().stdout)
        .unwrap()
        .parse()
        .unwrap();

    assert!(exit.is_success(), "{exit}");
    let (accounted, measured) = (read.cpu_ns as f64 / 1e9, printed);
    assert!(
        (accounted - measured).abs() < measured * 0.01 + 0.005,
        "accounted {accounted}, measured {measured}"
    );
    assert_eq!(read.throttled_ns, None);
    assert!(read.begin_ns <= read.end_ns && read.end_ns - read.begin_ns < 1_000_000_000);
    assert_eq!(
        platform.stop(Duration::ZERO).await.problems,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn own_cpu_time_grows_with_own_work_only() {
    let Some(ground) = Ground::of_root() else {
        return;
    };
    let mut platform = ground.open("own");
    let replica = platform.start(spinner("spin-0", 0.5)).unwrap();
    let before = platform.own_usage().unwrap();
    replica.wait().await;
    let idle = platform.own_usage().unwrap();
    assert!(
        idle.cpu_ns - before.cpu_ns < 250_000_000,
        "{before:?} {idle:?}"
    );

    let mut sum = 0_u64;
    let worked = wait_for("own CPU time", || {
        sum = (0..1_000_000_u64).fold(sum, |sum, n| sum.wrapping_mul(31).wrapping_add(n));
        platform
            .own_usage()
            .ok()
            .filter(|read| read.cpu_ns - idle.cpu_ns > 100_000_000)
    });
    assert!(
        worked.end_ns - idle.begin_ns >= 50_000_000,
        "two CPUs cannot do it faster ({sum})"
    );
    assert_eq!(cgroup_of("self"), platform.own_cgroup().unwrap().name);
}

#[tokio::test]
async fn cpu_limit_of_a_fifth_throttles() {
    let Some(ground) = Ground::of_root() else {
        return;
    };
    let mut platform = ground.open("fifth");
    let replica = platform
        .start(ReplicaSpec {
            cpu_limit: Some(0.2),
            ..spinner("spin-0", 100.0)
        })
        .unwrap();
    let first = replica.usage().unwrap();
    let last = wait_for("300 ms of CPU time", || {
        replica
            .usage()
            .ok()
            .filter(|read| read.cpu_ns - first.cpu_ns >= 300_000_000)
    });

    // 300 ms are 15 periods of 20 ms each; the first and the last of them may be cut short.
    let took_ns = last.end_ns - first.begin_ns;
    assert!(
        took_ns >= 1_300_000_000,
        "{took_ns} ns for 300 ms of CPU time"
    );
    // Nearly all the rest of that time, less what others on this machine kept it waiting for; in another unit it would be off a
    // thousandfold.
    assert!(last.throttled_ns.unwrap() > 100_000_000, "{last:?}");
}

#[tokio::test]
async fn memory_limit_is_named_as_the_reason_of_the_end() {
    let Some(ground) = Ground::of_root() else {
        return;
    };
    let mut platform = ground.open("memory");
    let spec = command(
        "fat-0",
        &[
            "perl",
            "-e",
            "my @kept; push @kept, 'x' x 1_000_000 while 1",
        ],
    );
    let replica = platform
        .start(ReplicaSpec {
            memory_limit_bytes: Some(32 << 20),
            ..spec
        })
        .unwrap();
    let exit = replica.wait().await;
    assert!(exit.oom_killed, "{exit}");
    assert_eq!(
        exit.to_string(),
        "was killed by the kernel at its memory limit"
    );
    assert_eq!(
        platform.stop(Duration::ZERO).await.problems,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn pinning_holds_for_what_the_replica_starts() {
    let Some(ground) = Ground::of_root() else {
        return;
    };
    let mut platform = ground.open("pin");
    let replica = platform
        .start(ReplicaSpec {
            cpus: vec![1],
            ..script("pin-0", "grep Cpus_allowed_list /proc/self/status")
        })
        .unwrap();
    replica.wait().await;
    assert_eq!(
        fs::read_to_string(&replica.output().stdout).unwrap(),
        "Cpus_allowed_list:\t1\n"
    );
}

#[tokio::test]
async fn cgroup_is_that_of_the_process_and_its_id_the_inode() {
    let Some(ground) = Ground::of_root() else {
        return;
    };
    let mut platform = ground.open("id");
    let replica = platform.start(script("web-0", "exec sleep 1000")).unwrap();
    let cgroup = replica.cgroup().unwrap();
    assert_eq!(cgroup_of(&replica.pid().to_string()), cgroup.name);
    assert_eq!(fs::metadata(&cgroup.folder).unwrap().ino(), cgroup.id);
    assert_eq!(replica.members(), [replica.pid()]);
}

#[tokio::test]
async fn cgroups_that_the_application_makes_count_and_are_removed() {
    let Some(ground) = Ground::of_root() else {
        return;
    };
    let mut platform = ground.open("child");
    let text = "mkdir -p \"$CGROUP/inner/most\" && echo 0 > \"$CGROUP/inner/most/cgroup.procs\" && \
                echo 1 > inside && i=0 && while [ $i -lt 200000 ]; do i=$((i+1)); done; echo 1 > worked; exec sleep 1000";
    let folder = platform
        .own_cgroup()
        .unwrap()
        .folder
        .parent()
        .unwrap()
        .join("maker-0");
    let mut spec = script("maker-0", text);
    spec.env
        .insert("CGROUP".to_owned(), folder.display().to_string());
    spec.cwd = Some(ground.state.path().to_owned());
    let replica = platform.start(spec).unwrap();
    wait_for("the work inside", || {
        ground.state.path().join("worked").exists().then_some(())
    });

    assert_eq!(
        cgroup_of(&replica.pid().to_string()),
        format!("{}/inner/most", replica.cgroup().unwrap().name)
    );
    assert!(replica.usage().unwrap().cpu_ns > 20_000_000);
    assert_eq!(replica.cgroup().unwrap().ids().len(), 3);
    assert_eq!(replica.members(), [replica.pid()]);
    let report = platform.stop(Duration::ZERO).await;
    assert_eq!(report.problems, Vec::<String>::new());
    assert!(!folder.exists());
}
