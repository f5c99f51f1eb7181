//! What a wait was for: who ran on the CPU meanwhile.

use galileo_ebpf_abi::{
    CpuState, Ledger, SLOT_IDLE, SLOT_UNKNOWN, Task, pair_key, step, task_state,
};
use galileo_ebpf_core::runqueue;

use super::{CPUS, lines::line, matrix::blame, tasks::find, this_cpu};
use crate::{
    ledger::{add, count, count_duration, field, has},
    slots,
};

/// Ends the wait of a task that is given this CPU from one of `prev_slot`, which ran for `ran_ns`.
#[inline(always)]
pub(super) fn arrive<const STEP: u32>(
    cpu: &CpuState,
    cpu_index: u32,
    task: &mut Task,
    now: u64,
    ran_ns: u64,
    prev_slot: u32,
) {
    // Of a time that lies ahead this is longer than any run.
    let ns = now.wrapping_sub(task.since_ns);
    let victim = task.slot;
    // Most waits lie within one run.
    if ns > ran_ns || victim == SLOT_UNKNOWN || prev_slot == SLOT_UNKNOWN {
        arrive_after_many(cpu, cpu_index, task, now);
        return;
    }
    task.since_ns = 0;
    let Some(line) = line(cpu.first_line, victim) else {
        unassigned();
        return;
    };
    line.wait_ns += ns;
    if prev_slot == victim {
        line.wait_own_ns += ns;
    } else if prev_slot == SLOT_IDLE {
        line.wait_idle_ns += ns;
    } else if STEP >= step::MATRIX {
        blame(cpu_index, pair_key(victim, prev_slot), ns);
    }
    end_wait(task, ns);
}

/// A wait of a cgroup that is gone, whose place may be another's, or of a task that nobody knew.
#[cold]
#[inline(never)]
#[unsafe(link_section = ".text")]
fn unassigned() {
    count(Ledger::WaitUnassigned);
}

/// The same for a wait that does not lie within the run that ends, or may not be accounted.
#[cold]
#[inline(never)]
#[unsafe(link_section = ".text")]
fn arrive_after_many(cpu: &CpuState, cpu_index: u32, task: &mut Task, now: u64) {
    let since = task.since_ns;
    if since > now {
        task.since_ns = 0;
        count(Ledger::TimeDisorder);
    } else if since < cpu.began_ns {
        // It began before the probes were there, or while they were detached.
        task.since_ns = 0;
        count(Ledger::WaitUnassigned);
    } else if task.slot == SLOT_UNKNOWN {
        task.until_ns = now;
    } else {
        task.since_ns = 0;
        if account(cpu_index, task.slot, since, now) == 0 {
            count(Ledger::WaitUnassigned);
        } else {
            end_wait(task, now - since);
        }
    }
}

/// A task that seemed to sleep comes back without a wake-up: it was runnable all the time. Returns whether that is so: a kernel
/// that hides switches hides wake-ups as well, all that come while the hidden task runs.
#[cold]
#[inline(never)]
#[unsafe(link_section = ".text")]
pub(super) fn come_back<const STATE: bool>(first_line: u64, task: &mut Task) -> bool {
    if has(Ledger::SwitchUnseen) {
        task.since_ns = 0;
        count(Ledger::WaitUnassigned);
        return false;
    }
    if task.slot >= SLOT_UNKNOWN {
        return true;
    }
    if !STATE && let Some(line) = line(first_line, task.slot) {
        // The switch was counted as one to sleep, maybe in another CPU's line: what counts is the sum of all.
        line.switches_voluntary = line.switches_voluntary.wrapping_sub(1);
        line.switches_involuntary = line.switches_involuntary.wrapping_add(1);
    }
    // What it waited before a move, on a CPU whose memory of that may be gone.
    let moved_ns = core::mem::take(&mut task.moved_ns);
    if moved_ns > task.since_ns {
        let ns = moved_ns - task.since_ns;
        task.since_ns = moved_ns;
        task.settled_ns += ns;
        if let (Some(line), Some(counters)) =
            (line(first_line, task.slot), slots::counters(task.slot))
        {
            line.wait_ns += ns;
            add(field!(counters.wait_unexplained_ns), ns);
        }
    }
    true
}

/// Accounts what a task that left this CPU at `since` waited so far, if it waits still: the history will not reach back
/// that far when it gets a CPU. The last thing that a switch does.
#[cold]
#[inline(never)]
#[unsafe(link_section = ".text")]
pub(super) fn account_old(cpu_index: u32, key: u64, since: u64, now: u64) {
    let Some(task) = find(key) else {
        return;
    };
    // Whoever ran, or was moved or accounted since, has another time.
    if task.state != task_state::WAITING
        || task.since_ns != since
        || task.cpu != cpu_index as u16
        || task.slot >= SLOT_UNKNOWN
        || since >= now
        || account(cpu_index, task.slot, since, now) == 0
    {
        return;
    }
    task.since_ns = now;
    task.settled_ns += now - since;
    if let Some(cpu) = CPUS.get_ptr_mut(cpu_index) {
        // SAFETY: as in `switch`, which calls this last and looks at its own no more; `account` is done with its.
        runqueue::remember_waiter(unsafe { &mut *cpu }, key, now);
    }
}

/// Accounts the wait before the run that ends, if the cgroup was not known when it ended.
#[cold]
#[inline(never)]
#[unsafe(link_section = ".text")]
pub(super) fn settle_late(cpu: &CpuState, cpu_index: u32, task: &mut Task) {
    let until = core::mem::take(&mut task.until_ns);
    if task.slot >= SLOT_UNKNOWN || task.since_ns < cpu.began_ns {
        count(Ledger::WaitUnassigned);
        return;
    }
    let since = task.since_ns;
    if account(cpu_index, task.slot, since, until) == 0 {
        count(Ledger::WaitUnassigned);
    } else {
        end_wait(task, until - since);
    }
}

/// Counts a wait that ended, of which `ns` are its last part.
#[inline(always)]
fn end_wait(task: &mut Task, ns: u64) {
    let ns = ns + core::mem::take(&mut task.settled_ns);
    if let Some(counters) = slots::counters(task.slot) {
        count_duration(field!(counters.wait_buckets), ns);
    }
}

/// Adds a wait, or a part of one, for the CPU `waited_for` to what a cgroup waited, and lays it on those that ran there.
///
/// Returns 0 if the slot is no longer that cgroup's: then nothing was accounted.
///
/// A global function (5.6), which the verifier walks once and not in each state of each caller; such take numbers only,
/// and must return one.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn account(waited_for: u32, victim: u32, since: u64, until: u64) -> u32 {
    let cpu_index = this_cpu();
    let (Some(waited_for), Some(this)) =
        (CPUS.get_ptr_mut(waited_for), CPUS.get_ptr_mut(cpu_index))
    else {
        return 0;
    };
    let first_line = field!(this.first_line);
    // SAFETY: a word of a map value, which no program writes.
    let first_line = unsafe { *first_line };
    let Some(line) = line(first_line, victim) else {
        return 0;
    };
    // SAFETY: a map value; the run-queue lock that is held keeps that CPU from switching. If it is this one, whoever calls this
    // writes nothing of it meanwhile, and `place` only what is not looked at here.
    let waited_for = unsafe { &*waited_for };
    line.wait_ns += until.saturating_sub(since);
    let left = runqueue::settle(waited_for, since, until, |slot, ns| {
        if slot == victim {
            line.wait_own_ns += ns;
        } else if slot == SLOT_IDLE {
            line.wait_idle_ns += ns;
        } else {
            blame(cpu_index, pair_key(victim, slot), ns);
        }
    });
    if left != 0
        && let Some(counters) = slots::counters(victim)
    {
        add(field!(counters.wait_unexplained_ns), left);
    }
    1
}
