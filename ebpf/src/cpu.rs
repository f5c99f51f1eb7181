//! Who ran, who waited, and who held the CPU meanwhile.
//!
//! Raw tracepoints only: their arguments are pointers used as keys and plain numbers, so nothing here depends on the
//! layout of a kernel structure. `current` is still the task that leaves when `sched_switch` fires, which gives its
//! cgroup.
//!
//! A switch must cost little, so each thing that it touches is one cache line: the state of the CPU, the places of the
//! two tasks, what this CPU counted of the two cgroups ([`lines`]), and a set of pairs of the interference matrix. All
//! but the tasks' places are written by this CPU alone, with interrupts off; so nothing but the histogram needs an atomic
//! addition. What each step costs stands in docs/measurements.md (`cargo xtask bench switch`).
//!
//! A kernel may keep a switch from being traced. The next one then shows that another task leaves than the one that came
//! last, which is counted (`SwitchUnseen`); the time between is that task's.
//!
//! What is rare stands in functions marked cold, so that the code of the common path stays together: it is fetched from
//! the second-level cache at nearly every switch. They name their section, as the compiler would put them into one that
//! the loader does not know.
//!
//! In reading order: this file (the switch), [`tasks`] (what is known of a task), [`wakeups`], [`lines`] (what a CPU counted of a
//! cgroup), [`waits`] (what a wait was for), [`matrix`] (who disturbed whom), [`moves`] (to another CPU).

mod lines;
mod matrix;
mod moves;
mod tasks;
mod waits;
mod wakeups;

use core::arch::asm;

use aya_ebpf::{
    helpers::{bpf_get_current_cgroup_id, bpf_get_current_pid_tgid, bpf_get_smp_processor_id},
    macros::{map, raw_tracepoint},
    maps::Array,
    programs::RawTracePointContext,
};
use galileo_ebpf_abi::{CpuState, Ledger, SLOT_IDLE, SLOT_UNKNOWN, step, task_state};
use galileo_ebpf_core::runqueue;

use crate::{
    clock::now_ns,
    ledger::{MMAPABLE, count},
};
use lines::count_run;
use tasks::{find, find_or_take, join};
use waits::{account_old, arrive, come_back, settle_late};
pub use wakeups::wakeup;

/// One entry a possible CPU; user space sets the number.
#[map]
static CPUS: Array<CpuState> = Array::with_max_entries(256, MMAPABLE);

#[inline(always)]
fn this_cpu() -> u32 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_get_smp_processor_id() }
}

/// Hook: raw tracepoint `sched_switch` (preempt, prev, next, prev's state). Context: run-queue lock held, interrupts off.
/// Kernel: 5.18, which tells the state. Maps: `CPUS`, `CPU_LINES`, `PAIRS`, `CGROUPS`, `SLOT_OF`; rarely `MATRIX`. Cost: 110 to 440 ns
/// a run, some 30 of counting within, the more the longer ago the last one was; with that of the wake-up, 140 ns for a hand-over from one
/// process to another (docs/measurements.md, "Each program" and "Scheduler probes").
#[raw_tracepoint(tracepoint = "sched_switch")]
pub fn sched_switch(ctx: RawTracePointContext) -> i32 {
    switch::<{ step::ALL }, true>(&ctx)
}

/// The same without the state. Kernel: 5.10 (boot clock: 5.8). Cost: not measured apart; the same but for two comparisons.
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
    if STEP < step::TASKS {
        // The compiler keeps a call whose result nobody uses.
        now_ns();
        return 0;
    }
    let cpu_index = this_cpu();
    let Some(this) = CPUS.get_ptr_mut(cpu_index) else {
        return 0;
    };
    // SAFETY: a map value; only this CPU writes it, with interrupts off. Other CPUs read it under this CPU's run-queue lock, and
    // user space through its mapping, whole words, guarded by the numbers that `publish` writes.
    let cpu = unsafe { &mut *this };
    let switches = cpu.switches.wrapping_add(1);
    publish(&mut cpu.switches, switches);

    // Preempted within the kernel, or the state is `TASK_RUNNING`.
    let runnable = ctx.arg::<u64>(0) & 1 != 0 || (STATE && ctx.arg::<u64>(3) as u32 == 0);
    let prev_key: u64 = ctx.arg(1);
    let next_key: u64 = ctx.arg(2);
    if runqueue::change(cpu, prev_key, next_key) {
        note(Ledger::SwitchUnseen);
    }
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
            prev_slot = task.slot;
        }
    }

    // The next task: its cgroup is the one it had when it last left a CPU.
    let mut next_slot = SLOT_IDLE;
    let mut next = None;
    let mut came_back = false;
    // SAFETY: as above. Anew, as `settle_late` has looked at it by itself.
    let cpu = unsafe { &mut *this };
    if next_key != cpu.idle_key {
        next = find(next_key);
        next_slot = SLOT_UNKNOWN;
        if let Some(task) = &mut next {
            came_back = task.state == task_state::LEFT;
            task.state = task_state::RUNNING;
            next_slot = task.slot;
        }
    }

    // Here, as reading the clock waits for what was loaded before; and after the number of this switch was published, so that
    // no reader takes a later time for one that belongs to the state before.
    let now = now_ns();
    let mut ran_ns = 0;
    if STEP >= step::RUNS {
        // SAFETY: as above. Anew, as `settle_late` has looked at it by itself, and so has `arrive` below.
        let cpu = unsafe { &mut *this };
        let mut disorder = false;
        ran_ns = runqueue::end_run(cpu, now, prev_slot, &mut disorder).unwrap_or(0);
        if disorder {
            note(Ledger::TimeDisorder);
        }
    }
    if let Some(task) = prev {
        if STEP >= step::RUNS {
            count_run(cpu.first_line, task, ran_ns, runnable);
        }
        runqueue::leave(task, now, runnable);
        task.cpu = cpu_index as u16;
    }

    // SAFETY: as above.
    let cpu = unsafe { &mut *this };
    if STEP >= step::WAITS
        && let Some(task) = next
        && task.since_ns != 0
        && (!came_back || come_back::<STATE>(cpu.first_line, task))
    {
        arrive::<STEP>(cpu, cpu_index, task, now, ran_ns, prev_slot);
    }
    // SAFETY: as above.
    let cpu = unsafe { &mut *this };
    cpu.slot = next_slot;
    publish(&mut cpu.accounted, switches);
    if STEP < step::WAITS {
        return 0;
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
    // SAFETY: a store of an aligned word through an exclusive reference; the compiler moves no other store across it.
    unsafe {
        asm!("*(u32 *)({word} + 0) = {value}", word = in(reg) word, value = in(reg) u64::from(value));
    };
}

/// The same of a word of 64 bits.
#[inline(always)]
fn publish_long(word: &mut u64, value: u64) {
    // SAFETY: as above.
    unsafe { asm!("*(u64 *)({word} + 0) = {value}", word = in(reg) word, value = in(reg) value) };
}
