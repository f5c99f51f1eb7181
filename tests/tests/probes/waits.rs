//! Who waited for a CPU, and for whom.

use galileo_probes::{Blame, CgroupStats, Config, Snapshot, cgroup::CgroupId};
use galileo_tests::{
    pod::{Pod, Process},
    turn,
    wait::until,
    watch::Watch,
};

fn spin_on(pod: &Pod, cpu: &str) -> Process {
    pod.start(&["taskset", "-c", cpu, "sh", "-c", "while :; do :; done"])
}

/// What happened from when all of `pods` run until `pod` has been on a CPU for two thirds of a second.
fn observe(watch: &Watch, pods: &[&Pod]) -> Snapshot {
    let on_cpu = |snapshot: &Snapshot, pod: &Pod| {
        snapshot
            .cgroups
            .get(&pod.id)
            .map_or(0, |stats| stats.on_cpu_ns)
    };
    let reached = |least: u64| {
        until("all spin", || {
            let snapshot = watch.snapshot();
            pods.iter()
                .all(|pod| on_cpu(&snapshot, pod) >= least)
                .then_some(snapshot)
        })
    };
    let before = reached(50_000_000);
    reached(1_000_000_000).since(&before)
}

fn blamed(snapshot: &Snapshot, victim: CgroupId, aggressor: CgroupId) -> u64 {
    snapshot
        .blames
        .get(&Blame { victim, aggressor })
        .copied()
        .unwrap_or(0)
}

/// `a` is `b` within 3 % and 20 ms: a wait is counted when it ends, so up to one turn on the CPU (some milliseconds) is
/// missing at either end of a window.
fn assert_close(what: &str, a: u64, b: u64) {
    assert!(
        a.abs_diff(b) <= b * 3 / 100 + 20_000_000,
        "{what}: {a} ns and {b} ns"
    );
}

fn window(snapshot: &Snapshot) -> u64 {
    snapshot.end_ns - snapshot.begin_ns
}

/// Parts of a wait that are told apart add up, and what nothing explains is little: on a busy machine more may run
/// during one wait than is remembered.
fn assert_explained(stats: &CgroupStats) {
    let explained = stats.wait_own_ns + stats.wait_other_ns;
    let all = stats.wait.sum_ns;
    assert!(
        (all / 10 * 9..=all).contains(&explained),
        "{explained} ns of {all} ns"
    );
}

#[test]
fn two_cgroups_on_one_cpu_each_wait_while_the_other_runs() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let (one, two) = (Pod::new("one"), Pod::new("two"));
    let _running = (spin_on(&one, "0"), spin_on(&two, "0"));
    let seen = observe(&watch, &[&one, &two]);
    for (victim, aggressor) in [(&one, &two), (&two, &one)] {
        let stats = &seen.cgroups[&victim.id];
        assert_close(
            "running and waiting is all a spinner does",
            stats.on_cpu_ns + stats.wait.sum_ns,
            window(&seen),
        );
        assert_close(
            "waits for the other while that runs",
            blamed(&seen, victim.id, aggressor.id),
            seen.cgroups[&aggressor.id].on_cpu_ns,
        );
        assert_eq!(stats.wait_own_ns, 0);
        assert_explained(stats);
        let all: u64 = seen
            .blames
            .iter()
            .filter(|(blame, _)| blame.victim == victim.id)
            .map(|(_, ns)| ns)
            .sum();
        // The matrix is read some time after the counters.
        assert_close("all that are blamed", all, stats.wait_other_ns);
        // Nobody is blamed for more time than it ran.
        for (blame, ns) in seen
            .blames
            .iter()
            .filter(|(blame, _)| blame.victim == victim.id)
        {
            let ran = seen.cgroups[&blame.aggressor].on_cpu_ns;
            assert!(*ns <= ran + 20_000_000, "{blame:?}: {ns} ns of {ran} ns");
        }
    }
    // The scheduler is fair between the two, whatever else the machine does.
    let (one, two) = (
        seen.cgroups[&one.id].on_cpu_ns,
        seen.cgroups[&two.id].on_cpu_ns,
    );
    assert!(
        one.abs_diff(two) <= (one + two) / 10,
        "{one} ns and {two} ns"
    );
}

#[test]
fn own_tasks_are_not_blamed_on_others() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let pod = Pod::new("both");
    let _running = (spin_on(&pod, "1"), spin_on(&pod, "1"));
    let seen = observe(&watch, &[&pod]);
    let stats = &seen.cgroups[&pod.id];
    // While one runs the other waits for it; while another cgroup runs both wait.
    assert_close("own", stats.wait_own_ns, stats.on_cpu_ns);
    assert_close(
        "two tasks",
        stats.on_cpu_ns + stats.wait.sum_ns,
        2 * window(&seen),
    );
    assert_explained(stats);
    assert_eq!(blamed(&seen, pod.id, pod.id), 0);
}
