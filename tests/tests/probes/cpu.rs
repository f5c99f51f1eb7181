//! Time on a CPU.

use galileo_probes::Config;
use galileo_tests::{pod::Pod, turn, watch::Watch};

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
    let before = watch.snapshot();
    let used: u64 = spinner.ask("1000").parse::<u64>().unwrap() - used_before;
    spinner.sleeps();
    let counted = watch.snapshot().since(&before).cgroups[&pod.id].on_cpu_ns;
    // 1 % and what lies between the reading of getrusage and sleep, at either end: writing a line takes some 50 µs, on a
    // CPU that others want too.
    assert!(
        counted.abs_diff(used) <= used / 100 + 1_000_000,
        "{counted} ns counted, {used} ns used"
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
    let mut best = u64::MAX;
    // What is read lies between two readings of the clock. The closer they are, the more it says: take the best of some.
    let first = (now(), watch.snapshot(), now());
    for _ in 0..200 {
        let last = (now(), watch.snapshot(), now());
        let counted = last.1.since(&first.1).cgroups[&pod.id].on_cpu_ns;
        let least = last.0.saturating_sub(first.2);
        let most = last.2 - first.0;
        let slack = most / 100 + 100_000;
        assert!(
            (least.saturating_sub(slack)..=most + slack).contains(&counted),
            "{counted} ns counted, {least} to {most} ns used"
        );
        if least > 200_000_000 {
            best = best.min(most - least);
        }
    }
    let seconds = now() as f64 / 1e9;
    assert!(
        best < 100_000_000,
        "{best} ns between readings, {seconds} s"
    );
}
