//! Who ran, who waited, and who held the CPU meanwhile.
//!
//! Raw tracepoints only: their arguments are pointers used as keys and plain numbers, so nothing here depends on the
//! layout of a kernel structure. `current` is still the task that leaves when `sched_switch` fires, which gives its
//! cgroup.

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
    CpuState, Ledger, MatrixKey, SLOT_IDLE, SLOT_UNKNOWN, TASK_SETS, Task, TaskSet,
};
use galileo_ebpf_core::runqueue::{self, Wait};

use crate::{
    ledger::{MMAPABLE, add, count, count_duration},
    slots::{CGROUPS, slot_of},
};

/// One entry a possible CPU; user space sets the number.
#[map]
static CPUS: Array<CpuState> = Array::with_max_entries(256, MMAPABLE);

#[map]
static TASKS: Array<TaskSet> = Array::with_max_entries(TASK_SETS, 0);

/// Who waited while whom a CPU was given to.
#[map]
static MATRIX: HashMap<MatrixKey, u64> = HashMap::with_max_entries(16_384, 0);

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}

#[inline(always)]
fn tasks(key: u64) -> Option<&'static mut TaskSet> {
    // SAFETY: a map value. Two CPUs may look at one set at once, but at one task only under its own locks; two tasks
    // that take the same free place at the same moment make one of them look new later.
    TASKS
        .get_ptr_mut(runqueue::set_of(key))
        .map(|set| unsafe { &mut *set })
}

/// Hook: raw tracepoint `sched_switch` (preempt, prev, next). Context: run-queue lock held, interrupts off. Kernel: 5.10
/// (boot clock: 5.8). Maps: `CPUS`, `TASKS`, `CGROUPS`, `SLOT_OF`, `MATRIX`.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub fn sched_switch(ctx: RawTracePointContext) -> i32 {
    let now = now_ns();
    let preempted = ctx.arg::<u64>(0) & 1 != 0;
    let prev_key: u64 = ctx.arg(1);
    let next_key: u64 = ctx.arg(2);
    // SAFETY: a helper without arguments.
    let cpu_index = unsafe { bpf_get_smp_processor_id() };
    let Some(cpu) = CPUS.get_ptr_mut(cpu_index) else {
        return 0;
    };
    // SAFETY: a map value; only this CPU writes it, and others read it under this CPU's run-queue lock.
    let cpu = unsafe { &mut *cpu };

    let prev_slot = leave(prev_key, cpu_index, now, preempted);

    // The next task: its cgroup is the one it had when it last left a CPU.
    let mut next_slot = SLOT_UNKNOWN;
    let mut since = 0;
    let mut settled_ns = 0;
    if let Some(task) = tasks(next_key).and_then(|set| runqueue::find(set, next_key)) {
        next_slot = task.slot;
        since = core::mem::take(&mut task.since_ns);
        settled_ns = core::mem::take(&mut task.settled_ns);
        task.runnable = 0;
    }

    let mut disorder = false;
    let ran = runqueue::switch(cpu, now, prev_slot, next_slot, &mut disorder);
    if disorder {
        count(Ledger::TimeDisorder);
    }
    if prev_slot < SLOT_UNKNOWN
        && let Some(counters) = CGROUPS.get_ptr_mut(prev_slot)
    {
        // SAFETY: a map value, added to atomically.
        unsafe {
            if let Some(ran) = ran {
                add(&raw mut (*counters).on_cpu_ns, ran);
            }
            if preempted {
                add(&raw mut (*counters).switches_involuntary, 1);
            } else {
                add(&raw mut (*counters).switches_voluntary, 1);
            }
        }
    }

    cpu.accounted = u64::from(cpu.written);

    if since == 0 || next_slot == SLOT_IDLE {
        return 0;
    }
    if next_slot == SLOT_UNKNOWN {
        count(Ledger::WaitUnassigned);
        return 0;
    }
    if since > now {
        count(Ledger::TimeDisorder);
        return 0;
    }
    let part = runqueue::settle(cpu, next_slot, since, now, |aggressor, ns| {
        blame(next_slot, aggressor, ns)
    });
    account(next_slot, &part, Some(settled_ns + part.total_ns));
    0
}

/// Notes that the present task leaves this CPU; returns its slot.
#[inline(always)]
fn leave(key: u64, cpu_index: u32, now: u64, preempted: bool) -> u32 {
    // All idle tasks have pid 0, and no other task has.
    if bpf_get_current_pid_tgid() as u32 == 0 {
        if let Some(task) = tasks(key).and_then(|set| runqueue::find_or_take(set, key)) {
            task.slot = SLOT_IDLE;
            task.since_ns = 0;
        }
        return SLOT_IDLE;
    }
    // SAFETY: a helper without arguments.
    let cgroup_id = unsafe { bpf_get_current_cgroup_id() };
    let Some(task) = tasks(key).and_then(|set| runqueue::find_or_take(set, key)) else {
        count(Ledger::TasksFull);
        return slot_of(cgroup_id);
    };
    if task.cgroup_id != cgroup_id || task.slot == SLOT_UNKNOWN {
        task.cgroup_id = cgroup_id;
        task.slot = slot_of(cgroup_id);
    }
    task.cpu = cpu_index as u16;
    task.runnable = u16::from(preempted);
    // If it is still runnable it waits from now on. If it sleeps, its wake-up will overwrite this; that it comes back
    // without one means that it never slept.
    task.since_ns = now;
    task.settled_ns = 0;
    task.slot
}

/// Adds a wait, or the part of one, to what a cgroup waited; `ended_ns` is the length of the whole wait if this ends it.
#[inline(always)]
fn account(slot: u32, part: &Wait, ended_ns: Option<u64>) {
    let Some(counters) = CGROUPS.get_ptr_mut(slot) else {
        return;
    };
    // SAFETY: a map value, added to atomically.
    unsafe {
        add(&raw mut (*counters).wait_ns, part.total_ns);
        if part.own_ns > 0 {
            add(&raw mut (*counters).wait_own_ns, part.own_ns);
        }
        if part.other_ns > 0 {
            add(&raw mut (*counters).wait_other_ns, part.other_ns);
        }
        if let Some(ended_ns) = ended_ns {
            add(&raw mut (*counters).waits, 1);
            count_duration(&raw mut (*counters).wait_buckets, ended_ns);
        }
    }
}

#[inline(always)]
fn blame(victim: u32, aggressor: u32, ns: u64) {
    let key = MatrixKey { victim, aggressor };
    if let Some(total) = MATRIX.get_ptr_mut(key) {
        add(total, ns);
    } else if MATRIX.insert(key, ns, 0).is_err() {
        // Two CPUs that insert the same pair at once: the later one wins, and one wait of this pair is not entered.
        count(Ledger::MatrixFull);
    }
}

/// Hook: raw tracepoint `sched_wakeup` (task). Context: run-queue lock of the task's CPU held. Kernel: 5.10. Maps:
/// `TASKS`, `CGROUPS`.
#[raw_tracepoint(tracepoint = "sched_wakeup")]
pub fn sched_wakeup(ctx: RawTracePointContext) -> i32 {
    let key: u64 = ctx.arg(0);
    let Some(task) = tasks(key).and_then(|set| runqueue::find_or_take(set, key)) else {
        count(Ledger::TasksFull);
        return 0;
    };
    wake(task);
    0
}

/// Hook: raw tracepoint `sched_wakeup_new` (task). Context: as `sched_wakeup`; `current` is the task that made the new
/// one, and both are in the same cgroup unless it was born into another (`CLONE_INTO_CGROUP`). Kernel: 5.10.
#[raw_tracepoint(tracepoint = "sched_wakeup_new")]
pub fn sched_wakeup_new(ctx: RawTracePointContext) -> i32 {
    let key: u64 = ctx.arg(0);
    let Some(task) = tasks(key).and_then(|set| runqueue::find_or_take(set, key)) else {
        count(Ledger::TasksFull);
        return 0;
    };
    // SAFETY: helpers without arguments.
    unsafe {
        task.cgroup_id = bpf_get_current_cgroup_id();
        task.cpu = bpf_get_smp_processor_id() as u16;
    }
    task.slot = slot_of(task.cgroup_id);
    wake(task);
    0
}

#[inline(always)]
fn wake(task: &mut Task) {
    task.since_ns = now_ns();
    task.settled_ns = 0;
    task.runnable = 1;
    if task.slot < SLOT_UNKNOWN
        && let Some(counters) = CGROUPS.get_ptr_mut(task.slot)
    {
        // SAFETY: a map value, added to atomically.
        unsafe { add(&raw mut (*counters).wakeups, 1) };
    }
}

/// Hook: raw tracepoint `sched_migrate_task` (task, destination CPU). Context: the task's run-queue or wake-up lock held,
/// before it is queued on the destination. Kernel: 5.10. Maps: `TASKS`, `CPUS`, `CGROUPS`, `MATRIX`.
#[raw_tracepoint(tracepoint = "sched_migrate_task")]
pub fn sched_migrate_task(ctx: RawTracePointContext) -> i32 {
    let key: u64 = ctx.arg(0);
    let destination = ctx.arg::<u64>(1) as u16;
    let Some(task) = tasks(key).and_then(|set| runqueue::find(set, key)) else {
        return 0;
    };
    if task.slot >= SLOT_UNKNOWN {
        task.cpu = destination;
        return 0;
    }
    let slot = task.slot;
    let since = task.since_ns;
    let now = now_ns();
    // A task that sleeps is moved before its wake-up; only one that waits has something to settle here.
    if task.runnable != 0
        && since != 0
        && since < now
        && let Some(cpu) = CPUS.get_ptr_mut(u32::from(task.cpu))
    {
        // SAFETY: a map value; the lock held here keeps the CPU on which the task waits from switching.
        let cpu = unsafe { &*cpu };
        let part = runqueue::settle(cpu, slot, since, now, |aggressor, ns| {
            blame(slot, aggressor, ns)
        });
        account(slot, &part, None);
        task.settled_ns += part.total_ns;
        task.since_ns = now;
    }
    task.cpu = destination;
    if let Some(counters) = CGROUPS.get_ptr_mut(slot) {
        // SAFETY: a map value, added to atomically.
        unsafe { add(&raw mut (*counters).migrations, 1) };
    }
    0
}

/// Hook: raw tracepoint `sched_process_free` (task). Context: process or softirq, after the last reference to a dead
/// task is gone. Kernel: 5.10. Maps: `TASKS`.
#[raw_tracepoint(tracepoint = "sched_process_free")]
pub fn sched_process_free(ctx: RawTracePointContext) -> i32 {
    let key: u64 = ctx.arg(0);
    if let Some(task) = tasks(key).and_then(|set| runqueue::find(set, key)) {
        task.key = 0;
    }
    0
}
