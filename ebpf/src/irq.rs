//! How long interrupts and softirqs took of each CPU.
//!
//! Off unless asked for, as these hooks run often. What they count is an "of which": it lies within the time of the task
//! that was interrupted, or of the idle task. It is known by CPU, never by wait: a wait has no claim on it. Not seen are
//! interrupts that do not come through the kernel's generic handling: on x86 the local timer's and those between CPUs.

use aya_ebpf::{
    helpers::bpf_get_smp_processor_id,
    macros::{map, raw_tracepoint},
    maps::Array,
    programs::RawTracePointContext,
};
use galileo_ebpf_abi::{CpuInterrupts, Ledger};

use crate::{
    clock::now_ns,
    ledger::{MMAPABLE, count},
};

/// One entry a possible CPU; user space sets the number.
#[map]
static INTERRUPTS: Array<CpuInterrupts> = Array::with_max_entries(256, MMAPABLE);

#[inline(always)]
fn this_cpu() -> Option<&'static mut CpuInterrupts> {
    // SAFETY: a helper without arguments.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let cpu = INTERRUPTS.get_ptr_mut(cpu)?;
    // SAFETY: a map value, which only this CPU writes; user space reads its words whole, through its mapping. An interrupt that
    // comes within a softirq's program has the same value, and is done before that goes on. The only word that both write is
    // `softirq_since_ns`: at worst the interrupt's time is counted as the softirq's too.
    Some(unsafe { &mut *cpu })
}

/// Hook: raw tracepoint `irq_handler_entry` (irq, action). Context: hard interrupt, interrupts off. Kernel: 5.10. Maps:
/// `INTERRUPTS`. Cost: some 120 ns a run, of thousands a second (docs/measurements.md, "Each program").
#[raw_tracepoint(tracepoint = "irq_handler_entry")]
pub fn irq_handler_entry(_ctx: RawTracePointContext) -> i32 {
    if let Some(cpu) = this_cpu() {
        cpu.irq_since_ns = now_ns();
    }
    0
}

/// Hook: raw tracepoint `irq_handler_exit` (irq, action, result). Context: as `irq_handler_entry`. Kernel: 5.10. Maps:
/// `INTERRUPTS`. Cost: some 65 ns a run, as there.
#[raw_tracepoint(tracepoint = "irq_handler_exit")]
pub fn irq_handler_exit(_ctx: RawTracePointContext) -> i32 {
    let Some(cpu) = this_cpu() else {
        return 0;
    };
    let since = core::mem::take(&mut cpu.irq_since_ns);
    if since == 0 {
        return 0;
    }
    let ns = time_since(since);
    cpu.irq_ns += ns;
    cpu.irqs += 1;
    // It is not the softirq's that it interrupted.
    if cpu.softirq_since_ns != 0 {
        cpu.softirq_since_ns += ns;
    }
    0
}

/// Hook: raw tracepoint `softirq_entry` (vector). Context: softirq, on the way out of an interrupt, of a section without
/// softirqs, or in ksoftirqd. Kernel: 5.10. Maps: `INTERRUPTS`. Cost: 60 to 520 ns a run, the more the longer ago the last one was
/// (docs/measurements.md, "Each program").
#[raw_tracepoint(tracepoint = "softirq_entry")]
pub fn softirq_entry(_ctx: RawTracePointContext) -> i32 {
    if let Some(cpu) = this_cpu() {
        cpu.softirq_since_ns = now_ns();
    }
    0
}

/// Hook: raw tracepoint `softirq_exit` (vector). Context: as `softirq_entry`. Kernel: 5.10. Maps: `INTERRUPTS`. Cost: 60 to 180 ns
/// a run, as there.
#[raw_tracepoint(tracepoint = "softirq_exit")]
pub fn softirq_exit(_ctx: RawTracePointContext) -> i32 {
    let Some(cpu) = this_cpu() else {
        return 0;
    };
    let since = core::mem::take(&mut cpu.softirq_since_ns);
    if since != 0 {
        cpu.softirq_ns += time_since(since);
        cpu.softirqs += 1;
    }
    0
}

/// The time since `since`; none, which is counted, if that lies ahead: it may have been moved by an interrupt's time.
#[inline(always)]
fn time_since(since: u64) -> u64 {
    let ns = now_ns().wrapping_sub(since);
    if (ns as i64) < 0 {
        count(Ledger::TimeDisorder);
        return 0;
    }
    ns
}
