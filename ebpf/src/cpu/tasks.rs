//! What is known of a task, by the address of its `task_struct`.

use aya_ebpf::{
    macros::{map, raw_tracepoint},
    maps::Array,
    programs::RawTracePointContext,
};
use galileo_ebpf_abi::{Ledger, TASK_PLACES, Task};
use galileo_ebpf_core::runqueue;

use crate::{
    ledger::{MMAPABLE, count},
    slots::slot_of,
};

/// Tasks, by the hash of their key; a free place is all zero. User space sets the number. It maps none of them: what is mapped begins
/// with a page, so that each place is one cache line.
#[map]
static TASKS: Array<Task> = Array::with_max_entries(TASK_PLACES, MMAPABLE);

/// The number of places less one. User space sets it before the object is loaded.
#[unsafe(no_mangle)]
static TASKS_MASK: u32 = TASK_PLACES - 1;

#[inline(always)]
fn mask() -> u32 {
    // SAFETY: a word that nobody writes once the object is loaded; volatile, as the compiler takes it for what stands here.
    unsafe { (&raw const TASKS_MASK).read_volatile() }
}

#[inline(always)]
fn task_at(place: u32) -> Option<&'static mut Task> {
    let task = TASKS.get_ptr_mut(place)?;
    // SAFETY: a map value, never freed. Another CPU, or a search for another task, may have this place too, and each access is a load
    // or store of one aligned word. Two CPUs look at one task under its own locks only; where they look at one place for two tasks, any
    // mixture of these is found out by `key`, or makes one of them look new, as do two tasks that take the same free place at the same
    // moment.
    Some(unsafe { &mut *task })
}

/// What is known of a task.
#[inline(always)]
pub(super) fn find(key: u64) -> Option<&'static mut Task> {
    match task_at(runqueue::place_of(key, mask())) {
        Some(task) if task.key == key => Some(task),
        _ => find_elsewhere(key),
    }
}

#[cold]
#[inline(never)]
#[unsafe(link_section = ".text")]
fn find_elsewhere(key: u64) -> Option<&'static mut Task> {
    runqueue::search(key, key, mask(), task_at)
}

/// What is known of a task, which is given a place if it has none. None if all are taken, which is counted.
#[inline(always)]
pub(super) fn find_or_take(key: u64) -> Option<&'static mut Task> {
    match task_at(runqueue::place_of(key, mask())) {
        Some(task) if task.key == key => Some(task),
        _ => find_or_take_elsewhere(key),
    }
}

#[cold]
#[inline(never)]
#[unsafe(link_section = ".text")]
fn find_or_take_elsewhere(key: u64) -> Option<&'static mut Task> {
    if let Some(task) = runqueue::search(key, key, mask(), task_at) {
        return Some(task);
    }
    let Some(task) = runqueue::search(key, 0, mask(), task_at) else {
        count(Ledger::TasksFull);
        return None;
    };
    *task = runqueue::new_task(key);
    Some(task)
}

/// Notes the cgroup of a task that was in another, or none.
#[cold]
#[inline(never)]
#[unsafe(link_section = ".text")]
pub(super) fn join(task: &mut Task, cgroup_id: u64) {
    task.cgroup_id = cgroup_id;
    task.slot = slot_of(cgroup_id);
}

/// Hook: raw tracepoint `sched_process_free` (task). Context: process or softirq, after the last reference to a dead
/// task is gone. Kernel: 5.10. Maps: `TASKS`. Cost: some 310 ns a run, once for each task (docs/measurements.md, "Each program").
#[raw_tracepoint(tracepoint = "sched_process_free")]
pub fn sched_process_free(ctx: RawTracePointContext) -> i32 {
    let key: u64 = ctx.arg(0);
    if let Some(task) = find(key) {
        task.key = 0;
    }
    0
}
