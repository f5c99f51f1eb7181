//! Tasks that are moved to another CPU.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use galileo_ebpf_abi::{Ledger, SLOT_UNKNOWN, task_state};

use super::{CPUS, tasks::find, waits::account};
use crate::{clock::now_ns, ledger::count};

/// Hook: raw tracepoint `sched_migrate_task` (task, destination CPU). Context: the task's run-queue or wake-up lock held,
/// before it is queued on the destination. Kernel: 5.10. Maps: `TASKS`, `CPUS`, `CPU_LINES`, `PAIRS`, `CGROUPS`; rarely
/// `MATRIX`. Cost: some 400 ns a run, up to 940 where it is rare; a run for each move (docs/measurements.md, "Each program").
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
        if since > now {
            count(Ledger::TimeDisorder);
        }
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
    if account(u32::from(from), task.slot, since, now) == 0 {
        count(Ledger::WaitUnassigned);
        return 0;
    }
    task.settled_ns += now - since;
    0
}
