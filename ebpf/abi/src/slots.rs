//! Slots: the places that cgroups take in the arrays of counters, and by which they are known everywhere.
//!
//! A slot that is kept (by a socket, a task, a CPU's history, a pair of the interference matrix) is a reference: the index
//! into the arrays, and above it the generation of the place. When a cgroup is gone, its place becomes another's under
//! the next generation; what still holds the old reference finds another generation beside the counters and asks anew.

/// Bits of a reference that are the index.
pub const SLOT_BITS: u32 = 14;
/// Number of indexes: cgroups that can be followed at once.
pub const SLOTS_MAX: u32 = 1 << SLOT_BITS;
/// Number of generations, after which they begin anew: a reference would have to be kept while its place was given
/// 131,072 times. The last ones of 32 bits are left out, so that no slot of a cgroup is [`SLOT_IDLE`] or
/// [`SLOT_UNKNOWN`].
pub const GENERATIONS: u32 = 1 << 17;

/// Instead of a slot: the idle task, which has no cgroup.
pub const SLOT_IDLE: u32 = u32::MAX;
/// Instead of a slot: a cgroup that is not known yet, or that found no free slot.
pub const SLOT_UNKNOWN: u32 = u32::MAX - 1;

/// The slot of this index and generation.
#[inline(always)]
#[must_use]
pub const fn slot_at(index: u32, generation: u32) -> u32 {
    (generation % GENERATIONS) << SLOT_BITS | index & (SLOTS_MAX - 1)
}

/// Index of a slot. Of what is no slot it is some number below [`SLOTS_MAX`].
#[inline(always)]
#[must_use]
pub const fn slot_index(slot: u32) -> u32 {
    slot & (SLOTS_MAX - 1)
}

/// Generation of a slot. Of what is no slot it is one that no slot has.
#[inline(always)]
#[must_use]
pub const fn slot_generation(slot: u32) -> u32 {
    slot >> SLOT_BITS
}

/// Whose a place is, at its index of the array map `OWNERS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Owner {
    /// The kernel's id of the cgroup; 0 while the place is free. Written by whoever takes it out of `FREE_SLOTS`.
    pub cgroup_id: u64,
    /// The present generation. Written by user space only.
    pub generation: u32,
    /// Always 0.
    pub reserved: u32,
}

/// How many kinds of the ledger can be counted by cgroup.
pub const SLOT_KINDS: usize = 32;

/// What could not be kept of one cgroup, by kind, at its slot of the array map `LEDGER_OF`. 32 bits: a reader that comes
/// once in an hour misses no turn of them below a million events a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct SlotLedger {
    /// The counters, by number of [`Ledger`](crate::Ledger).
    pub counts: [u32; SLOT_KINDS],
}

const _: () = assert!(size_of::<Owner>() == 16);
const _: () = assert!(size_of::<SlotLedger>() == 128);
const _: () = assert!(crate::Ledger::COUNT as usize <= SLOT_KINDS);
const _: () = assert!(slot_generation(SLOT_IDLE) >= GENERATIONS);
const _: () = assert!(slot_generation(SLOT_UNKNOWN) >= GENERATIONS);
const _: () = assert!(slot_at(5, GENERATIONS + 3) == slot_at(5, 3));
