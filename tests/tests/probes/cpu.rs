//! Time on a CPU.

use galileo_probes::Config;
use galileo_tests::{pod::Pod, turn, watch::Watch};

/// Time that the hypervisor gave this machine's CPUs to others, in nanoseconds. The kernel takes it off a task's clock
/// (`PARAVIRT_TIME_ACCOUNTING`); the probes see no more than that the task had the CPU. Counted in ticks of 10 ms, of
/// which one more may have begun.
fn stolen() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let all = stat.lines().next().unwrap();
    let ticks: u64 = all.split_whitespace().nth(8).unwrap().parse().unwrap();
    ticks * 10_000_000
}

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
    let (before, stolen_before) = (watch.snapshot(), stolen());
    let used: u64 = spinner.ask("1000").parse::<u64>().unwrap() - used_before;
    spinner.sleeps();
    let counted = watch.snapshot().since(&before).cgroups[&pod.id].on_cpu_ns;
    let stolen = stolen() - stolen_before;
    // 1 % and what lies between the reading of getrusage and sleep, at either end: writing a line takes some 50 µs, on a
    // CPU that others want too.
    assert!(
        counted.abs_diff(used) <= used / 100 + 1_000_000 + stolen,
        "{counted} ns counted, {used} ns used, {stolen} ns stolen"
    );
}

/// Reads the CPU clock of a process that runs on another CPU, exact to now (`clock_getcpuclockid(3)`).
const CLOCK: &str = r#"
import sys, time
clock = (~int(sys.argv[1]) << 3) | 2
for _ in sys.stdin:
    print(time.clock_gettime_ns(clock))
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
    let mut now = || clock.ask("now").parse::<u64>().unwrap();
    // What is read lies between two readings of the clock. Some are far apart, as others want the CPU, too.
    let stolen_before = stolen();
    let first = (now(), watch.snapshot(), now());
    let mut close = 0;
    while close < 20 {
        let last = (now(), watch.snapshot(), now());
        let (least, most) = (last.0.saturating_sub(first.2), last.2 - first.0);
        if least < 500_000_000 || most - least > 5_000_000 {
            continue;
        }
        close += 1;
        let counted = last.1.since(&first.1).cgroups[&pod.id].on_cpu_ns;
        let stolen = stolen() - stolen_before;
        let slack = most / 100 + 1_000_000 + stolen;
        assert!(
            (least - slack..=most + slack).contains(&counted),
            "{counted} ns counted, {least} to {most} ns used, {stolen} ns stolen"
        );
    }
}
