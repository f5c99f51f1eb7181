//! The slot of a cgroup: a place in the arrays of counters, and the generation of it.
//!
//! User space owns the places: it fills `FREE_SLOTS`, finds the cgroups that are gone, and gives their places back under a
//! new generation. So no fetching atomic is needed, which kernels before 5.12 lack. Whoever keeps a slot compares its
//! generation with the one that lies beside the counters it is about to write, and asks anew if they differ. When no
//! place is free, events of further cgroups are counted as lost.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    macros::map,
    maps::{Array, HashMap, Stack},
};
use galileo_ebpf_abi::{CgroupCounters, Ledger, Owner, SLOT_UNKNOWN, slot_generation, slot_index};

use crate::ledger::{MMAPABLE, count};

/// Cgroups followed at once, unless user space sets another number.
pub const SLOTS: u32 = 1024;

/// Counters by slot.
#[map]
static CGROUPS: Array<CgroupCounters> = Array::with_max_entries(SLOTS, MMAPABLE);

/// Whose each place is.
#[map]
static OWNERS: Array<Owner> = Array::with_max_entries(SLOTS, MMAPABLE);

/// Slot by cgroup id.
#[map]
static SLOT_OF: HashMap<u64, u32> = HashMap::with_max_entries(SLOTS, 0);

/// Slots that belong to no cgroup, each with the generation under which it may be taken. The one given back last is taken
/// first, so that the places in use stay together.
#[map]
static FREE_SLOTS: Stack<u32> = Stack::with_max_entries(SLOTS, 0);

/// The counters of a slot.
#[inline(always)]
pub fn counters(slot: u32) -> Option<*mut CgroupCounters> {
    CGROUPS.get_ptr_mut(slot_index(slot))
}

/// Whether a slot that was kept is still its cgroup's. For where no generation lies beside what is written.
#[inline(always)]
pub fn is_current(slot: u32) -> bool {
    OWNERS
        .get(slot_index(slot))
        .is_some_and(|owner| owner.generation == slot_generation(slot))
}

/// The slot of a cgroup, given now if it had none; [`SLOT_UNKNOWN`] if none is free, which is counted.
#[inline(always)]
pub fn slot_of(cgroup_id: u64) -> u32 {
    // SAFETY: memory of a preallocated map, which stays while the program runs. The value is a plain number that is written once,
    // before it can be found. If user space deletes the entry in between, it may be that of another cgroup that came since: then
    // one event is counted for that.
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
    let Some(owner) = OWNERS.get_ptr_mut(slot_index(slot)) else {
        return SLOT_UNKNOWN;
    };
    // SAFETY: an aligned word of a map value; the place was free, so nobody else writes it. User space reads it whole.
    unsafe { (*owner).cgroup_id = cgroup_id };
    if SLOT_OF
        .insert(cgroup_id, slot, u64::from(BPF_NOEXIST))
        .is_ok()
    {
        return slot;
    }
    // Another CPU was faster: its slot counts, this one goes back. There is room for it, as it came from there.
    // SAFETY: as above.
    unsafe { (*owner).cgroup_id = 0 };
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
