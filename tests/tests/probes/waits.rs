//! Who waited for a CPU, and for whom.

use std::ops::RangeInclusive;

use galileo_probes::{Blame, Causes, CgroupStats, Config, Snapshot, Throttled, cgroup::CgroupId};
use galileo_tests::{
    flood,
    pod::{Pod, Process},
    turn,
    wait::until,
    watch::{Watch, reading_ns},
};

fn spin_on(pod: &Pod, cpu: &str) -> Process {
    pod.start(&["taskset", "-c", cpu, "sh", "-c", "while :; do :; done"])
}

/// What happened from when all of `pods` run until each has been on a CPU for a second; and how long a wait may be that is
/// missing at either end.
fn observe(watch: &Watch, pods: &[&Pod]) -> (Snapshot, u64) {
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
    let after = reached(1_000_000_000);
    (
        after.since(&before),
        longest_wait(watch, &before, &after, pods),
    )
}

/// The longest wait of one of `pods` that may be missing in a window, of which it is counted at the end: so that is
/// waited for. It is some milliseconds long, or seconds where a real-time task holds the CPU.
fn longest_wait(watch: &Watch, before: &Snapshot, after: &Snapshot, pods: &[&Pod]) -> u64 {
    let longest = |pod: &&Pod| {
        until("a wait ends", || {
            let later = watch.snapshot();
            let wait = |snapshot: &Snapshot| snapshot.cgroups[&pod.id].wait.clone();
            // Two more: one of two tasks may wait on.
            (wait(&later).count() >= wait(after).count() + 2).then(|| {
                let ended = later.since(before).cgroups[&pod.id].wait.clone();
                ended.buckets().last().map_or(0, |(_, high, _)| high)
            })
        })
    };
    pods.iter().map(longest).max().unwrap_or(0)
}

fn blamed(snapshot: &Snapshot, victim: CgroupId, aggressor: CgroupId) -> u64 {
    snapshot
        .blames
        .get(&Blame { victim, aggressor })
        .copied()
        .unwrap_or(0)
}

/// `a` is `b` within 3 %, 20 ms, and a wait of this length at either end.
fn assert_close(what: &str, a: u64, b: u64, longest: u64) {
    assert!(
        a.abs_diff(b) <= b * 3 / 100 + 20_000_000 + 2 * longest,
        "{what}: {a} ns and {b} ns, {longest} ns the longest wait"
    );
}

fn window(snapshot: &Snapshot) -> u64 {
    snapshot.end_ns - snapshot.begin_ns
}

/// The parts of all waits add up, and next to nothing is unexplained.
fn assert_explained(stats: &CgroupStats) {
    let parts =
        stats.wait_own_ns + stats.wait_other_ns + stats.wait_idle_ns + stats.wait_unexplained_ns;
    assert_eq!(parts, stats.wait.sum_ns);
    assert!(
        stats.wait_unexplained_ns <= stats.wait.sum_ns / 200,
        "{} ns of {} ns",
        stats.wait_unexplained_ns,
        stats.wait.sum_ns
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
    let (seen, longest) = observe(&watch, &[&one, &two]);
    for (victim, aggressor) in [(&one, &two), (&two, &one)] {
        let stats = &seen.cgroups[&victim.id];
        assert_close(
            "running and waiting is all a spinner does",
            stats.on_cpu_ns + stats.wait.sum_ns,
            window(&seen),
            longest,
        );
        assert_close(
            "waits for the other while that runs",
            blamed(&seen, victim.id, aggressor.id),
            seen.cgroups[&aggressor.id].on_cpu_ns,
            longest,
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
        assert_close("all that are blamed", all, stats.wait_other_ns, longest);
        // Nobody is blamed for more time than it ran.
        for (blame, ns) in seen
            .blames
            .iter()
            .filter(|(blame, _)| blame.victim == victim.id)
        {
            let ran = seen.cgroups[&blame.aggressor].on_cpu_ns;
            assert!(
                *ns <= ran + 20_000_000 + reading_ns(&seen),
                "{blame:?}: {ns} ns of {ran} ns"
            );
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
    let (seen, longest) = observe(&watch, &[&pod]);
    let stats = &seen.cgroups[&pod.id];
    // While one runs the other waits for it; while another cgroup runs both wait.
    assert_close("own", stats.wait_own_ns, stats.on_cpu_ns, longest);
    assert_close(
        "two tasks",
        stats.on_cpu_ns + stats.wait.sum_ns,
        2 * window(&seen),
        longest,
    );
    assert_explained(stats);
    assert_eq!(blamed(&seen, pod.id, pod.id), 0);
}

/// What happened from a first look until `pod` was throttled for a second, and how long it was meanwhile.
fn observe_throttled(watch: &Watch, pod: &Pod) -> (Snapshot, u64) {
    let (before, throttled_before) = until("it is throttled", || {
        (pod.throttled_ns() > 0).then(|| (watch.snapshot(), pod.throttled_ns()))
    });
    until("it is throttled for long", || {
        let (after, throttled) = (watch.snapshot(), pod.throttled_ns() - throttled_before);
        (throttled >= 1_000_000_000).then(|| (after.since(&before), throttled))
    })
}

/// One period of the limit may be missing at either end: throttling is told when it ends, and so is a wait.
const PERIODS: u64 = 200_000_000;

#[test]
fn a_cgroup_at_its_own_limit_waits_for_nobody() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let pod = Pod::limited("throttled", 20);
    let _running = spin_on(&pod, "1");
    let (seen, throttled) = observe_throttled(&watch, &pod);
    let stats = &seen.cgroups[&pod.id];
    assert_explained(stats);
    // A fifth of the time it runs; the rest it waits.
    assert!(
        stats.on_cpu_ns <= window(&seen) / 5 + PERIODS,
        "{} ns of {} ns",
        stats.on_cpu_ns,
        window(&seen)
    );
    let causes = Causes::of(&seen, &[pod.id], Throttled::alone(throttled));
    assert_eq!(
        causes.others_ns + causes.own_ns + causes.limit_ns + causes.unexplained_ns,
        stats.wait.sum_ns
    );
    assert_eq!(causes.own_ns, 0);
    assert!(
        causes.limit.low_ns + PERIODS >= throttled && causes.limit_ns <= throttled,
        "{causes:?}, {throttled} ns throttled"
    );
    // What others of this machine ran on that CPU besides its limit is all that can be theirs.
    let besides = stats.wait.sum_ns - causes.limit_ns;
    assert!(causes.others_ns <= besides, "{causes:?}");
    assert!(
        causes.limit.high_ns >= causes.limit.low_ns && causes.limit.high_ns <= causes.total_ns,
        "{causes:?}"
    );
}

#[test]
fn a_neighbour_that_runs_while_the_limit_holds_a_cgroup_is_not_to_blame() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let (pod, neighbour) = (Pod::limited("throttled", 20), Pod::new("neighbour"));
    let _running = (spin_on(&pod, "1"), spin_on(&neighbour, "1"));
    let (seen, throttled) = observe_throttled(&watch, &pod);
    assert_explained(&seen.cgroups[&pod.id]);
    // By what ran on the CPU alone others would be to blame for nearly everything …
    let ran = seen.cgroups[&pod.id].wait_other_ns;
    assert!(blamed(&seen, pod.id, neighbour.id) > 0);
    assert!(ran + PERIODS >= throttled, "{ran} ns, {throttled} ns");
    // … but most of it the limit held the pod anyway.
    let causes = Causes::of(&seen, &[pod.id], Throttled::alone(throttled));
    assert!(
        causes.limit_ns + PERIODS >= throttled,
        "{causes:?}, {throttled} ns"
    );
    let left: u64 = causes.others.iter().map(|(_, ns)| ns).sum();
    assert!(
        left <= ran.saturating_sub(causes.limit_ns),
        "{causes:?}, {ran} ns"
    );
}

#[test]
fn a_sleeper_waits_for_nobody() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let (sleeper, spinner) = (Pod::new("sleeper"), Pod::new("spinner"));
    let mut sleeping = sleeper.start(&["taskset", "-c", "1", "cat"]);
    sleeping.ask("started");
    sleeping.sleeps();
    let _running = spin_on(&spinner, "1");
    let before = watch.snapshot();
    observe(&watch, &[&spinner]);
    let seen = watch.snapshot().since(&before);
    let stats = &seen.cgroups[&sleeper.id];
    assert_eq!((stats.wait.count(), stats.wait.sum_ns), (0, 0));
    assert_eq!(blamed(&seen, sleeper.id, spinner.id), 0);
}

#[test]
fn the_first_wait_of_a_task_that_slept_before_is_laid_on_who_ran() {
    let _turn = turn();
    let (sleeper, spinner) = (Pod::new("sleeper"), Pod::new("spinner"));
    let mut sleeping = sleeper.start(&["taskset", "-c", "1", "cat"]);
    sleeping.ask("started");
    sleeping.sleeps();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let _running = spin_on(&spinner, "1");
    observe(&watch, &[&spinner]);
    assert!(!watch.snapshot().cgroups.contains_key(&sleeper.id));
    sleeping.ask("woken");
    sleeping.sleeps();
    let seen = watch.snapshot();
    let stats = &seen.cgroups[&sleeper.id];
    assert!(stats.wait.count() >= 1);
    assert_explained(stats);
}

#[test]
fn switches_are_told_apart_as_the_kernel_tells_them() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let (pod, rival) = (Pod::new("pod"), Pod::new("rival"));
    let mut sleeping = pod.start(&["taskset", "-c", "1", "cat"]);
    let _rival = spin_on(&rival, "1");
    // One that sleeps, and in the same pod one from which the CPU is taken.
    let spinning = spin_on(&pod, "1");
    sleeping.ask("started");
    sleeping.sleeps();
    let kernel = || {
        let both = [sleeping.id(), spinning.id()].map(switches);
        (both[0].0 + both[1].0, both[0].1 + both[1].1)
    };
    // What is read lies between two readings of the kernel's, however far apart these are.
    let read = || (kernel(), watch.snapshot(), kernel());
    let before = read();
    observe(&watch, &[&pod, &rival]);
    let after = read();
    let stats = after.1.since(&before.1).cgroups[&pod.id].clone();
    let voluntary = (after.0.0 - before.2.0)..=(after.2.0 - before.0.0);
    let involuntary = (after.0.1 - before.2.1)..=(after.2.1 - before.0.1);
    assert!(*involuntary.start() > 20, "{involuntary:?}");
    // A switch is told before the kernel counts it, or behind.
    let within = |counted: u64, kernel: &RangeInclusive<u64>| {
        (counted + 3 >= *kernel.start()) && counted <= *kernel.end() + 3
    };
    assert!(
        within(stats.switches_voluntary, &voluntary)
            && within(stats.switches_involuntary, &involuntary),
        "{stats:?}: {voluntary:?} and {involuntary:?} by the kernel"
    );
}

/// Voluntary and other switches of a process, by /proc.
fn switches(id: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let number = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    };
    (
        number("voluntary_ctxt_switches:"),
        number("nonvoluntary_ctxt_switches:"),
    )
}

#[test]
fn nobody_is_blamed_for_interrupts() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config {
        interrupts: true,
        ..Config::default()
    }) else {
        return;
    };
    let (victim, flooder) = (Pod::new("victim"), Pod::new("flooder"));
    let _spinning = spin_on(&victim, "1");
    let mut flooding = flooder.start(&flood::from_cpu_0_to_cpu_1());
    assert_eq!(flooding.line(), "floods");
    let before = watch.snapshot();
    let seen = until("softirqs and spinning", || {
        let seen = watch.snapshot().since(&before);
        let softirq = seen.cpus[1].interrupts?.softirq_ns;
        let spun = seen.cgroups.get(&victim.id)?.on_cpu_ns;
        (softirq >= 50_000_000 && spun >= 500_000_000).then_some(seen)
    });
    let interrupts = seen.cpus[1].interrupts.unwrap();
    assert!(interrupts.softirqs > 100, "{interrupts:?}");
    assert!(
        interrupts.softirq_ns + interrupts.irq_ns <= window(&seen),
        "{interrupts:?}"
    );
    // It never had that CPU, so it disturbed nobody there, however much of the CPU its packets took.
    assert_eq!(blamed(&seen, victim.id, flooder.id), 0);
    let stats = &seen.cgroups[&victim.id];
    let longest = longest_wait(&watch, &before, &watch.snapshot(), &[&victim]);
    assert_close(
        "running and waiting is all a spinner does",
        stats.on_cpu_ns + stats.wait.sum_ns,
        window(&seen),
        longest,
    );
    assert_explained(stats);
}
