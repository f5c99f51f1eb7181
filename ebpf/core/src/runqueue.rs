//! Who waited for a CPU, how long, and who ran there meanwhile.
//!
//! A task waits from the wake-up (or from the switch that took the CPU from it while it was runnable) to the switch
//! that gives it a CPU. Each CPU remembers its last [`HISTORY`] runs, so that a wait can be laid over them: what falls
//! on runs of the own cgroup, of other cgroups, on the idle task, and what is left (a task of unknown cgroup ran, or
//! memory does not reach back that far). Runs follow one another without a gap, so the parts add up to the whole. A
//! task that moves while it waits is settled on the CPU it leaves; a task whose cgroup is not known when it gets a CPU
//! is settled when it leaves that.
//!
//! Tasks are known by the address of their `task_struct`, which is never followed: see [`search`].

use galileo_ebpf_abi::{
    CpuState, HISTORY, PAIR_SETS, Pair, PairSet, Run, SLOT_IDLE, SLOT_UNKNOWN, TASK_PLACES,
    TASK_WAYS, Task, WAITERS, Waiter, task_state,
};

/// A wait during which so many runs ended is accounted up to now, as their places in the history are needed soon.
const OLD_RUNS: u32 = HISTORY as u32 / 2;

/// Runs looked at for one wait. What lies before them is left unexplained.
pub const RUNS_PER_WAIT: u32 = HISTORY as u32 - 2;

/// The upper bits of the product spread what differs anywhere (Fibonacci hashing).
#[inline(always)]
const fn spread(key: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40
}

/// The place at which the search for a task begins, and at which most are found.
#[inline(always)]
#[must_use]
pub const fn place_of(key: u64) -> u32 {
    // task_structs are aligned to at least 64 bytes.
    spread(key >> 6) as u32 & (TASK_PLACES - 1)
}

/// Searches the places of a hash value for `wanted`, the one of `key` itself first; `at` gives what lies at a place.
#[inline(always)]
pub fn search<'a>(
    key: u64,
    wanted: u64,
    mut at: impl FnMut(u32) -> &'a mut Task,
) -> Option<&'a mut Task> {
    for way in 0..TASK_WAYS {
        let task = at(place_of(key) ^ way);
        if task.key == wanted {
            return Some(task);
        }
    }
    None
}

/// A place that no task has: all zero.
pub const FREE_TASK: Task = Task {
    slot: 0,
    ..new_task(0)
};

/// A task of which nothing is known.
#[inline(always)]
#[must_use]
pub const fn new_task(key: u64) -> Task {
    Task {
        key,
        since_ns: 0,
        until_ns: 0,
        settled_ns: 0,
        cgroup_id: 0,
        slot: SLOT_UNKNOWN,
        wakeups: 0,
        migrations: 0,
        cpu: 0,
        state: task_state::NEW,
        moved_ns: 0,
    }
}

/// Notes that a task leaves its CPU.
#[inline(always)]
pub fn leave(task: &mut Task, now_ns: u64, runnable: bool) {
    // If it is still runnable it waits from now on. If it sleeps, its wake-up will overwrite this; that it comes back
    // without one means that it never slept.
    task.since_ns = now_ns;
    task.settled_ns = 0;
    task.moved_ns = 0;
    task.state = if runnable {
        task_state::WAITING
    } else {
        task_state::LEFT
    };
}

/// Notes a wake-up; `now_ns` is asked only if it begins a wait.
///
/// A task that was woken before it could sleep still runs, or waits since the CPU was taken from it: its wake-up begins
/// nothing.
#[inline(always)]
pub fn wake(task: &mut Task, now_ns: impl FnOnce() -> u64) {
    task.wakeups = task.wakeups.wrapping_add(1);
    if matches!(task.state, task_state::RUNNING | task_state::WAITING) {
        return;
    }
    task.since_ns = now_ns();
    task.settled_ns = 0;
    task.moved_ns = 0;
    task.state = task_state::WAITING;
}

/// Remembers that a task waits for this CPU from now on.
#[inline(always)]
pub fn remember_waiter(cpu: &mut CpuState, key: u64, now_ns: u64) {
    cpu.waiters[cpu.waiters_written as usize & (WAITERS - 1)] = Waiter {
        key,
        since_ns: now_ns,
        written: u64::from(cpu.written),
    };
    cpu.waiters_written = cpu.waiters_written.wrapping_add(1);
}

/// The oldest of those who may still wait, if its wait is about to reach back further than the history; each is told
/// once. It waits still if its `since_ns` is that of the task.
#[inline(always)]
pub fn old_waiter(cpu: &mut CpuState) -> Option<Waiter> {
    let waiting = cpu.waiters_written.wrapping_sub(cpu.waiters_done);
    if waiting == 0 {
        return None;
    }
    if waiting > WAITERS as u32 {
        cpu.waiters_done = cpu.waiters_written.wrapping_sub(WAITERS as u32);
    }
    let oldest = cpu.waiters[cpu.waiters_done as usize & (WAITERS - 1)];
    if cpu.written.wrapping_sub(oldest.written as u32) < OLD_RUNS {
        return None;
    }
    cpu.waiters_done = cpu.waiters_done.wrapping_add(1);
    Some(oldest)
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
        // The run before began at an unknown time: a run of nobody marks where memory starts.
        cpu.began_ns = now_ns;
        remember(cpu, now_ns, SLOT_UNKNOWN);
        return None;
    }
    remember(cpu, now_ns, prev_slot);
    let ran = now_ns - since;
    if prev_slot == SLOT_IDLE {
        cpu.idle_ns += ran;
    } else if prev_slot == SLOT_UNKNOWN {
        cpu.unknown_ns += ran;
    }
    Some(ran)
}

#[inline(always)]
fn remember(cpu: &mut CpuState, end_ns: u64, slot: u32) {
    let last = &mut cpu.history[cpu.written.wrapping_sub(1) as usize & (HISTORY - 1)];
    if last.slot == slot && last.end_ns != 0 {
        last.end_ns = end_ns;
        return;
    }
    cpu.history[cpu.written as usize & (HISTORY - 1)] = Run {
        end_ns,
        slot,
        reserved: 0,
    };
    cpu.written = cpu.written.wrapping_add(1);
}

/// Lays the time from `since_ns` to `until_ns` over what `cpu` ran then. `part(slot, ns)` is called for each run of a known
/// cgroup and of the idle task; returned is what is left.
#[inline(always)]
pub fn settle(cpu: &CpuState, since_ns: u64, until_ns: u64, mut part: impl FnMut(u32, u64)) -> u64 {
    let mut left = until_ns.saturating_sub(since_ns);
    let mut stop = until_ns;
    // The present run; empty where this is called at the switch itself.
    if cpu.since_ns != 0 && cpu.since_ns < stop {
        let begin = cpu.since_ns.max(since_ns);
        if begin < stop && cpu.slot != SLOT_UNKNOWN {
            left -= stop - begin;
            part(cpu.slot, stop - begin);
        }
        stop = cpu.since_ns;
    }
    // Places that were never written end at 0, which ends the loop.
    for back in 1..=RUNS_PER_WAIT {
        if stop <= since_ns {
            break;
        }
        let at = cpu.written.wrapping_sub(back) as usize;
        let slot = cpu.history[at & (HISTORY - 1)].slot;
        let before_ns = cpu.history[at.wrapping_sub(1) & (HISTORY - 1)].end_ns;
        let begin = before_ns.max(since_ns);
        if begin < stop {
            if slot != SLOT_UNKNOWN {
                left -= stop - begin;
                part(slot, stop - begin);
            }
            stop = begin;
        }
    }
    left
}

/// The set of a CPU's part of `PAIRS` in which a pair has its place.
#[inline(always)]
#[must_use]
pub const fn pair_set_of(key: u64) -> u32 {
    spread(key) as u32 & (PAIR_SETS as u32 - 1)
}

/// Adds to a pair that has its place in this set; false if it has none.
#[inline(always)]
#[must_use]
pub fn add_to_pair(set: &mut PairSet, key: u64, ns: u64) -> bool {
    for pair in &mut set.ways {
        if pair.key == key {
            pair.ns += ns;
            return true;
        }
    }
    false
}

/// Gives a pair that has no place in this set a free one; false if there is none.
#[inline(always)]
#[must_use]
pub fn take_place(set: &mut PairSet, key: u64, ns: u64) -> bool {
    for pair in &mut set.ways {
        if pair.key == 0 {
            *pair = Pair { key, ns };
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::{boxed::Box, collections::HashMap, vec::Vec};

    use super::*;

    /// The kernel's events, handled as the object handles them, with a map for the tasks and one cgroup a task.
    struct Machine {
        cpus: Vec<Box<CpuState>>,
        tasks: HashMap<u32, Task>,
        waits: Vec<(u32, u64, Wait)>,
        blamed: HashMap<(u32, u32), u64>,
        disorders: u32,
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
        began_ns: 0,
        accounted: 0,
        written: 0,
        evictions: 0,
        unknown_ns: 0,
        pairs_used: [0; PAIR_SETS / 64],
        waiters_written: 0,
        waiters_done: 0,
        reserved: [0; 7],
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
            switch(
                &mut self.cpus[cpu],
                at,
                slot(prev),
                slot(next),
                &mut disorder,
            );
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
    fn a_time_that_lies_before_the_last_is_told_and_adds_nothing() {
        let mut machine = Machine::new(1);
        machine.switch(0, 100, 0, false, 1);
        machine.switch(0, 90, 1, false, 2);
        assert_eq!(machine.disorders, 1);
        assert_eq!(machine.cpus[0].since_ns, 100);
    }

    #[test]
    fn a_wake_up_begins_a_wait_only_if_the_task_sleeps() {
        let mut task = new_task(1);
        wake(&mut task, || 10);
        assert_eq!((task.since_ns, task.state), (10, task_state::WAITING));
        // Woken again before it got a CPU.
        wake(&mut task, || 20);
        assert_eq!(task.since_ns, 10);
        task.state = task_state::RUNNING;
        task.since_ns = 0;
        // Woken before it could sleep.
        wake(&mut task, || 30);
        assert_eq!((task.since_ns, task.state), (0, task_state::RUNNING));
        // The CPU was taken from it on its way to sleep, then it was woken: it waits since it was taken.
        leave(&mut task, 40, true);
        wake(&mut task, || 50);
        assert_eq!(task.since_ns, 40);
        leave(&mut task, 60, false);
        wake(&mut task, || 70);
        assert_eq!((task.since_ns, task.wakeups), (70, 5));
    }

    #[test]
    fn tasks_of_one_hash_value_share_its_places() {
        // Four tasks whose search begins at one of the same four places, and a fifth.
        let keys: Vec<u64> = (1..)
            .map(|index| index << 6)
            .filter(|key| place_of(*key) < TASK_WAYS)
            .take(5)
            .collect();
        let mut places = [new_task(0); TASK_WAYS as usize];
        let mut take = |key, wanted| {
            let mut at: Vec<_> = places.iter_mut().map(Some).collect();
            let found = search(key, wanted, |place| at[place as usize].take().unwrap());
            if let Some(task) = found {
                *task = new_task(key);
                return true;
            }
            false
        };
        for key in &keys[..4] {
            assert!(!take(*key, *key));
            assert!(take(*key, 0));
        }
        assert!(!take(keys[4], 0));
        for key in &keys[..4] {
            assert!(take(*key, *key));
        }
    }

    #[test]
    fn a_set_gives_each_pair_one_place_until_it_is_full() {
        let mut set = PairSet {
            ways: [Pair { key: 0, ns: 0 }; 4],
        };
        for key in 1..=4 {
            assert!(!add_to_pair(&mut set, key, 10));
            assert!(take_place(&mut set, key, 10));
        }
        assert!(!take_place(&mut set, 5, 10));
        assert!(add_to_pair(&mut set, 3, 5));
        assert_eq!(set.ways[2], Pair { key: 3, ns: 15 });
    }
}
