//! The cgroups that are listed, by place.

use galileo_ebpf_abi::{SLOT_UNKNOWN, slot_index};

use crate::{cgroup::CgroupId, stats::CgroupStats};

/// One cgroup.
pub(super) struct Entry {
    pub(super) slot: u32,
    pub(super) id: CgroupId,
    pub(super) stats: Box<CgroupStats>,
    /// In which reading something of CPUs had moved for the last time.
    pub(super) cpu_moved: u64,
    /// In which reading `stats` changed for the last time.
    pub(super) changed: u64,
    /// In which reading what is not of CPUs did.
    pub(super) network_changed: u64,
}

impl Entry {
    pub(super) fn new(slot: u32, id: CgroupId, generation: u64, reading: u64) -> Self {
        Self {
            slot,
            id,
            stats: Box::new(CgroupStats {
                generation,
                ..CgroupStats::default()
            }),
            cpu_moved: reading,
            changed: reading,
            network_changed: reading,
        }
    }
}

/// What tells whether packets or connections moved at a place.
#[derive(Clone, Copy)]
pub(super) struct Pulse {
    /// Counters of which one moves whenever something is counted by the packet and connection hooks.
    pub(super) counters: [u64; 5],
    /// In which reading one had moved for the last time.
    pub(super) moved: u64,
}

/// The cgroups. What every reading looks at stands apart, close together.
#[derive(Default)]
pub(super) struct Entries {
    entries: Vec<Option<Entry>>,
    /// Slot and cgroup; [`SLOT_UNKNOWN`] where none is listed.
    names: Vec<(u32, CgroupId)>,
    pub(super) pulses: Vec<Pulse>,
}

impl Entries {
    pub(super) fn insert(&mut self, index: usize, entry: Entry) {
        if self.entries.len() <= index {
            self.entries.resize_with(index + 1, || None);
            self.names.resize(index + 1, (SLOT_UNKNOWN, CgroupId(0)));
            let none = Pulse {
                counters: [0; 5],
                moved: 0,
            };
            self.pulses.resize(index + 1, none);
        }
        self.names[index] = (entry.slot, entry.id);
        self.pulses[index] = Pulse {
            counters: [0; 5],
            moved: entry.changed,
        };
        self.entries[index] = Some(entry);
    }

    pub(super) fn remove(&mut self, index: usize) -> Option<Entry> {
        let entry = self.entries.get_mut(index)?.take()?;
        self.names[index] = (SLOT_UNKNOWN, CgroupId(0));
        Some(entry)
    }

    pub(super) fn get(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Entry> {
        self.entries.get_mut(index)?.as_mut()
    }

    /// The places at which one is listed.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        let listed = |index: &usize| self.entries[*index].is_some();
        (0..self.entries.len()).filter(listed)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flatten()
    }

    /// The cgroup that has this slot.
    pub(super) fn cgroup_of(&self, slot: u32) -> Option<CgroupId> {
        let (found, id) = self.names.get(slot_index(slot) as usize)?;
        (*found == slot && slot != SLOT_UNKNOWN).then_some(*id)
    }

    /// In which reading something had moved at a place for the last time; none where no cgroup is listed.
    pub(super) fn moved(&self, index: usize) -> Option<u64> {
        Some(self.get(index)?.cpu_moved.max(self.pulses[index].moved))
    }
}
