//! `CLOCK_BOOTTIME` and its distance from the wall clock.

use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::{Deserialize, Serialize};

/// Nanoseconds of `CLOCK_BOOTTIME`: monotonic, and running while the machine sleeps; what
/// `bpf_ktime_get_boot_ns` stamps in the kernel.
#[must_use]
pub fn boot_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Boottime))
}

/// The distance between the wall clock and `CLOCK_BOOTTIME`, taken once, so that all times of a run are converted alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WallClock {
    /// Unix time minus boot time, in nanoseconds.
    pub offset_ns: u64,
}

impl WallClock {
    /// Reads both clocks. The two readings lie less than a microsecond apart, unless the reader is interrupted between.
    #[must_use]
    pub fn now() -> Self {
        let boot = boot_ns();
        Self {
            offset_ns: nanoseconds(clock_gettime(ClockId::Realtime)).saturating_sub(boot),
        }
    }

    /// Unix seconds of a boot time.
    #[must_use]
    pub fn unix_seconds(self, boot_ns: u64) -> f64 {
        self.unix_ns(boot_ns) as f64 / 1e9
    }

    /// Unix nanoseconds of a boot time.
    #[must_use]
    pub fn unix_ns(self, boot_ns: u64) -> u64 {
        self.offset_ns.saturating_add(boot_ns)
    }
}

fn nanoseconds(time: Timespec) -> u64 {
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
