//! Who waited for a CPU, how long, and who ran there meanwhile.
//!
//! A task waits from the wake-up (or from the switch that took the CPU from it while it was runnable) to the switch
//! that gives it a CPU. Each CPU remembers its last [`HISTORY`](galileo_ebpf_abi::HISTORY) runs, so that a wait can be
//! laid over them: what falls on runs of the own cgroup, of other cgroups, on the idle task, and what is left (a task
//! of unknown cgroup ran, or memory does not reach back that far). Runs follow one another without a gap, so the parts
//! add up to the whole. A task that moves while it waits is settled on the CPU it leaves; a task whose cgroup is not
//! known when it gets a CPU is settled when it leaves that.
//!
//! Tasks are known by the address of their `task_struct`, which is never followed: see [`search`].
//!
//! In reading order: `tasks` (when a wait begins), `runs` (what it is laid over), `waiters` (those that wait long), `pairs`
//! (where it is entered who disturbed whom).

mod pairs;
mod runs;
mod tasks;
#[cfg(test)]
mod tests;
mod waiters;

pub use pairs::{add_to_pair, pair_set_of, take_place};
pub use runs::{change, end_run, settle};
pub use tasks::{leave, new_task, place_of, search, wake};
pub use waiters::{old_waiter, remember_waiter};

/// The upper bits of the product spread what differs anywhere (Fibonacci hashing).
#[inline(always)]
const fn spread(key: u64) -> u64 {
    key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40
}
