//! What the kernel's own accounts of CPU time may lack that the probes have.

use std::fs;

use galileo_probes::{Accounting, Ledger, Snapshot, Ticks};

/// What tells of that, at one moment.
pub struct Accounts {
    ticks: Ticks,
    first_process_ns: u64,
}

impl Accounts {
    /// Reads it.
    ///
    /// # Panics
    ///
    /// If /proc is not mounted.
    #[must_use]
    pub fn now() -> Self {
        Self {
            ticks: Ticks::read().expect("procfs is mounted"),
            first_process_ns: first_process_ns(),
        }
    }

    /// What the accounts of tasks may lack since then, at most: time that the hypervisor gave to others, and that of interrupts, as the
    /// probes see no more than that a task had the CPU; and what a kernel hid in that time, by what was counted in it.
    ///
    /// # Panics
    ///
    /// As [`Accounts::now`].
    #[must_use]
    pub fn lack_ns(&self, counted: &Snapshot) -> u64 {
        let now = Self::now();
        let (steal, interrupts) = Accounting::find().taken_off_ns(now.ticks.since(&self.ticks));
        let hidden = match counted.ledger[&Ledger::SwitchUnseen] {
            0 => 0,
            // A tick more of each of the two kinds, as they are told in whole ones.
            _ => now.first_process_ns - self.first_process_ns + 2 * TICK_NS,
        };
        steal + interrupts + hidden
    }
}

/// /proc tells times in hundredths of a second.
const TICK_NS: u64 = 10_000_000;

/// CPU time of the first process: where a kernel hides the switches of its threads, what comes after it has its time
/// (`switch_unseen`).
///
/// # Panics
///
/// If /proc is not mounted.
#[must_use]
pub fn first_process_ns() -> u64 {
    let stat = fs::read_to_string("/proc/1/stat").expect("procfs is mounted");
    let (_, rest) = stat.rsplit_once(") ").expect("a name");
    // In user mode and in the kernel's (`proc_pid_stat(5)`).
    let ticks = rest.split(' ').skip(11).take(2);
    ticks
        .map(|ticks| ticks.parse::<u64>().expect("a number") * TICK_NS)
        .sum()
}
