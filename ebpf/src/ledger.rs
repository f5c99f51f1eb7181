//! What could not be kept, by kind.

use core::arch::asm;

use aya_ebpf::{macros::map, maps::Array};
use galileo_ebpf_abi::{BUCKETS, Ledger, SLOT_UNKNOWN, SlotLedger, slot_index};
use galileo_ebpf_core::histogram;

use crate::{slots::SLOTS, verifier::opaque};

/// Values of 64 bytes, so that two kinds never share a cache line.
#[repr(C)]
struct Counter {
    count: u64,
    padding: [u64; 7],
}

#[map]
static LEDGER: Array<Counter> = Array::with_max_entries(Ledger::COUNT, MMAPABLE);

/// What was counted of one cgroup, by slot. What is nobody's, or of a cgroup without a slot, stands in [`LEDGER`]: the sum
/// of both is all.
#[map]
static LEDGER_OF: Array<SlotLedger> = Array::with_max_entries(SLOTS, MMAPABLE);

/// `BPF_F_MMAPABLE`: user space maps the array and reads it without a system call.
pub const MMAPABLE: u32 = aya_ebpf::bindings::BPF_F_MMAPABLE;

/// Counts one event of this kind.
#[inline(always)]
pub fn count(kind: Ledger) {
    count_many(kind, 1);
}

/// Counts so many events of this kind.
#[inline(always)]
pub fn count_many(kind: Ledger, events: u32) {
    if let Some(counter) = LEDGER.get_ptr_mut(kind as u32) {
        add(field!(counter.count), u64::from(events));
    }
}

/// Takes back one that was counted.
#[inline(always)]
pub fn take_back(kind: Ledger) {
    if let Some(counter) = LEDGER.get_ptr_mut(kind as u32) {
        add(field!(counter.count), u64::MAX);
    }
}

/// Whether an event of this kind was ever counted, but for a cgroup.
#[inline(always)]
pub fn has(kind: Ledger) -> bool {
    LEDGER.get_ptr(kind as u32).is_some_and(|counter| {
        // SAFETY: an aligned word of a map value, which others only add to.
        unsafe { (&raw const (*counter).count).read_volatile() != 0 }
    })
}

/// Counts events of this kind of the cgroup that has this slot: one that was compared with the present generation in
/// this run. What is no slot of a cgroup counts as [`count_many`] does.
#[inline(always)]
pub fn count_for(slot: u32, kind: Ledger, events: u32) {
    match LEDGER_OF.get_ptr_mut(slot_index(slot)) {
        Some(ledger) if slot < SLOT_UNKNOWN => {
            let counters = field!(ledger.counts).cast::<u32>();
            // SAFETY: the number of the kind lies below the number of counters, as asserted next to `SlotLedger`.
            let counter = unsafe { counters.add(kind as usize) };
            add_u32(counter, u64::from(events));
        }
        _ => count_many(kind, events),
    }
}

/// The address of a field of a map value, of which the value is given as the pointer that the map gave: `field!(value.name)`.
macro_rules! field {
    ($value:ident.$($name:tt)+) => {
        // SAFETY: a map value, which stays while the program runs; only the address is taken.
        unsafe { &raw mut (*$value).$($name)+ }
    };
}
pub(crate) use field;

/// Adds to a total in map memory that several CPUs write: `total` is a field of a map value. No caller need promise that: the
/// verifier refuses an object in which it could be any other pointer, or not aligned.
///
/// Written out because the compiler's target has no atomics, and because this form, which yields no result, is the one
/// that kernels before 5.12 know.
#[inline(always)]
pub fn add(total: *mut u64, value: u64) {
    // SAFETY: the verifier checks that the address is that of an aligned word of a map value; the addition is atomic, and user
    // space reads the word whole.
    unsafe {
        asm!("lock *(u64 *)({total} + 0) += {value}", total = in(reg) total, value = in(reg) value)
    };
}

/// As [`add`], to a total of 32 bits.
#[inline(always)]
pub fn add_u32(total: *mut u32, value: u64) {
    // SAFETY: as in `add`.
    unsafe {
        asm!("lock *(u32 *)({total} + 0) += {value}", total = in(reg) total, value = in(reg) value)
    };
}

/// Counts a duration in a histogram in map memory; `buckets` as the total of [`add`].
#[inline(always)]
pub fn count_duration(buckets: *mut [u32; BUCKETS], ns: u64) {
    let bucket = opaque(histogram::bucket(ns));
    if bucket < BUCKETS {
        // SAFETY: within the array, as just checked.
        let bucket = unsafe { buckets.cast::<u32>().add(bucket) };
        add_u32(bucket, 1);
    }
}
