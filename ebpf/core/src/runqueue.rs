//! Who waited for a CPU, how long, and who ran there meanwhile.
//!
//! A task waits from the wake-up (or from the switch that took the CPU from it while it was runnable) to the switch
//! that gives it a CPU. Each CPU remembers its last [`HISTORY`] runs, so that a wait can be laid over them: what falls
//! on runs of the own cgroup, of other cgroups, and what is left (the CPU idled, ran a task of unknown cgroup, or its
//! memory does not reach back that far). A task that moves while it waits is settled on the CPU it leaves.
//!
//! Tasks are known by the address of their `task_struct`, which is never followed: see [`find`].

use galileo_ebpf_abi::{CpuState, HISTORY, Run, SLOT_IDLE, SLOT_UNKNOWN, TASK_SETS, Task, TaskSet};

/// Runs looked at for one wait. What lies before them is left unexplained.
pub const RUNS_PER_WAIT: usize = 32;

/// The set in which a task has its place.
#[inline(always)]
#[must_use]
pub const fn set_of(key: u64) -> u32 {
    // task_structs are aligned to at least 64 bytes; Fibonacci hashing spreads what is above.
    ((key >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u32 & (TASK_SETS - 1)
}

/// The place of a task in its set.
#[inline(always)]
pub fn find(set: &mut TaskSet, key: u64) -> Option<&mut Task> {
    let [a, b, c, d] = &mut set.ways;
    if a.key == key {
        Some(a)
    } else if b.key == key {
        Some(b)
    } else if c.key == key {
        Some(c)
    } else if d.key == key {
        Some(d)
    } else {
        None
    }
}

/// The place of a task in its set, taken now if it had none; none if all places are taken.
#[inline(always)]
pub fn find_or_take(set: &mut TaskSet, key: u64) -> Option<&mut Task> {
    // Two steps instead of a match on `find`, which the borrow checker cannot follow.
    let wanted = if find(set, key).is_some() { key } else { 0 };
    let task = find(set, wanted)?;
    if wanted == 0 {
        *task = Task {
            key,
            since_ns: 0,
            cgroup_id: 0,
            slot: SLOT_UNKNOWN,
            cpu: 0,
            runnable: 0,
            settled_ns: 0,
        };
    }
    Some(task)
}

/// A wait, or a part of one, and what it was for. What is neither own nor other is unexplained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wait {
    /// All of it.
    pub total_ns: u64,
    /// While tasks of the same cgroup ran.
    pub own_ns: u64,
    /// While other cgroups ran.
    pub other_ns: u64,
}

/// Ends the run of the present task at `now_ns` and begins the next one's.
///
/// Returns the length of the run that ended; none at the first switch seen on this CPU, and if time went backwards
/// (`disorder` is set then).
#[inline(always)]
pub fn switch(
    cpu: &mut CpuState,
    now_ns: u64,
    prev_slot: u32,
    next_slot: u32,
    disorder: &mut bool,
) -> Option<u64> {
    let since = cpu.since_ns;
    cpu.slot = next_slot;
    if now_ns < since {
        *disorder = true;
        return None;
    }
    cpu.since_ns = now_ns;
    if since == 0 {
        // The run before began at an unknown time: an empty run marks where memory starts.
        remember(
            cpu,
            Run {
                end_ns: now_ns,
                slot: SLOT_UNKNOWN,
                reserved: 0,
            },
        );
        return None;
    }
    remember(
        cpu,
        Run {
            end_ns: now_ns,
            slot: prev_slot,
            reserved: 0,
        },
    );
    if prev_slot == SLOT_IDLE {
        cpu.idle_ns += now_ns - since;
    }
    Some(now_ns - since)
}

#[inline(always)]
fn remember(cpu: &mut CpuState, run: Run) {
    let at = cpu.written as usize & (HISTORY - 1);
    cpu.history[at] = run;
    cpu.written = cpu.written.wrapping_add(1);
}

/// Lays the time from `since_ns` to `until_ns` over what `cpu` ran then. `blame(aggressor_slot, ns)` is called for each
/// run of another cgroup.
#[inline(always)]
pub fn settle(
    cpu: &CpuState,
    victim: u32,
    since_ns: u64,
    until_ns: u64,
    mut blame: impl FnMut(u32, u64),
) -> Wait {
    let mut wait = Wait {
        total_ns: until_ns.saturating_sub(since_ns),
        own_ns: 0,
        other_ns: 0,
    };
    let mut count = |slot: u32, ns: u64| {
        if slot == victim {
            wait.own_ns += ns;
        } else if slot < SLOT_UNKNOWN {
            wait.other_ns += ns;
            blame(slot, ns);
        }
    };
    // The present run; empty where this is called at the switch itself.
    let mut end = until_ns;
    if cpu.since_ns != 0 && cpu.since_ns < end {
        let begin = cpu.since_ns.max(since_ns);
        if begin < end {
            count(cpu.slot, end - begin);
        }
        end = cpu.since_ns;
    }
    for back in 1..=RUNS_PER_WAIT as u32 {
        if end <= since_ns || back >= cpu.written {
            break;
        }
        let run = &cpu.history[cpu.written.wrapping_sub(back) as usize & (HISTORY - 1)];
        let before = &cpu.history[cpu.written.wrapping_sub(back + 1) as usize & (HISTORY - 1)];
        let begin = before.end_ns.max(since_ns);
        let stop = run.end_ns.min(until_ns);
        if begin < stop {
            count(run.slot, stop - begin);
        }
        end = before.end_ns;
    }
    wait
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::{collections::HashMap, vec, vec::Vec};

    use super::*;

    /// The kernel's events, handled as the object handles them, with a map for the tasks and one cgroup a task.
    struct Machine {
        cpus: Vec<CpuState>,
        tasks: HashMap<u32, Task>,
        waits: Vec<(u32, Wait)>,
        blamed: HashMap<(u32, u32), u64>,
        disorders: u32,
    }

    const EMPTY: CpuState = CpuState {
        since_ns: 0,
        slot: SLOT_UNKNOWN,
        written: 0,
        idle_ns: 0,
        accounted: 0,
        history: [Run {
            end_ns: 0,
            slot: SLOT_UNKNOWN,
            reserved: 0,
        }; HISTORY],
    };

    fn slot(pid: u32) -> u32 {
        if pid == 0 { SLOT_IDLE } else { pid }
    }

    impl Machine {
        fn new(cpus: usize) -> Self {
            Self {
                cpus: vec![EMPTY; cpus],
                tasks: HashMap::new(),
                waits: vec![],
                blamed: HashMap::new(),
                disorders: 0,
            }
        }

        fn task(&mut self, pid: u32) -> &mut Task {
            self.tasks.entry(pid).or_insert(Task {
                key: u64::from(pid),
                since_ns: 0,
                cgroup_id: 0,
                slot: slot(pid),
                cpu: 0,
                runnable: 0,
                settled_ns: 0,
            })
        }

        fn wakeup(&mut self, at: u64, pid: u32) {
            self.task(pid).since_ns = at;
        }

        fn switch(&mut self, cpu: usize, at: u64, prev: u32, runnable: bool, next: u32) {
            let mut disorder = false;
            switch(
                &mut self.cpus[cpu],
                at,
                slot(prev),
                slot(next),
                &mut disorder,
            );
            self.disorders += u32::from(disorder);
            self.task(prev).since_ns = if runnable && prev != 0 { at } else { 0 };
            let since = core::mem::take(&mut self.task(next).since_ns);
            if next != 0 && since != 0 {
                let blamed = &mut self.blamed;
                let wait = settle(&self.cpus[cpu], next, since, at, |by, ns| {
                    *blamed.entry((next, by)).or_default() += ns;
                });
                self.waits.push((next, wait));
            }
        }
    }

    #[test]
    fn the_idle_task_never_waits() {
        // D-18: the idle task is always runnable, shared by all CPUs, and events come out of order.
        let mut machine = Machine::new(2);
        machine.switch(0, 100, 0, true, 7);
        machine.switch(1, 90, 9, false, 0);
        machine.wakeup(280, 8);
        machine.switch(0, 300, 7, true, 8);
        machine.switch(0, 450, 8, false, 7);
        let waits: Vec<_> = machine
            .waits
            .iter()
            .map(|(pid, wait)| (*pid, wait.total_ns))
            .collect();
        assert_eq!(waits, [(8, 20), (7, 150)]);
        assert_eq!(machine.blamed, HashMap::from([((8, 7), 20), ((7, 8), 150)]));
    }

    #[test]
    fn several_that_ran_during_one_wait_each_get_their_part() {
        let mut machine = Machine::new(1);
        machine.switch(0, 100, 0, true, 1);
        machine.wakeup(150, 9);
        machine.switch(0, 200, 1, false, 2);
        machine.switch(0, 230, 2, false, 0);
        machine.switch(0, 240, 0, true, 3);
        machine.switch(0, 300, 3, false, 9);
        let (pid, wait) = machine.waits[0];
        assert_eq!(
            (pid, wait),
            (
                9,
                Wait {
                    total_ns: 150,
                    own_ns: 0,
                    other_ns: 50 + 30 + 60
                }
            )
        );
        assert_eq!(
            machine.blamed,
            HashMap::from([((9, 1), 50), ((9, 2), 30), ((9, 3), 60)])
        );
    }

    #[test]
    fn time_before_memory_begins_is_unexplained() {
        let mut machine = Machine::new(1);
        machine.switch(0, 1_000, 1, true, 2);
        let wait = settle(&machine.cpus[0], 9, 400, 1_100, |_, _| {});
        assert_eq!(
            wait,
            Wait {
                total_ns: 700,
                own_ns: 0,
                other_ns: 100
            }
        );
    }

    #[test]
    fn more_runs_than_are_remembered_leave_a_rest() {
        let mut machine = Machine::new(1);
        for index in 0..200 {
            machine.switch(
                0,
                1_000 + index * 10,
                1 + (index as u32 & 1),
                true,
                2 - (index as u32 & 1),
            );
        }
        let wait = settle(&machine.cpus[0], 9, 1_000, 2_990, |_, _| {});
        assert_eq!(wait.total_ns, 1_990);
        assert_eq!(wait.other_ns, RUNS_PER_WAIT as u64 * 10);
    }

    #[test]
    fn a_time_that_lies_before_the_last_is_told_and_adds_nothing() {
        let mut machine = Machine::new(1);
        machine.switch(0, 100, 0, true, 1);
        machine.switch(0, 90, 1, false, 2);
        assert_eq!(machine.disorders, 1);
        assert_eq!(machine.cpus[0].since_ns, 100);
    }

    #[test]
    fn a_set_gives_each_task_one_place_until_it_is_full() {
        let mut set = TaskSet {
            ways: [Task {
                key: 0,
                ..*Machine::new(1).task(1)
            }; 4],
        };
        for key in 1..=4 {
            find_or_take(&mut set, key).unwrap().since_ns = key;
        }
        assert!(find_or_take(&mut set, 5).is_none());
        assert_eq!(find_or_take(&mut set, 3).unwrap().since_ns, 3);
        find(&mut set, 2).unwrap().key = 0;
        assert_eq!(find_or_take(&mut set, 5).unwrap().since_ns, 0);
    }
}
