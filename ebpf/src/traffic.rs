//! Bytes and packets of every cgroup, by network interface and direction.
//!
//! This runs for every packet. Loopback has the number 1 in every network namespace and needs no look-up. For other
//! interfaces the cgroup remembers the one of its last packet; a pod has one, so that a hash is asked only by those that
//! use several in turn.
//!
//! An interface's number is that of its network namespace, which this hook cannot tell on kernels up to 6.13
//! (`bpf_get_netns_cookie`): interfaces of the same number in several namespaces are one entry if one cgroup uses them.
//! A pod lives in one network namespace.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    macros::map,
    maps::{Array, HashMap, Stack},
    programs::SkBuffContext,
};
use galileo_ebpf_abi::{
    CgroupTraffic, InterfaceKey, InterfaceTraffic, LOOPBACK, Ledger, Traffic, recent,
    slot_generation, slot_index,
};
use galileo_ebpf_core::connection::RECEIVED;

use crate::{
    ledger::{MMAPABLE, add, count_for, field},
    slots::SLOTS,
};

/// Pairs of a cgroup and an interface other than loopback, unless user space sets another number.
const INTERFACE_ENTRIES: u32 = 2 * SLOTS;

/// Traffic by slot.
#[map]
static TRAFFIC: Array<CgroupTraffic> = Array::with_max_entries(SLOTS, MMAPABLE);

/// Traffic by slot and interface.
#[map]
static INTERFACES: Array<InterfaceTraffic> = Array::with_max_entries(INTERFACE_ENTRIES, MMAPABLE);

/// Which entry of `INTERFACES` a slot and an interface have.
#[map]
static INTERFACE_OF: HashMap<InterfaceKey, u32> = HashMap::with_max_entries(INTERFACE_ENTRIES, 0);

/// Entries of `INTERFACES` that belong to nobody; user space fills it.
#[map]
static FREE_INTERFACES: Stack<u32> = Stack::with_max_entries(INTERFACE_ENTRIES, 0);

/// What is counted of a slot; none if the slot is no longer its cgroup's, or no slot.
#[inline(always)]
pub fn of_slot(slot: u32) -> Option<*mut CgroupTraffic> {
    let here = TRAFFIC.get_ptr_mut(slot_index(slot))?;
    // SAFETY: an aligned word of a map value; user space writes it with one store.
    (unsafe { (*here).generation } == slot_generation(slot)).then_some(here)
}

/// Counts a packet of the cgroup that has this slot.
#[inline(always)]
pub fn count_packet(
    ctx: &SkBuffContext,
    here: *mut CgroupTraffic,
    slot: u32,
    direction: u32,
    length: u32,
) {
    // SAFETY: the context is valid for the run. At egress the device is set before the hook runs (`ip_output`).
    let interface = unsafe { (*ctx.skb.skb).ifindex };
    let traffic = if interface == LOOPBACK {
        field!(here.loopback)
    } else {
        elsewhere(here, slot, interface)
    };
    if direction == RECEIVED {
        add(field!(traffic.rx_bytes), u64::from(length));
        add(field!(traffic.rx_packets), 1);
    } else {
        add(field!(traffic.tx_bytes), u64::from(length));
        add(field!(traffic.tx_packets), 1);
    }
}

/// Where the traffic of a cgroup over an interface other than loopback is counted.
#[inline(always)]
fn elsewhere(here: *mut CgroupTraffic, slot: u32, interface: u32) -> *mut Traffic {
    let recently = field!(here.recent);
    // SAFETY: an aligned word of a map value, read and written whole, as others write it; any value of it is checked.
    let last = unsafe { recently.read_volatile() };
    let entry = if last >> 32 == u64::from(interface) && last != 0 {
        last as u32
    } else {
        let entry = entry_of(InterfaceKey { slot, interface });
        if entry != FULL {
            // SAFETY: as above.
            unsafe { recently.write_volatile(recent(interface, entry)) };
        }
        entry
    };
    match INTERFACES.get_ptr_mut(entry) {
        Some(entry) => field!(entry.traffic),
        None => field!(here.elsewhere),
    }
}

/// No entry: beyond the end of the array.
const FULL: u32 = u32::MAX;

/// The entry of a slot and an interface, given now if they had none; [`FULL`] if none is free, which is counted.
#[inline(always)]
fn entry_of(key: InterfaceKey) -> u32 {
    // SAFETY: memory of a preallocated map, which stays while the program runs. The value is a plain number that is written once,
    // before it can be found. If user space deletes the entry in between, it may be that of another pair that came since: then
    // one packet is counted for that.
    if let Some(entry) = unsafe { INTERFACE_OF.get(key) } {
        return *entry;
    }
    let Ok(Some(entry)) = FREE_INTERFACES.pop() else {
        count_for(key.slot, Ledger::InterfacesFull, 1);
        return FULL;
    };
    if INTERFACE_OF
        .insert(key, entry, u64::from(BPF_NOEXIST))
        .is_ok()
    {
        if let Some(traffic) = INTERFACES.get_ptr_mut(entry) {
            // SAFETY: an aligned word of a map value; the entry was free, so nobody else writes it. Others may have found the
            // entry already and add to it; user space takes it as free until this is written.
            unsafe { (*traffic).owner = key.owner() };
        }
        return entry;
    }
    // Another CPU was faster: its entry counts, this one goes back. The queue cannot be full, as this entry came from it.
    if FREE_INTERFACES.push(entry, 0).is_err() {
        count_for(key.slot, Ledger::InterfacesFull, 1);
    }
    // SAFETY: as above.
    match unsafe { INTERFACE_OF.get(key) } {
        Some(entry) => *entry,
        None => {
            count_for(key.slot, Ledger::InterfacesFull, 1);
            FULL
        }
    }
}
