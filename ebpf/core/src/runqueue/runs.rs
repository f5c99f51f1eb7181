//! The runs of a CPU, and what of a wait falls on which.

use galileo_ebpf_abi::{CpuState, HISTORY, SLOT_IDLE, SLOT_UNKNOWN};

/// Runs looked at for one wait. What lies before them is left unexplained.
pub(super) const RUNS_PER_WAIT: u32 = HISTORY as u32 - 2;

/// Notes the task that comes, and tells whether a switch before this one was not seen: the task that leaves is not the one
/// that came last.
///
/// What ran since the last switch that was seen is then taken for one run of the task that leaves.
#[inline(always)]
#[must_use]
pub fn change(cpu: &mut CpuState, prev_key: u64, next_key: u64) -> bool {
    core::mem::replace(&mut cpu.key, next_key) != prev_key && cpu.since_ns != 0
}

/// Ends the run of the present task, which is `slot`'s, at `now_ns`. Who runs next is for the caller to enter.
///
/// Returns the length of the run; none at the first switch seen on this CPU, and if time went backwards (`disorder` is
/// set then).
#[inline(always)]
pub fn end_run(cpu: &mut CpuState, now_ns: u64, slot: u32, disorder: &mut bool) -> Option<u64> {
    let since = cpu.since_ns;
    if now_ns < since {
        *disorder = true;
        return None;
    }
    cpu.since_ns = now_ns;
    if since == 0 {
        // The run before began at an unknown time: a run of nobody marks where memory starts.
        cpu.began_ns = now_ns;
        remember(cpu, now_ns, SLOT_UNKNOWN);
        return None;
    }
    remember(cpu, now_ns, slot);
    let ran = now_ns - since;
    if slot == SLOT_IDLE {
        cpu.idle_ns += ran;
    } else if slot == SLOT_UNKNOWN {
        cpu.unknown_ns += ran;
    }
    Some(ran)
}

#[inline(always)]
fn remember(cpu: &mut CpuState, end_ns: u64, slot: u32) {
    let last = &mut cpu.history[cpu.written.wrapping_sub(1) as usize & (HISTORY - 1)];
    if last.slot == slot && last.end_ns != 0 {
        last.end_ns = end_ns;
        return;
    }
    let run = &mut cpu.history[cpu.written as usize & (HISTORY - 1)];
    run.end_ns = end_ns;
    run.slot = slot;
    cpu.written = cpu.written.wrapping_add(1);
}

/// Lays the time from `since_ns` to `until_ns` over what `cpu` ran then. `part(slot, ns)` is called for each run of a known
/// cgroup and of the idle task; returned is what is left.
#[inline(always)]
pub fn settle(cpu: &CpuState, since_ns: u64, until_ns: u64, mut part: impl FnMut(u32, u64)) -> u64 {
    let mut left = until_ns.saturating_sub(since_ns);
    let mut stop = until_ns;
    // The present run; empty where this is called at the switch itself.
    if cpu.since_ns != 0 && cpu.since_ns < stop {
        let begin = cpu.since_ns.max(since_ns);
        if begin < stop && cpu.slot != SLOT_UNKNOWN {
            left -= stop - begin;
            part(cpu.slot, stop - begin);
        }
        stop = cpu.since_ns;
    }
    // Places that were never written end at 0, which ends the loop.
    for back in 1..=RUNS_PER_WAIT {
        if stop <= since_ns {
            break;
        }
        let at = cpu.written.wrapping_sub(back) as usize;
        let slot = cpu.history[at & (HISTORY - 1)].slot;
        let before_ns = cpu.history[at.wrapping_sub(1) & (HISTORY - 1)].end_ns;
        let begin = before_ns.max(since_ns);
        if begin < stop {
            if slot != SLOT_UNKNOWN {
                left -= stop - begin;
                part(slot, stop - begin);
            }
            stop = begin;
        }
    }
    left
}
