//! Tasks that left a CPU while they could have gone on, and may wait longer than the history reaches back.

use galileo_ebpf_abi::{CpuState, HISTORY, WAITERS, Waiter};

/// A wait during which so many runs ended is accounted up to now, as their places in the history are needed soon.
pub(super) const OLD_RUNS: u32 = HISTORY as u32 / 2;

/// Remembers that a task waits for this CPU from now on.
#[inline(always)]
pub fn remember_waiter(cpu: &mut CpuState, key: u64, now_ns: u64) {
    cpu.waiters[cpu.waiters_written as usize & (WAITERS - 1)] = Waiter {
        key,
        since_ns: now_ns,
        written: u64::from(cpu.written),
    };
    cpu.waiters_written = cpu.waiters_written.wrapping_add(1);
}

/// The oldest of those who may still wait, if its wait is about to reach back further than the history; each is told
/// once. It waits still if its `since_ns` is that of the task.
#[inline(always)]
pub fn old_waiter(cpu: &mut CpuState) -> Option<Waiter> {
    let waiting = cpu.waiters_written.wrapping_sub(cpu.waiters_done);
    if waiting == 0 {
        return None;
    }
    if waiting > WAITERS as u32 {
        cpu.waiters_done = cpu.waiters_written.wrapping_sub(WAITERS as u32);
    }
    let oldest = cpu.waiters[cpu.waiters_done as usize & (WAITERS - 1)];
    if cpu.written.wrapping_sub(oldest.written as u32) < OLD_RUNS {
        return None;
    }
    cpu.waiters_done = cpu.waiters_done.wrapping_add(1);
    Some(oldest)
}
