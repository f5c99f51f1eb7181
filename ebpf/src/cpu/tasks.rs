//! What is known of a task, by the address of its `task_struct`.

use core::cell::UnsafeCell;

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use galileo_ebpf_abi::{Ledger, TASK_PLACES, Task};
use galileo_ebpf_core::runqueue;

use crate::{ledger::count, slots::slot_of};

/// Tasks, by the hash of their key. A global variable, not a map of its own: its places are reached without a look-up.
static TASKS: Tasks = Tasks(UnsafeCell::new([runqueue::FREE_TASK; TASK_PLACES as usize]));

struct Tasks(UnsafeCell<[Task; TASK_PLACES as usize]>);

// SAFETY: each access is a load or store of one aligned word of a `Task`. Two CPUs look at one task under its own locks only;
// where they look at one place for two tasks, any mixture of these is found out by `key`, or makes one of them look new.
unsafe impl Sync for Tasks {}

#[inline(always)]
fn task_at(place: u32) -> &'static mut Task {
    let place = place as usize & (TASK_PLACES as usize - 1);
    let first = TASKS.0.get().cast::<Task>();
    // SAFETY: within the array, as `place` is masked by its length.
    let task = unsafe { first.add(place) };
    // SAFETY: as above, and never freed. Another CPU, or a search for another task, may have this place too, see `Sync` above;
    // two tasks that take the same free place at the same moment make one of them look new later.
    unsafe { &mut *task }
}

/// What is known of a task.
#[inline(always)]
pub(super) fn find(key: u64) -> Option<&'static mut Task> {
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
pub(super) fn find_or_take(key: u64) -> Option<&'static mut Task> {
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
