//! What the probes themselves use.

use std::os::fd::OwnedFd;

use aya::sys::{Stats, enable_stats};

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
