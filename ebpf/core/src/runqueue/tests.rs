//! The kernel's events, one after the other, and what the waits were for.

extern crate std;
use std::{boxed::Box, collections::HashMap, vec::Vec};

use galileo_ebpf_abi::{
    CpuState, HISTORY, PAIR_SETS, Run, SLOT_IDLE, Task, WAITERS, Waiter, task_state,
};

use super::{runs::RUNS_PER_WAIT, waiters::OLD_RUNS, *};

/// The kernel's events, handled as the object handles them, with a map for the tasks and one cgroup a task.
struct Machine {
    cpus: Vec<Box<CpuState>>,
    tasks: HashMap<u32, Task>,
    waits: Vec<(u32, u64, Wait)>,
    blamed: HashMap<(u32, u32), u64>,
    disorders: u32,
    unseen: u32,
}

/// What a wait was for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wait {
    own: u64,
    other: u64,
    idle: u64,
    left: u64,
}

const EMPTY: CpuState = CpuState {
    since_ns: 0,
    slot: 0,
    switches: 0,
    idle_ns: 0,
    idle_key: 0,
    key: 0,
    accounted: 0,
    written: 0,
    first_line: 0,
    waiters_written: 0,
    waiters_done: 0,
    evictions: 0,
    pairs_used: [0; PAIR_SETS / 64],
    unknown_ns: 0,
    began_ns: 0,
    reserved: [0; 5],
    evicted: [0; galileo_ebpf_abi::EVICTED],
    history: [Run {
        end_ns: 0,
        slot: 0,
        reserved: 0,
    }; HISTORY],
    waiters: [Waiter {
        key: 0,
        since_ns: 0,
        written: 0,
    }; WAITERS],
};

fn slot(pid: u32) -> u32 {
    if pid == 0 { SLOT_IDLE } else { pid }
}

fn parts(cpu: &CpuState, victim: u32, since: u64, until: u64) -> (Wait, HashMap<u32, u64>) {
    let mut wait = Wait::default();
    let mut others = HashMap::new();
    let left = settle(cpu, since, until, |slot, ns| {
        if slot == victim {
            wait.own += ns;
        } else if slot == SLOT_IDLE {
            wait.idle += ns;
        } else {
            wait.other += ns;
            *others.entry(slot).or_default() += ns;
        }
    });
    wait.left = left;
    assert_eq!(wait.own + wait.other + wait.idle + left, until - since);
    (wait, others)
}

impl Machine {
    fn new(cpus: usize) -> Self {
        Self {
            cpus: (0..cpus).map(|_| Box::new(EMPTY)).collect(),
            tasks: HashMap::new(),
            waits: Vec::new(),
            blamed: HashMap::new(),
            disorders: 0,
            unseen: 0,
        }
    }

    fn task(&mut self, pid: u32) -> &mut Task {
        self.tasks.entry(pid).or_insert(Task {
            slot: slot(pid),
            ..new_task(u64::from(pid))
        })
    }

    fn wakeup(&mut self, at: u64, pid: u32) {
        wake(self.task(pid), || at);
    }

    fn switch(&mut self, cpu: usize, at: u64, prev: u32, preempted: bool, next: u32) {
        if prev != 0 {
            leave(self.task(prev), at, preempted);
        }
        let mut disorder = false;
        let state = &mut self.cpus[cpu];
        self.unseen += u32::from(change(state, u64::from(prev), u64::from(next)));
        end_run(state, at, slot(prev), &mut disorder);
        state.slot = slot(next);
        self.disorders += u32::from(disorder);
        if next == 0 {
            return;
        }
        let task = self.task(next);
        task.state = task_state::RUNNING;
        let since = core::mem::take(&mut task.since_ns);
        if since != 0 {
            let (wait, others) = parts(&self.cpus[cpu], next, since, at);
            for (by, ns) in others {
                *self.blamed.entry((next, by)).or_default() += ns;
            }
            self.waits.push((next, at - since, wait));
        }
    }
}

#[test]
fn the_idle_task_never_waits() {
    // D-18: the idle task is always runnable, shared by all CPUs, and events come out of order.
    let mut machine = Machine::new(2);
    machine.switch(0, 100, 0, false, 7);
    machine.switch(1, 90, 9, false, 0);
    machine.wakeup(280, 8);
    machine.switch(0, 300, 7, true, 8);
    machine.switch(0, 450, 8, false, 7);
    let waits: Vec<_> = machine
        .waits
        .iter()
        .map(|(pid, ns, _)| (*pid, *ns))
        .collect();
    assert_eq!(waits, [(8, 20), (7, 150)]);
    assert_eq!(machine.blamed, HashMap::from([((8, 7), 20), ((7, 8), 150)]));
    assert_eq!(machine.disorders, 0);
}

#[test]
fn several_that_ran_during_one_wait_each_get_their_part() {
    let mut machine = Machine::new(1);
    machine.switch(0, 100, 0, false, 1);
    machine.wakeup(150, 9);
    machine.switch(0, 200, 1, false, 2);
    machine.switch(0, 230, 2, false, 0);
    machine.switch(0, 240, 0, false, 3);
    machine.switch(0, 300, 3, false, 9);
    let expected = Wait {
        own: 0,
        other: 50 + 30 + 60,
        idle: 10,
        left: 0,
    };
    assert_eq!(machine.waits, [(9, 150, expected)]);
    assert_eq!(
        machine.blamed,
        HashMap::from([((9, 1), 50), ((9, 2), 30), ((9, 3), 60)])
    );
}

#[test]
fn time_before_memory_begins_is_unexplained() {
    let mut machine = Machine::new(1);
    machine.switch(0, 1_000, 1, true, 2);
    let (wait, others) = parts(&machine.cpus[0], 9, 400, 1_100);
    assert_eq!((wait.other, wait.left), (100, 600));
    assert_eq!(others, HashMap::from([(2, 100)]));
}

#[test]
fn more_runs_than_are_remembered_leave_a_rest() {
    let mut machine = Machine::new(1);
    let turns = 2 * HISTORY as u32;
    for index in 0..turns {
        let (prev, next) = (1 + (index & 1), 2 - (index & 1));
        machine.switch(0, 1_000 + u64::from(index) * 10, prev, true, next);
    }
    let end = 1_000 + u64::from(turns - 1) * 10;
    let (wait, _) = parts(&machine.cpus[0], 9, 1_000, end);
    assert_eq!(wait.other, u64::from(RUNS_PER_WAIT) * 10);
    assert_eq!(wait.left, end - 1_000 - wait.other);
}

#[test]
fn a_long_wait_is_told_of_before_its_first_runs_are_forgotten() {
    let mut machine = Machine::new(1);
    let turn = |machine: &mut Machine, index: u32| {
        let (prev, next) = (1 + (index & 1), 2 - (index & 1));
        machine.switch(0, 1_000 + u64::from(index) * 10, prev, true, next);
    };
    turn(&mut machine, 0);
    let since = machine.cpus[0].since_ns;
    remember_waiter(&mut machine.cpus[0], 9, since);
    remember_waiter(&mut machine.cpus[0], 8, since);
    let mut told = Vec::new();
    for index in 1..RUNS_PER_WAIT {
        turn(&mut machine, index);
        if let Some(waiter) = old_waiter(&mut machine.cpus[0]) {
            let now = machine.cpus[0].since_ns;
            let (wait, _) = parts(&machine.cpus[0], 7, waiter.since_ns, now);
            assert_eq!((wait.other, wait.left), (now - since, 0));
            told.push(waiter.key);
        }
    }
    // One at a switch, each once.
    assert_eq!(told, [9, 8]);
}

#[test]
fn more_waiters_than_there_are_places_leave_the_latest() {
    let mut cpu = Box::new(EMPTY);
    for key in 1..=2 * WAITERS as u64 {
        remember_waiter(&mut cpu, key, 100);
    }
    assert_eq!(old_waiter(&mut cpu).map(|waiter| waiter.key), None);
    cpu.written = OLD_RUNS;
    let first = WAITERS as u64 + 1;
    for key in first..first + 3 {
        assert_eq!(old_waiter(&mut cpu).map(|waiter| waiter.key), Some(key));
    }
}

#[test]
fn runs_of_one_cgroup_that_follow_one_another_are_remembered_as_one() {
    let mut machine = Machine::new(1);
    let turns = 2 * HISTORY as u64;
    for index in 0..turns {
        machine.switch(0, 1_000 + index * 10, 1, true, 1);
    }
    let end = 1_000 + (turns - 1) * 10;
    let (wait, _) = parts(&machine.cpus[0], 9, 1_000, end);
    assert_eq!((wait.other, wait.left), (end - 1_000, 0));
}

#[test]
fn a_wait_that_ended_before_the_present_run_is_laid_over_what_ran_then() {
    // The cgroup of task 9 is known only when it leaves.
    let mut machine = Machine::new(1);
    machine.switch(0, 100, 0, false, 1);
    machine.switch(0, 200, 1, false, 9);
    let (wait, others) = parts(&machine.cpus[0], 9, 120, 200);
    assert_eq!((wait.other, wait.left), (80, 0));
    assert_eq!(others, HashMap::from([(1, 80)]));
}

#[test]
fn a_switch_that_was_not_seen_is_told_by_the_one_after_it() {
    let mut machine = Machine::new(2);
    machine.switch(0, 100, 0, false, 1);
    machine.switch(1, 100, 5, false, 0);
    machine.switch(0, 200, 1, true, 2);
    assert_eq!(machine.unseen, 0);
    // From 2 to 1, at a time that nobody knows.
    machine.switch(0, 300, 1, false, 0);
    assert_eq!(machine.unseen, 1);
    machine.switch(0, 400, 0, false, 2);
    machine.switch(1, 400, 0, false, 1);
    assert_eq!(machine.unseen, 1);
    // Not watched for a while.
    machine.cpus[0].since_ns = 0;
    machine.switch(0, 900, 3, false, 0);
    machine.switch(0, 950, 0, false, 3);
    assert_eq!(machine.unseen, 1);
}

#[test]
fn a_time_that_lies_before_the_last_is_told_and_adds_nothing() {
    let mut machine = Machine::new(1);
    machine.switch(0, 100, 0, false, 1);
    machine.switch(0, 90, 1, false, 2);
    assert_eq!(machine.disorders, 1);
    assert_eq!(machine.cpus[0].since_ns, 100);
}
