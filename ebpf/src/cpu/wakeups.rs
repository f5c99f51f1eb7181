//! Wake-ups, at which most waits begin.

use aya_ebpf::{
    helpers::bpf_get_current_cgroup_id, macros::raw_tracepoint, programs::RawTracePointContext,
};
use galileo_ebpf_abi::step;
use galileo_ebpf_core::runqueue;

use super::tasks::find_or_take;
use crate::{clock::now_ns, slots::slot_of};

/// Hook: raw tracepoint `sched_wakeup` (task). Context: run-queue lock of the task's CPU held, but where a task wakes
/// itself. Kernel: 5.10. Maps: `TASKS`. Cost: 80 to 230 ns a run, the more the longer ago the last one was (docs/measurements.md, "Each
/// program").
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
    // The clock comes after the task is found: reading it waits for all that was loaded before, which so comes meanwhile. The
    // other way around takes 5 ns more.
    if let Some(task) = find_or_take(key) {
        runqueue::wake(task, now_ns);
    }
    0
}

/// Hook: raw tracepoint `sched_wakeup_new` (task). Context: as `sched_wakeup`; `current` is the task that made the new
/// one, and both are in the same cgroup unless it was born into another (`CLONE_INTO_CGROUP`). Kernel: 5.10. Maps:
/// `TASKS`, `SLOT_OF`. Cost: some 690 ns a run, once for each task (docs/measurements.md, "Each program").
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
