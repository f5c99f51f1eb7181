//! What the kernel's own accounts of CPU time may lack that the probes have.

use std::fs;

use galileo_probes::{Accounting, Ticks};

/// What this kernel may have taken off tasks' clocks since then, at most: time that the hypervisor gave to others, and that of
/// interrupts. The probes see no more than that a task had the CPU.
///
/// # Panics
///
/// As [`ticks`].
#[must_use]
pub fn taken_off_since(before: &Ticks) -> u64 {
    let (steal, interrupts) = Accounting::find().taken_off_ns(ticks().since(before));
    steal + interrupts
}

/// What was taken off so far.
///
/// # Panics
///
/// If /proc/stat cannot be read.
#[must_use]
pub fn ticks() -> Ticks {
    Ticks::read().expect("procfs is mounted")
}

/// CPU time of the first process: where a kernel hides the switches of its threads, what comes after it has its time
/// (`switch_unseen`).
///
/// # Panics
///
/// If /proc does not tell.
#[must_use]
pub fn first_process_ns() -> u64 {
    let stat = fs::read_to_string("/proc/1/stat").expect("procfs is mounted");
    let (_, rest) = stat.rsplit_once(") ").expect("a name");
    // In user mode and in the kernel's, in hundredths of a second (`proc_pid_stat(5)`).
    let ticks = rest.split(' ').skip(11).take(2);
    ticks
        .map(|ticks| ticks.parse::<u64>().expect("a number") * 10_000_000)
        .sum()
}
