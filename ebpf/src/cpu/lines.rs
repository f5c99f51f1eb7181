//! What each CPU counted of each cgroup.

use core::ptr;

use aya_ebpf::{macros::map, maps::Array};
use galileo_ebpf_abi::{CpuLine, SLOT_UNKNOWN, Task, slot_generation, slot_index};

use crate::{
    ledger::{MMAPABLE, add, field},
    slots::{self, is_current},
};

/// What each CPU counted of each cgroup; user space sets the number: possible CPUs × slots.
#[map]
static CPU_LINES: Array<CpuLine> = Array::with_max_entries(256, MMAPABLE);

/// Number of slots. User space sets it; a constant to the verifier.
#[unsafe(no_mangle)]
static SLOT_COUNT: u32 = 1024;

/// What this CPU counted of a cgroup; none if the slot is no longer its own.
#[inline(always)]
pub(super) fn line(cpu_index: u32, slot: u32) -> Option<&'static mut CpuLine> {
    // SAFETY: a constant of this object; volatile, as user space sets it after compiling.
    let slots = unsafe { ptr::read_volatile(&raw const SLOT_COUNT) };
    let line = CPU_LINES.get_ptr_mut(cpu_index * slots + slot_index(slot))?;
    // SAFETY: a map value; only this CPU writes it, with interrupts off, and no caller has two of one slot at once. User space
    // reads its words whole, through its mapping, and looks at what `publish` wrote before and after.
    let line = unsafe { &mut *line };
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

/// Counts the run that ends of a task that leaves.
#[inline(always)]
pub(super) fn count_run(cpu_index: u32, task: &mut Task, ran_ns: u64, runnable: bool) {
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
        add(field!(counters.migrations), u64::from(task.migrations));
        task.migrations = 0;
    }
}
