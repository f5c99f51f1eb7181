//! What each CPU counted of each cgroup.

use aya_ebpf::{macros::map, maps::Array};
use galileo_ebpf_abi::{CpuLine, SLOT_UNKNOWN, Task, slot_generation, slot_index};

use crate::{
    ledger::{MMAPABLE, add, field},
    slots::{self, is_current},
};

/// What each CPU counted of each cgroup; user space sets the number: possible CPUs × slots.
#[map]
static CPU_LINES: Array<CpuLine> = Array::with_max_entries(256, MMAPABLE);

/// What this CPU, whose lines begin at `first_line`, counted of a cgroup; none if the slot is no longer its own.
#[inline(always)]
pub(super) fn line(first_line: u64, slot: u32) -> Option<&'static mut CpuLine> {
    let line = CPU_LINES.get_ptr_mut(first_line as u32 + slot_index(slot))?;
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
pub(super) fn count_run(first_line: u64, task: &mut Task, ran_ns: u64, runnable: bool) {
    if task.slot >= SLOT_UNKNOWN {
        return;
    }
    let Some(line) = line(first_line, task.slot) else {
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
    if task.migrations != 0 {
        count_moves(task);
    }
}

#[cold]
#[inline(never)]
#[unsafe(link_section = ".text")]
fn count_moves(task: &mut Task) {
    if let Some(counters) = slots::counters(task.slot) {
        add(field!(counters.migrations), u64::from(task.migrations));
    }
    task.migrations = 0;
}
