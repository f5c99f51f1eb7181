//! What the probes themselves use.

use std::{fs, os::fd::OwnedFd, time::Duration};

use aya::sys::{Stats, enable_stats};
use rustix::{
    param::page_size,
    time::{ClockId, clock_gettime},
};

/// What the probes cost: this process, and their programs in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cost {
    /// CPU time of the whole process, user and system, since it was started. What the probes' programs take is not in it:
    /// they run in the time of whom they watch.
    pub cpu: Duration,
    /// Memory of the whole process (`/proc/self/statm`).
    pub rss_bytes: u64,
    /// Runs and time of each program; empty unless statistics were asked for.
    pub programs: Vec<ProgramCost>,
}

impl Cost {
    pub(crate) fn now(programs: Vec<ProgramCost>) -> Self {
        let used = clock_gettime(ClockId::ProcessCPUTime);
        Self {
            cpu: Duration::new(used.tv_sec.unsigned_abs(), used.tv_nsec as u32),
            rss_bytes: rss_bytes(),
            programs,
        }
    }
}

/// Memory of this process (`/proc/self/statm`); 0 where /proc is not mounted.
#[must_use]
pub fn rss_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * page_size() as u64
}

/// Runs of one eBPF program and the time in them, since it was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramCost {
    /// Name of the program.
    pub name: String,
    /// How often it ran while statistics were on.
    pub runs: u64,
    /// Time in it, in nanoseconds.
    pub time_ns: u64,
    /// Instructions that the verifier walked when it was loaded; 0 where the kernel does not tell (before 5.16).
    pub verified: u32,
}

/// Keeps the kernel's statistics of eBPF programs on while it lives.
///
/// Counting costs about 30 ns a run, and it is on for all programs of the machine. Kernel: 5.8.
#[derive(Debug)]
pub struct Statistics {
    _on: OwnedFd,
}

impl Statistics {
    /// Turns them on.
    ///
    /// # Errors
    ///
    /// The kernel's reason, as text.
    pub fn enable() -> Result<Self, String> {
        match enable_stats(Stats::RunTime) {
            Ok(on) => Ok(Self { _on: on }),
            Err(error) => Err(crate::error::chain(&error)),
        }
    }
}
