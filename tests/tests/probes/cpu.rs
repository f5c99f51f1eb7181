//! Time on a CPU.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use galileo_probes::{Blame, Closure, Config, Ledger, RootTasks, Snapshot, cgroup};
use galileo_tests::{
    accounts::Accounts,
    pod::Pod,
    turn,
    wait::{try_until, until},
    watch::Watch,
};

/// Spins for so many milliseconds of CPU time each time it is asked, and tells what it has used in all, in nanoseconds.
const SPINNER: &str = r#"
import resource, sys, time
def used():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
for line in sys.stdin:
    end = time.process_time() + int(line) / 1e3
    while time.process_time() < end:
        pass
    print(int(used() * 1e9))
"#;

#[test]
fn cpu_time_of_a_spinning_process_is_what_getrusage_says() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let pod = Pod::new("spinner");
    let mut spinner = pod.python(SPINNER, &[]);
    let used_before: u64 = spinner.ask("1").parse().unwrap();
    spinner.sleeps();
    let (before, accounts) = (watch.snapshot(), Accounts::now());
    let used: u64 = spinner.ask("1000").parse::<u64>().unwrap() - used_before;
    spinner.sleeps();
    let seen = watch.snapshot().since(&before);
    let counted = seen.cgroups[&pod.id].on_cpu_ns;
    let lacking = accounts.lack_ns(&seen);
    // 1 % and what lies between the reading of getrusage and sleep, at either end: writing a line takes some 50 µs, on a
    // CPU that others want too.
    assert!(
        counted.abs_diff(used) <= used / 100 + 1_000_000 + if counted > used { lacking } else { 0 },
        "{counted} ns counted, {used} ns used, which may lack {lacking} ns"
    );
}

#[test]
fn time_of_the_root_cgroup_is_told_by_task() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let mount = cgroup::mount_point().unwrap();
    let root = cgroup::id(&mount).unwrap();
    let pod = Pod::new("left");
    let named = format!("open('/proc/self/comm', 'w').write('in-no-pod')\n{SPINNER}");
    let mut spinner = pod.python(&named, &[]);
    let used_before: u64 = spinner.ask("1").parse().unwrap();
    spinner.sleeps();
    // Once it runs it is in the pod.
    fs::write(mount.join("cgroup.procs"), spinner.id().to_string()).unwrap();
    let (tasks, before) = (RootTasks::read().unwrap(), watch.snapshot());
    let used: u64 = spinner.ask("300").parse::<u64>().unwrap() - used_before;
    spinner.sleeps();
    let counted = watch.snapshot().since(&before).cgroups[&root].on_cpu_ns;
    let time = RootTasks::read().unwrap().since(&tasks);
    let told = time.processes["in-no-pod"];
    // What lies between getrusage and sleep, see above.
    assert!(
        told.abs_diff(used) <= used / 100 + 1_000_000,
        "{told} {used}"
    );
    assert!(counted + 1_000_000 >= told, "{counted} {told}");
    assert!(time.kernel_threads.contains_key("ksoftirqd"), "{time:?}");
}

/// Reads the CPU clock of another process (`clock_getcpuclockid(3)`): exact to the last time that the scheduler's accounts were
/// brought up to date on the CPU it runs on, at the latest by a tick, or by the first one after the host held that CPU.
const CLOCK: &str = r#"
import sys, time
clock = (~int(sys.argv[1]) << 3) | 2
for line in sys.stdin:
    begin = now = time.clock_gettime_ns(clock)
    while line == "next\n" and now == begin:
        now = time.clock_gettime_ns(clock)
    print(now)
"#;

#[test]
fn cpu_time_of_a_process_that_still_runs_counts_up_to_now() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let (pod, other) = (Pod::new("spinner"), Pod::new("clock"));
    let spinner = pod.start(&["sh", "-c", "while :; do :; done"]);
    let mut clock = other.python(CLOCK, &[&spinner.id().to_string()]);
    // What is read lies between two readings of the clock, however far apart these are. The second one is brought up to date
    // after what is read; the first one may lag behind it.
    let mut read = || {
        let accounts = Accounts::now();
        let mut clock = |which| clock.ask(which).parse::<u64>().unwrap();
        (clock("now"), watch.snapshot(), clock("next"), accounts)
    };
    let unseen = |snapshot: &Snapshot| snapshot.ledger[&Ledger::SwitchUnseen];
    let mut first = read();
    let (mut readings, mut excused) = (0, 0);
    while readings < 20 {
        let last = read();
        let (least, most) = (last.0.saturating_sub(first.2), last.2 - first.0);
        if least < 100_000_000 {
            continue;
        }
        let counted = last.1.since(&first.1).cgroups[&pod.id].on_cpu_ns;
        let slack = most / 100 + 1_000_000 + first.3.lack_ns(&last.1.since(&first.1));
        if (least.saturating_sub(slack)..=most + slack).contains(&counted) {
            readings += 1;
            first = last;
            continue;
        }
        // A kernel may hide a switch: what runs now is then nobody's, or another's, until the spinner leaves. Nothing else may be the
        // reason, and it is told.
        excused += 1;
        let off = format!("{counted} ns counted, {least} to {most} ns used");
        assert!(excused < 20, "{off}, and {excused} switches were not seen");
        until(&format!("a switch that was not seen, as {off}"), || {
            (unseen(&watch.snapshot()) > unseen(&first.1)).then_some(())
        });
        first = read();
    }
}

/// Starts and ends processes for a while, in other words gives the scheduler all kinds of work.
const CHURN: &str = r#"
import subprocess, sys
sys.stdin.readline()
for _ in range(int(sys.argv[1])):
    children = [subprocess.Popen(["true"]) for _ in range(4)]
    for child in children:
        child.wait()
print("done", flush=True)
sys.stdin.readline()
"#;

/// All time is a cgroup's, or idle, or of a task whose cgroup shows when it leaves: one that runs for the first time since the
/// probes were loaded, or after a switch that the kernel hid. Of the time between two readings that are 5 ms apart such a task had up
/// to a third, in three of eight runs of this test: so it is told apart, and only what is not even that is lost.
fn assert_closes(what: &str, before: &Snapshot, after: &Snapshot) {
    let closure = Closure::between(before, after);
    assert!(
        closure.lost_ns().abs() <= closure.watched_ns / 200,
        "{what}: {closure:?}"
    );
    assert_eq!(closure.unwatched_ns, 0, "{what}");
    let window = i64::try_from(after.begin_ns - before.end_ns).unwrap();
    let cpus = after.cpus.iter().filter(|cpu| cpu.watched_ns > 0).count() as i64;
    assert!(closure.watched_ns >= cpus * window, "{what}: {closure:?}");
}

#[test]
fn cgroups_and_idle_are_all_the_time_of_all_cpus() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let start = watch.snapshot();
    // Each reading closes with the one before, however short the time between them.
    let mut before = start.clone();
    let end = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(5));
        let after = watch.snapshot();
        assert_closes("at rest", &before, &after);
        before = after;
    }
    let (one, two) = (Pod::new("one"), Pod::new("two"));
    let _spinner = one.start(&["sh", "-c", "while :; do :; done"]);
    let mut churn = two.python(CHURN, &["50"]);
    churn.say("go");
    for _ in 0..100 {
        thread::sleep(Duration::from_millis(2));
        let after = watch.snapshot();
        assert_closes("with work", &before, &after);
        before = after;
    }
    assert_eq!(churn.line(), "done");
    // As a run reads, on a machine where nearly all tasks have run once: cgroups and idle alone are all, but where one of those tasks is
    // on a CPU at that moment.
    let mut before = watch.snapshot();
    let (mut closed, mut readings) = (0, 0);
    while closed < 10 {
        thread::sleep(Duration::from_millis(100));
        let after = watch.snapshot();
        assert_closes("as a run reads", &before, &after);
        let closure = Closure::between(&before, &after);
        if closure.missing().abs() <= 0.005 {
            closed += 1;
        }
        readings += 1;
        // After a switch that was hidden the spinner's time is nobody's until it leaves the CPU.
        let hidden = after.since(&start).ledger[&Ledger::SwitchUnseen];
        let open = readings - closed;
        assert!(
            open <= 10 + 4 * hidden && readings <= 100,
            "{closed} of {readings} close, {hidden} switches were hidden: {closure:?}"
        );
        before = after;
    }
    // Of the whole, what is nobody's at either end becomes little.
    let last = until("cgroups and idle alone close within 0.5 %", || {
        let last = watch.snapshot();
        assert_closes("from first to last", &start, &last);
        (Closure::between(&start, &last).missing().abs() <= 0.005).then_some(last)
    });
    assert!(last.since(&start).cgroups[&two.id].on_cpu_ns > 0);
}

/// Runs and sleeps by turns, in no step with ticks: kernels without a clock of their own for it call a CPU idle by what a tick finds there.
const PULSE: &str = r#"
import time
while True:
    end = time.monotonic() + 0.00110
    while time.monotonic() < end:
        pass
    time.sleep(0.00117)
"#;

/// How long this CPU has had nothing to do, by the kernel's own account.
fn idle_ns(cpu: u32) -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let name = format!("cpu{cpu} ");
    let line = stat.lines().find_map(|line| line.strip_prefix(&name));
    let ticks = line.unwrap().split_whitespace().skip(3).take(2);
    // Idle, and idle while something waits for a disk; in hundredths of a second (proc_stat(5)).
    ticks
        .map(|ticks| ticks.parse::<u64>().unwrap() * 10_000_000)
        .sum()
}

#[test]
fn the_idle_task_idles_and_never_waits() {
    // D-18 in the kernel: the idle task can always run, its cgroup is the root, and it gets the CPU back with each sleep of the pod's.
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let root = cgroup::id(&cgroup::mount_point().unwrap()).unwrap();
    let pod = Pod::new("pulse");
    // Of a class that gives way to whoever else wakes up there, so that nobody else waits for it.
    let _pulse = pod.start(&[
        "chrt", "--idle", "0", "taskset", "-c", "1", "python3", "-c", PULSE,
    ]);
    // What is read lies between two readings of the kernel's account, however far apart these are.
    let read = || (idle_ns(1), watch.snapshot(), idle_ns(1));
    // Again if the CPU is never free, as it takes its turn among others then. If the idle task waited, it would while all the pod's
    // time passes, each time.
    let mut rounds = Vec::new();
    let alone = try_until(|| {
        let before = read();
        let (used, least, most) = until("the pod runs", || {
            let after = read();
            let used = after.1.since(&before.1);
            let ran = used.cgroups.get(&pod.id)?.on_cpu_ns;
            // The kernel may take back what it called idle while something waits for a disk.
            let least = after.0.saturating_sub(before.2);
            let most = after.2.saturating_sub(before.0);
            (ran > 100_000_000).then_some((used, least, most))
        });
        let window = used.end_ns - used.begin_ns;
        let counted = used.cpus[1].idle_ns;
        let slack = window / 20 + 30_000_000;
        assert!(
            (least.saturating_sub(slack)..=most + slack).contains(&counted),
            "{counted} ns counted, {least} to {most} ns by the kernel, in {window} ns"
        );
        let longest = used.cgroups[&root].wait.buckets().last();
        let longest = longest.map_or(0, |(_, high, _)| high);
        assert!(
            longest < 2 * window,
            "a wait of {longest} ns in {window} ns"
        );
        let ran = used.cgroups[&pod.id].on_cpu_ns;
        let blame = Blame {
            victim: root,
            aggressor: pod.id,
        };
        let waited = used.blames.get(&blame).copied().unwrap_or(0);
        rounds.push((waited, ran));
        (waited < ran / 2).then_some(())
    });
    assert!(alone.is_some(), "ns waited and run: {rounds:?}");
}

#[test]
fn cpu_time_closes_again_after_a_pause() {
    let _turn = turn();
    let Some(mut watch) = Watch::start(&Config::default()) else {
        return;
    };
    let pod = Pod::new("paused");
    let _spinner = pod.start(&["sh", "-c", "while :; do :; done"]);
    let on_cpu = |snapshot: &Snapshot| {
        let stats = snapshot.cgroups.get(&pod.id);
        stats.map_or(0, |stats| stats.on_cpu_ns)
    };
    let before = until("the pod spins", || {
        let snapshot = watch.snapshot();
        (on_cpu(&snapshot) > 10_000_000).then_some(snapshot)
    });
    watch.probes.pause();
    let paused = Instant::now();
    thread::sleep(Duration::from_millis(200));
    let pause = paused.elapsed();
    watch.probes.resume().unwrap();
    let after = until("the pod spins on", || {
        let snapshot = watch.snapshot();
        (on_cpu(&snapshot) > on_cpu(&before) + 20_000_000).then_some(snapshot)
    });
    let closure = Closure::between(&before, &after);
    assert!(
        closure.lost_ns().abs() <= closure.watched_ns / 200,
        "{closure:?}"
    );
    let cpus = after.cpus.iter().filter(|cpu| cpu.watched_ns > 0).count() as i64;
    let pause = i64::try_from(pause.as_nanos()).unwrap();
    assert!(closure.unwatched_ns >= cpus * pause, "{closure:?}");
    // What it used while nobody watched is not its. What tasks used before the first reading whose cgroup showed later is.
    let used = closure.cgroups_ns + closure.unassigned_ns;
    assert!(
        used <= closure.watched_ns + closure.watched_ns / 200,
        "{closure:?}"
    );
}

#[test]
fn cpu_time_of_a_cgroup_is_what_the_kernel_accounts() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let pod = Pod::new("accounted");
    // Long runs, whatever else the machine does: at a switch the two clocks are read some hundred nanoseconds apart, and the account
    // of who is preempted lacks what passes until then (docs/measurements.md). Nothing preempts a task of this class.
    let mut spinner = pod.start(&["chrt", "--fifo", "1", "python3", "-u", "-c", SPINNER]);
    spinner.ask("1");
    spinner.sleeps();
    let (before, accounted_before) = (watch.snapshot(), pod.accounted_ns());
    let accounts = Accounts::now();
    spinner.ask("700");
    spinner.sleeps();
    let seen = watch.snapshot().since(&before);
    let counted = seen.cgroups[&pod.id].on_cpu_ns;
    let accounted = pod.accounted_ns() - accounted_before;
    let lacking = accounts.lack_ns(&seen);
    assert!(accounted >= 700_000_000, "{accounted} ns are little");
    assert!(
        counted.abs_diff(accounted)
            <= (accounted / 100).max(5_000_000) + if counted > accounted { lacking } else { 0 },
        "{counted} ns counted, {accounted} ns accounted, which may lack {lacking} ns"
    );
}
