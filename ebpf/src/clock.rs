//! The time on the clock that all records and counts use: `CLOCK_BOOTTIME`, in nanoseconds.

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;

#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}
