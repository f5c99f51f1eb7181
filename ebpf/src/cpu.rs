//! Who ran, who waited, and who held the CPU meanwhile.
//!
//! Raw tracepoints only: their arguments are pointers used as keys and plain numbers, so nothing here depends on the
//! layout of a kernel structure. `current` is still the task that leaves when `sched_switch` fires, which gives its
//! cgroup.
//!
//! A switch must cost little, so each thing that it touches is one cache line: the state of the CPU, the places of the
//! two tasks, what this CPU counted of the two cgroups ([`CpuLine`]), and a set of pairs of the interference matrix. All
//! but the tasks' places are written by this CPU alone, with interrupts off; so nothing but the histogram needs an atomic
//! addition. What each step costs stands in docs/measurements.md (`cargo xtask bench switch`).
//!
//! What is rare stands in functions marked cold, so that the code of the common path stays together: it is fetched from
//! the second-level cache at nearly every switch. They name their section, as the compiler would put them into one that
//! the loader does not know.

use core::{arch::asm, cell::UnsafeCell, ptr};

use aya_ebpf::{
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_smp_processor_id,
        generated::bpf_ktime_get_boot_ns,
    },
    macros::{map, raw_tracepoint},
    maps::{Array, HashMap},
    programs::RawTracePointContext,
};
use galileo_ebpf_abi::{
    CpuLine, CpuState, EVICTED, Ledger, PAIR_SETS, PAIR_WAYS, Pair, PairSet, SLOT_IDLE,
    SLOT_UNKNOWN, TASK_PLACES, Task, pair_key, pair_of, slot_generation, slot_index, step,
    task_state,
};
use galileo_ebpf_core::runqueue;

use crate::{
    ledger::{MMAPABLE, add, count, count_duration, opaque},
    slots::{self, is_current, slot_of},
};

/// One entry a possible CPU; user space sets the number.
#[map]
static CPUS: Array<CpuState> = Array::with_max_entries(256, MMAPABLE);

/// What each CPU counted of each cgroup; user space sets the number: possible CPUs × slots.
#[map]
static CPU_LINES: Array<CpuLine> = Array::with_max_entries(256, MMAPABLE);

/// Tasks, by the hash of their key. A global variable, not a map of its own: its places are reached without a look-up.
static TASKS: Tasks = Tasks(UnsafeCell::new([runqueue::FREE_TASK; TASK_PLACES as usize]));

struct Tasks(UnsafeCell<[Task; TASK_PLACES as usize]>);

// SAFETY: see `task_at`.
unsafe impl Sync for Tasks {}

/// Who waited while whom a CPU was given to, by CPU; user space sets the number: possible CPUs × [`PAIR_SETS`].
#[map]
static PAIRS: Array<PairSet> = Array::with_max_entries(256, MMAPABLE);

/// The same of pairs that found no place.
#[map]
static MATRIX: HashMap<u64, u64> = HashMap::with_max_entries(16_384, 0);

/// Number of slots. User space sets it; a constant to the verifier.
#[unsafe(no_mangle)]
static SLOT_COUNT: u32 = 1024;

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}

#[inline(always)]
fn this_cpu() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_smp_processor_id() }
}

#[inline(always)]
fn task_at(place: u32) -> &'static mut Task {
    let place = opaque(place as usize) & (TASK_PLACES as usize - 1);
    // SAFETY: within the array. Two CPUs may look at one place at once, but at one task only under its own locks; two
    // tasks that take the same free place at the same moment make one of them look new later.
    unsafe { &mut *TASKS.0.get().cast::<Task>().add(place) }
}

/// What is known of a task.
#[inline(always)]
fn find(key: u64) -> Option<&'static mut Task> {
    let task = task_at(runqueue::place_of(key));
    if task.key == key {
        Some(task)
    } else {
        find_elsewhere(key)
    }
}

#[cold]
#[inline(never)]
#[unsafe(link_section = ".text")]
fn find_elsewhere(key: u64) -> Option<&'static mut Task> {
    runqueue::search(key, key, task_at)
}

/// What is known of a task, which is given a place if it has none. None if all are taken, which is counted.
#[inline(always)]
fn find_or_take(key: u64) -> Option<&'static mut Task> {
    let task = task_at(runqueue::place_of(key));
    if task.key == key {
        Some(task)
    } else {
        find_or_take_elsewhere(key)
    }
}

#[cold]
#[inline(never)]
#[unsafe(link_section = ".text")]
fn find_or_take_elsewhere(key: u64) -> Option<&'static mut Task> {
    if let Some(task) = runqueue::search(key, key, task_at) {
        return Some(task);
    }
    let Some(task) = runqueue::search(key, 0, task_at) else {
        count(Ledger::TasksFull);
        return None;
    };
    *task = runqueue::new_task(key);
    Some(task)
}

/// What this CPU counted of a cgroup; none if the slot is no longer its own.
#[inline(always)]
fn line(cpu_index: u32, slot: u32) -> Option<&'static mut CpuLine> {
    // SAFETY: a constant of this object; volatile, as user space sets it after compiling.
    let slots = unsafe { ptr::read_volatile(&raw const SLOT_COUNT) };
    // SAFETY: a map value; only this CPU writes it, with interrupts off.
    let line = unsafe { &mut *CPU_LINES.get_ptr_mut(cpu_index * slots + slot_index(slot))? };
    if line.generation != slot_generation(slot) && !begin_line(line, slot) {
        return None;
    }
    Some(line)
}

#[cold]
#[inline(never)]
#[unsafe(link_section = ".text")]
fn begin_line(line: &mut CpuLine, slot: u32) -> bool {
    let current = is_current(slot);
    if current {
        *line = CpuLine::new(slot_generation(slot));
    }
    current
}

/// Counts what is rare.
#[cold]
#[inline(never)]
#[unsafe(link_section = ".text")]
fn note(kind: Ledger) {
    count(kind);
}

/// Stores a number after all that was stored before, as a reader on another CPU sees it where stores keep their order.
#[inline(always)]
fn publish(word: &mut u32, value: u32) {
    // SAFETY: a store to a field in map memory; the compiler moves no other store across it.
    unsafe {
        asm!("*(u32 *)({word} + 0) = {value}", word = in(reg) word, value = in(reg) u64::from(value));
    };
}

/// Hook: raw tracepoint `sched_switch` (preempt, prev, next, prev's state). Context: run-queue lock held, interrupts off.
/// Kernel: 5.18, which tells the state. Maps: `CPUS`, `CPU_LINES`, `PAIRS`, `CGROUPS`, `SLOT_OF`; rarely `MATRIX`.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub fn sched_switch(ctx: RawTracePointContext) -> i32 {
    switch::<{ step::ALL }, true>(&ctx)
}

/// The same without the state. Kernel: 5.10 (boot clock: 5.8).
///
/// A task that the kernel sent away on its return to user space looks like one that went to sleep until it comes back
/// without a wake-up.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub fn sched_switch_stateless(ctx: RawTracePointContext) -> i32 {
    switch::<{ step::ALL }, false>(&ctx)
}

/// A switch, as far as a step; `STATE` tells whether the hook tells the state of the task that leaves.
#[inline(always)]
pub fn switch<const STEP: u32, const STATE: bool>(ctx: &RawTracePointContext) -> i32 {
    if STEP < step::CLOCK {
        return 0;
    }
    let now = now_ns();
    if STEP < step::TASKS {
        return 0;
    }
    // Preempted within the kernel, or the state is `TASK_RUNNING`.
    let runnable = ctx.arg::<u64>(0) & 1 != 0 || (STATE && ctx.arg::<u64>(3) as u32 == 0);
    let prev_key: u64 = ctx.arg(1);
    let next_key: u64 = ctx.arg(2);
    let cpu_index = this_cpu();
    let Some(cpu) = CPUS.get_ptr_mut(cpu_index) else {
        return 0;
    };
    // SAFETY: a map value; only this CPU writes it, and others read it under this CPU's run-queue lock.
    let cpu = unsafe { &mut *cpu };

    let mut prev_slot = SLOT_IDLE;
    let mut prev = None;
    if prev_key != cpu.idle_key && !is_idle(cpu, prev_key) {
        // SAFETY: a helper without arguments.
        let cgroup_id = unsafe { bpf_get_current_cgroup_id() };
        prev = find_or_take(prev_key);
        prev_slot = SLOT_UNKNOWN;
        if let Some(task) = &mut prev {
            if task.cgroup_id != cgroup_id || task.slot == SLOT_UNKNOWN {
                join(task, cgroup_id);
            }
            if task.until_ns != 0 {
                settle_late(cpu, cpu_index, task);
            }
            runqueue::leave(task, now, runnable);
            task.cpu = cpu_index as u16;
            prev_slot = task.slot;
        }
    }

    // The next task: its cgroup is the one it had when it last left a CPU.
    let mut next_slot = SLOT_IDLE;
    let mut next = None;
    let mut came_back = false;
    if next_key != cpu.idle_key {
        next = find(next_key);
        next_slot = SLOT_UNKNOWN;
        if let Some(task) = &mut next {
            came_back = task.state == task_state::LEFT;
            task.state = task_state::RUNNING;
            next_slot = task.slot;
        }
    }
    if STEP < step::RUNS {
        return 0;
    }

    let switches = cpu.switches.wrapping_add(1);
    publish(&mut cpu.switches, switches);
    let run_began = cpu.since_ns;
    let mut disorder = false;
    let ran = runqueue::switch(cpu, now, prev_slot, next_slot, &mut disorder);
    if disorder {
        note(Ledger::TimeDisorder);
    }
    if let Some(task) = prev {
        count_run(cpu_index, task, ran.unwrap_or(0), runnable);
    }
    publish(&mut cpu.accounted, switches);
    if STEP < step::WAITS {
        return 0;
    }

    if let Some(task) = next
        && task.since_ns != 0
    {
        if came_back {
            come_back::<STATE>(cpu_index, task);
        }
        arrive::<STEP>(cpu, cpu_index, task, now, run_began, prev_slot);
    }
    if runnable && prev_slot < SLOT_UNKNOWN {
        runqueue::remember_waiter(cpu, prev_key, now);
    }
    if let Some(waiter) = runqueue::old_waiter(cpu) {
        account_old(cpu_index, waiter.key, waiter.since_ns, now);
    }
    0
}

/// Whether the present task is this CPU's idle task, whose key is then remembered.
#[inline(always)]
fn is_idle(cpu: &mut CpuState, key: u64) -> bool {
    // All idle tasks have pid 0, and no other task has. Once the key is known it tells.
    let idle = cpu.idle_key == 0 && bpf_get_current_pid_tgid() as u32 == 0;
    if idle {
        cpu.idle_key = key;
    }
    idle
}

/// Notes the cgroup of a task that was in another, or none.
#[cold]
#[inline(never)]
#[unsafe(link_section = ".text")]
fn join(task: &mut Task, cgroup_id: u64) {
    task.cgroup_id = cgroup_id;
    task.slot = slot_of(cgroup_id);
}

/// Counts the run that ends of a task that leaves.
#[inline(always)]
fn count_run(cpu_index: u32, task: &mut Task, ran_ns: u64, runnable: bool) {
    if task.slot >= SLOT_UNKNOWN {
        return;
    }
    let Some(line) = line(cpu_index, task.slot) else {
        // The next time it is asked for anew.
        task.slot = SLOT_UNKNOWN;
        return;
    };
    line.on_cpu_ns += ran_ns;
    if runnable {
        line.switches_involuntary += 1;
    } else {
        line.switches_voluntary += 1;
    }
    line.wakeups += u64::from(task.wakeups);
    task.wakeups = 0;
    if task.migrations != 0
        && let Some(counters) = slots::counters(task.slot)
    {
        // SAFETY: a map value, added to atomically.
        add(
            unsafe { &raw mut (*counters).migrations },
            u64::from(task.migrations),
        );
        task.migrations = 0;
    }
}

/// Ends the wait of a task that is given this CPU from one of `prev_slot`, which ran since `run_began`.
#[inline(always)]
fn arrive<const STEP: u32>(
    cpu: &CpuState,
    cpu_index: u32,
    task: &mut Task,
    now: u64,
    run_began: u64,
    prev_slot: u32,
) {
    let since = task.since_ns;
    let victim = task.slot;
    // Most waits lie within one run.
    if since < run_began
        || since > now
        || run_began == 0
        || victim == SLOT_UNKNOWN
        || prev_slot == SLOT_UNKNOWN
    {
        arrive_after_many(cpu, cpu_index, task, now);
        return;
    }
    task.since_ns = 0;
    let ns = now - since;
    if let Some(line) = line(cpu_index, victim) {
        line.wait_ns += ns;
        if prev_slot == victim {
            line.wait_own_ns += ns;
        } else if prev_slot == SLOT_IDLE {
            line.wait_idle_ns += ns;
        } else if STEP >= step::MATRIX {
            blame(cpu_index, pair_key(victim, prev_slot), ns);
        }
    }
    end_wait(task, ns);
}

/// The same for a wait that does not lie within the run that ends, or may not be accounted.
#[cold]
#[inline(never)]
#[unsafe(link_section = ".text")]
fn arrive_after_many(cpu: &CpuState, cpu_index: u32, task: &mut Task, now: u64) {
    let since = task.since_ns;
    if since > now {
        task.since_ns = 0;
        count(Ledger::TimeDisorder);
    } else if since < cpu.began_ns {
        // It began before the probes were there, or while they were detached.
        task.since_ns = 0;
        count(Ledger::WaitUnassigned);
    } else if task.slot == SLOT_UNKNOWN {
        task.until_ns = now;
    } else {
        task.since_ns = 0;
        account(cpu_index, task.slot, since, now);
        end_wait(task, now - since);
    }
}

/// A task that seemed to sleep comes back without a wake-up: it was runnable all the time.
#[cold]
#[inline(never)]
#[unsafe(link_section = ".text")]
fn come_back<const STATE: bool>(cpu_index: u32, task: &mut Task) {
    if task.slot >= SLOT_UNKNOWN {
        return;
    }
    if !STATE && let Some(line) = line(cpu_index, task.slot) {
        // The switch was counted as one to sleep, maybe in another CPU's line: what counts is the sum of all.
        line.switches_voluntary = line.switches_voluntary.wrapping_sub(1);
        line.switches_involuntary = line.switches_involuntary.wrapping_add(1);
    }
    // What it waited before a move, on a CPU whose memory of that may be gone.
    let moved_ns = core::mem::take(&mut task.moved_ns);
    if moved_ns > task.since_ns {
        let ns = moved_ns - task.since_ns;
        task.since_ns = moved_ns;
        task.settled_ns += ns;
        if let (Some(line), Some(counters)) =
            (line(cpu_index, task.slot), slots::counters(task.slot))
        {
            line.wait_ns += ns;
            // SAFETY: a map value, added to atomically.
            add(unsafe { &raw mut (*counters).wait_unexplained_ns }, ns);
        }
    }
}

/// Accounts what a task that left this CPU at `since` waited so far, if it waits still: the history will not reach back
/// that far when it gets a CPU.
#[cold]
#[inline(never)]
#[unsafe(link_section = ".text")]
fn account_old(cpu_index: u32, key: u64, since: u64, now: u64) {
    let Some(task) = find(key) else {
        return;
    };
    // Whoever ran, or was moved or accounted since, has another time.
    if task.state != task_state::WAITING
        || task.since_ns != since
        || task.cpu != cpu_index as u16
        || task.slot >= SLOT_UNKNOWN
        || since >= now
    {
        return;
    }
    task.since_ns = now;
    task.settled_ns += now - since;
    account(cpu_index, task.slot, since, now);
    if let Some(cpu) = CPUS.get_ptr_mut(cpu_index) {
        // SAFETY: a map value; only this CPU writes it, with interrupts off.
        runqueue::remember_waiter(unsafe { &mut *cpu }, key, now);
    }
}

/// Accounts the wait before the run that ends, if the cgroup was not known when it ended.
#[cold]
#[inline(never)]
#[unsafe(link_section = ".text")]
fn settle_late(cpu: &CpuState, cpu_index: u32, task: &mut Task) {
    let until = core::mem::take(&mut task.until_ns);
    if task.slot >= SLOT_UNKNOWN || task.since_ns < cpu.began_ns {
        count(Ledger::WaitUnassigned);
        return;
    }
    let since = task.since_ns;
    account(cpu_index, task.slot, since, until);
    end_wait(task, until - since);
}

/// Counts a wait that ended, of which `ns` are its last part.
#[inline(always)]
fn end_wait(task: &mut Task, ns: u64) {
    let ns = ns + core::mem::take(&mut task.settled_ns);
    if let Some(counters) = slots::counters(task.slot) {
        // SAFETY: a map value, added to atomically.
        count_duration(unsafe { &raw mut (*counters).wait_buckets }, ns);
    }
}

/// Adds a wait, or a part of one, for the CPU `waited_for` to what a cgroup waited, and lays it on those that ran there.
///
/// A global function (5.6), which the verifier walks once and not in each state of each caller; such take numbers only,
/// and must return one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn account(waited_for: u32, victim: u32, since: u64, until: u64) -> u32 {
    let cpu_index = this_cpu();
    let (Some(waited_for), Some(line)) = (CPUS.get_ptr_mut(waited_for), line(cpu_index, victim))
    else {
        return 0;
    };
    // SAFETY: a map value; the run-queue lock that is held keeps that CPU from switching.
    let waited_for = unsafe { &*waited_for };
    line.wait_ns += until.saturating_sub(since);
    let left = runqueue::settle(waited_for, since, until, |slot, ns| {
        if slot == victim {
            line.wait_own_ns += ns;
        } else if slot == SLOT_IDLE {
            line.wait_idle_ns += ns;
        } else {
            blame(cpu_index, pair_key(victim, slot), ns);
        }
    });
    if left != 0
        && let Some(counters) = slots::counters(victim)
    {
        // SAFETY: a map value, added to atomically.
        add(unsafe { &raw mut (*counters).wait_unexplained_ns }, left);
    }
    0
}

#[inline(always)]
fn blame(cpu_index: u32, key: u64, ns: u64) {
    let set = runqueue::pair_set_of(key);
    let Some(pairs) = PAIRS.get_ptr_mut(cpu_index * PAIR_SETS as u32 + set) else {
        return;
    };
    // SAFETY: a map value; only this CPU writes it, with interrupts off.
    if !runqueue::add_to_pair(unsafe { &mut *pairs }, key, ns) {
        place(cpu_index, set, key, ns);
    }
}

/// Gives a pair a place in its set, if need be that of another, which moves to the shared map. Global as [`account`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn place(cpu_index: u32, set: u32, key: u64, ns: u64) -> u32 {
    let (Some(cpu), Some(pairs)) = (
        CPUS.get_ptr_mut(cpu_index),
        PAIRS.get_ptr_mut(cpu_index * PAIR_SETS as u32 + set),
    ) else {
        return 0;
    };
    // SAFETY: map values; only this CPU writes them, with interrupts off.
    let (cpu, pairs) = unsafe { (&mut *cpu, &mut *pairs) };
    if runqueue::take_place(pairs, key, ns) {
        cpu.pairs_used[(set as usize / 64) & (PAIR_SETS / 64 - 1)] |= 1 << (set & 63);
        return 0;
    }
    // A pair of which one is gone was read before its slot became another's.
    for way in &mut pairs.ways {
        let (victim, aggressor) = pair_of(way.key);
        if !is_current(victim) || !is_current(aggressor) {
            *way = Pair { key, ns };
            return 0;
        }
    }
    // In turn, so that a pair that is entered often comes back to a place that one of the others leaves.
    let evictions = cpu.evictions;
    let way = &mut pairs.ways[(evictions / 2) as usize & (PAIR_WAYS - 1)];
    cpu.evictions = evictions + 1;
    cpu.evicted[(evictions / 2) as usize & (EVICTED - 1)] = way.key;
    if let Some(total) = MATRIX.get_ptr_mut(way.key) {
        add(total, way.ns);
    } else if MATRIX.insert(way.key, way.ns, 0).is_err() {
        // Two CPUs that insert the same pair at once: the later one wins, and what the other had is lost.
        count(Ledger::MatrixFull);
    }
    *way = Pair { key, ns };
    cpu.evictions = evictions + 2;
    0
}

/// Hook: raw tracepoint `sched_wakeup` (task). Context: run-queue lock of the task's CPU held, but where a task wakes
/// itself. Kernel: 5.10. Maps: `TASKS`.
#[raw_tracepoint(tracepoint = "sched_wakeup")]
pub fn sched_wakeup(ctx: RawTracePointContext) -> i32 {
    wakeup::<{ step::ALL }>(&ctx)
}

/// A wake-up, as far as a step.
#[inline(always)]
pub fn wakeup<const STEP: u32>(ctx: &RawTracePointContext) -> i32 {
    if STEP < step::TASKS {
        if STEP >= step::CLOCK {
            // The compiler keeps a call whose result nobody uses.
            now_ns();
        }
        return 0;
    }
    let key: u64 = ctx.arg(0);
    if let Some(task) = find_or_take(key) {
        runqueue::wake(task, now_ns);
    }
    0
}

/// Hook: raw tracepoint `sched_wakeup_new` (task). Context: as `sched_wakeup`; `current` is the task that made the new
/// one, and both are in the same cgroup unless it was born into another (`CLONE_INTO_CGROUP`). Kernel: 5.10. Maps:
/// `TASKS`, `SLOT_OF`.
#[raw_tracepoint(tracepoint = "sched_wakeup_new")]
pub fn sched_wakeup_new(ctx: RawTracePointContext) -> i32 {
    let key: u64 = ctx.arg(0);
    let Some(task) = find_or_take(key) else {
        return 0;
    };
    *task = runqueue::new_task(key);
    // SAFETY: a helper without arguments.
    task.cgroup_id = unsafe { bpf_get_current_cgroup_id() };
    task.slot = slot_of(task.cgroup_id);
    // Where it is queued is not told; the tracepoint of moves tells changes only.
    task.cpu = u16::MAX;
    runqueue::wake(task, now_ns);
    0
}

/// Hook: raw tracepoint `sched_migrate_task` (task, destination CPU). Context: the task's run-queue or wake-up lock held,
/// before it is queued on the destination. Kernel: 5.10. Maps: `TASKS`, `CPUS`, `CPU_LINES`, `PAIRS`, `CGROUPS`; rarely
/// `MATRIX`.
#[raw_tracepoint(tracepoint = "sched_migrate_task")]
pub fn sched_migrate_task(ctx: RawTracePointContext) -> i32 {
    let key: u64 = ctx.arg(0);
    let destination = ctx.arg::<u64>(1) as u16;
    let Some(task) = find(key) else {
        return 0;
    };
    let from = task.cpu;
    task.cpu = destination;
    task.migrations = task.migrations.wrapping_add(1);
    // A task that sleeps is moved before its wake-up; only one that waits has something to settle here. Of one that
    // left, the next event tells what it did.
    match task.state {
        task_state::WAITING => {}
        task_state::LEFT => {
            task.moved_ns = now_ns();
            return 0;
        }
        _ => return 0,
    }
    let now = now_ns();
    let since = task.since_ns;
    if since >= now {
        return 0;
    }
    task.since_ns = now;
    // A new task's CPU is not known before it gets one, and a move within that wait is rare.
    let Some(cpu) = CPUS.get_ptr_mut(u32::from(from)) else {
        count(Ledger::WaitUnassigned);
        return 0;
    };
    // SAFETY: a map value; the lock held here keeps the CPU on which the task waits from switching.
    let cpu = unsafe { &*cpu };
    if task.slot >= SLOT_UNKNOWN || since < cpu.began_ns {
        count(Ledger::WaitUnassigned);
        return 0;
    }
    account(u32::from(from), task.slot, since, now);
    task.settled_ns += now - since;
    0
}

/// Hook: raw tracepoint `sched_process_free` (task). Context: process or softirq, after the last reference to a dead
/// task is gone. Kernel: 5.10. Maps: `TASKS`.
#[raw_tracepoint(tracepoint = "sched_process_free")]
pub fn sched_process_free(ctx: RawTracePointContext) -> i32 {
    let key: u64 = ctx.arg(0);
    if let Some(task) = find(key) {
        task.key = 0;
    }
    0
}
