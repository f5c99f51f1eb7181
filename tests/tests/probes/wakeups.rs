//! Wake-ups, and moves to another CPU, of processes that sleep and move a known number of times.

use galileo_probes::{CgroupStats, Config, Ledger};
use galileo_tests::{
    pod::{Pod, Process},
    turn,
    wait::until,
    watch::Watch,
};
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_setaffinity},
};

/// Rounds in which the kernel may hide something, see [`assert_each`].
const EXCUSED: u32 = 20;

/// What happened to the pod while `round` ran, whose process sleeps before and after, is what `expected` says of it, several times.
///
/// A kernel may hide switches, and with them wake-ups that come meanwhile: nothing else may be the reason that one is missing, and it is
/// told. There is no reason for which one could be counted twice.
fn assert_each(
    watch: &Watch,
    pod: &Pod,
    process: &mut Process,
    what: &str,
    count: impl Fn(&CgroupStats) -> u64,
    mut round: impl FnMut(&mut Process) -> u64,
) {
    let (mut exact, mut excused) = (0, 0);
    while exact < 5 {
        process.sleeps();
        let before = watch.snapshot();
        let expected = round(process);
        process.sleeps();
        let used = watch.snapshot().since(&before);
        let counted = count(&used.cgroups[&pod.id]);
        if counted == expected {
            exact += 1;
            continue;
        }
        assert!(counted < expected, "{counted} {what}, {expected} happened");
        excused += 1;
        assert!(
            excused < EXCUSED,
            "{counted} {what}, {expected} happened, and {excused} times the kernel hid a switch"
        );
        until(
            &format!(
                "a switch that was not seen, as {counted} {what} were and {expected} happened"
            ),
            || {
                let used = watch.snapshot().since(&before);
                (used.ledger[&Ledger::SwitchUnseen] > 0).then_some(())
            },
        );
    }
}

/// Sleeps as often as it is told.
const SLEEPER: &str = r#"
import sys, time
for line in sys.stdin:
    for _ in range(int(line)):
        time.sleep(0.0003)
    print("done")
"#;

#[test]
fn each_sleep_of_a_process_ends_with_a_wake_up_that_is_counted_once() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let pod = Pod::new("sleeper");
    let mut sleeper = pod.python(SLEEPER, &[]);
    sleeper.ask("3");
    assert_each(
        &watch,
        &pod,
        &mut sleeper,
        "wake-ups",
        |stats| stats.wakeups,
        |sleeper| {
            assert_eq!(sleeper.ask("200"), "done");
            // It slept until it was told, as well.
            200 + 1
        },
    );
}

/// Moves itself to CPU 0 and back to CPU 1, as often as it is told.
const MOVER: &str = r#"
import os, sys
for line in sys.stdin:
    for _ in range(int(line)):
        os.sched_setaffinity(0, {0})
        os.sched_setaffinity(0, {1})
    print("done")
"#;

#[test]
fn each_move_of_a_running_process_to_another_cpu_is_counted_once() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let pod = Pod::new("mover");
    let mut mover = pod.python(MOVER, &[]);
    // It is on CPU 1 from then on.
    mover.ask("1");
    assert_each(
        &watch,
        &pod,
        &mut mover,
        "moves",
        |stats| stats.migrations,
        |mover| {
            assert_eq!(mover.ask("100"), "done");
            200
        },
    );
}

/// A process is moved while it sleeps, each time it is asked: it wakes up on the other CPU.
fn ask_on_each_cpu_in_turn(process: &mut Process) -> u64 {
    const TIMES: u64 = 50;
    let id = Pid::from_raw(process.id() as i32);
    for number in 0..TIMES {
        let mut only = CpuSet::new();
        only.set(number as usize % 2);
        sched_setaffinity(id, &only).expect("this machine has two CPUs");
        assert_eq!(process.ask("x"), "x");
        process.sleeps();
    }
    TIMES
}

#[test]
fn a_process_that_wakes_up_on_another_cpu_was_woken_once_and_moved_once() {
    let _turn = turn();
    let Some(watch) = Watch::start(&Config::default()) else {
        return;
    };
    let pod = Pod::new("moved");
    let mut echo = pod.start(&["taskset", "-c", "1", "cat"]);
    echo.ask("started");
    let wakeups = |stats: &CgroupStats| stats.wakeups;
    let moves = |stats: &CgroupStats| stats.migrations;
    assert_each(
        &watch,
        &pod,
        &mut echo,
        "wake-ups",
        wakeups,
        ask_on_each_cpu_in_turn,
    );
    assert_each(
        &watch,
        &pod,
        &mut echo,
        "moves",
        moves,
        ask_on_each_cpu_in_turn,
    );
}
