//! The dense slot of a cgroup: a small number that indexes the arrays of counters.
//!
//! User space owns the numbers: it fills the queue `FREE_SLOTS`. So no fetching atomic is needed, which kernels before
//! 5.12 lack. A slot stays with its cgroup as long as the object is loaded; when none is left, events of further cgroups
//! are counted as lost.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    macros::map,
    maps::{Array, HashMap, Queue},
};
use galileo_ebpf_abi::{CgroupCounters, Ledger, SLOT_UNKNOWN};

use crate::ledger::{MMAPABLE, count};

/// Cgroups followed at once, unless user space sets another number.
pub const SLOTS: u32 = 1024;

/// Counters by slot.
#[map]
pub static CGROUPS: Array<CgroupCounters> = Array::with_max_entries(SLOTS, MMAPABLE);

/// Slot by cgroup id.
#[map]
static SLOT_OF: HashMap<u64, u32> = HashMap::with_max_entries(SLOTS, 0);

/// Slots that belong to no cgroup.
#[map]
static FREE_SLOTS: Queue<u32> = Queue::with_max_entries(SLOTS, 0);

/// The slot of a cgroup, given now if it had none; [`SLOT_UNKNOWN`] if none is free, which is counted.
#[inline(always)]
pub fn slot_of(cgroup_id: u64) -> u32 {
    // SAFETY: the value is a plain number that is written once, before it can be found.
    if let Some(slot) = unsafe { SLOT_OF.get(cgroup_id) } {
        return *slot;
    }
    assign(cgroup_id)
}

#[inline(always)]
fn assign(cgroup_id: u64) -> u32 {
    let Ok(Some(slot)) = FREE_SLOTS.pop() else {
        count(Ledger::SlotsFull);
        return SLOT_UNKNOWN;
    };
    let Some(counters) = CGROUPS.get_ptr_mut(slot) else {
        return SLOT_UNKNOWN;
    };
    // SAFETY: a map value; the slot was free, so nobody else writes it.
    unsafe { (*counters).cgroup_id = cgroup_id };
    if SLOT_OF
        .insert(cgroup_id, slot, u64::from(BPF_NOEXIST))
        .is_ok()
    {
        return slot;
    }
    // Another CPU was faster: its slot counts, this one goes back. The queue cannot be full, as this slot came from it.
    // SAFETY: as above.
    unsafe { (*counters).cgroup_id = 0 };
    if FREE_SLOTS.push(slot, 0).is_err() {
        count(Ledger::SlotsFull);
    }
    // SAFETY: see `slot_of`.
    match unsafe { SLOT_OF.get(cgroup_id) } {
        Some(slot) => *slot,
        None => {
            count(Ledger::SlotsFull);
            SLOT_UNKNOWN
        }
    }
}
