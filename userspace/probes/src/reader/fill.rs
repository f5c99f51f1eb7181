//! Bringing a snapshot up to what was read.

use std::collections::{BTreeMap, HashSet, btree_map::Entry as MapEntry};

use galileo_ebpf_abi::Ledger;

use super::{
    Reader,
    entries::{Entries, Entry},
};
use crate::{
    Error,
    cgroup::CgroupId,
    snapshot::{Blame, Snapshot},
    stats::CgroupStats,
};

/// The part of a reading's number that counts readings.
const SERIES_MASK: u64 = (1 << 40) - 1;

impl Reader {
    /// Brings a snapshot up to what was read.
    pub(super) fn fill(&mut self, snapshot: &mut Snapshot) -> Result<(), Error> {
        // Of another reader, or none: nothing of it is known.
        let known = if snapshot.reading & !SERIES_MASK == self.series {
            snapshot.reading & SERIES_MASK
        } else {
            snapshot.cgroups.clear();
            snapshot.blames.clear();
            0
        };
        let is_listed_anew = self.listed > known;
        if known + 1 == self.readings && !is_listed_anew {
            for index in &self.changed {
                if let Some(entry) = self.entries.get(*index) {
                    bring(&mut snapshot.cgroups, entry, known);
                }
            }
        } else {
            for entry in self.entries.iter().filter(|entry| entry.changed > known) {
                bring(&mut snapshot.cgroups, entry, known);
            }
        }
        if is_listed_anew {
            let listed: HashSet<(CgroupId, u64)> = self
                .entries
                .iter()
                .map(|entry| (entry.id, entry.stats.generation))
                .collect();
            snapshot
                .cgroups
                .retain(|id, stats| listed.contains(&(*id, stats.generation)));
            snapshot.departed.clone_from(&self.departed);
            snapshot.inherited.clone_from(&self.inheritance.stats);
        }
        self.fill_blames(snapshot, known == 0 || is_listed_anew)?;
        self.fill_ledger(snapshot);
        snapshot.cpus.clone_from(&self.running.cpus);
        Ok(())
    }

    fn fill_blames(&mut self, snapshot: &mut Snapshot, anew: bool) -> Result<(), Error> {
        let (entries, inherited) = (&self.entries, &self.inheritance.blames);
        let blames = &mut snapshot.blames;
        self.matrix
            .read(self.cpus.states(), |victim, aggressor, ns| {
                enter(entries, inherited, blames, (victim, aggressor), ns);
            })?;
        if anew || snapshot.reading != self.series | (self.readings - 1) {
            // Others have read in between, and were told what has moved.
            snapshot.blames.clone_from(inherited);
            for (pair, ns) in self.matrix.totals() {
                enter(entries, inherited, &mut snapshot.blames, pair, ns);
            }
        }
        Ok(())
    }

    fn fill_ledger(&self, snapshot: &mut Snapshot) {
        let counters = |kind: Ledger| self.ledger.word(kind as usize, 0).unwrap_or(0);
        let lost = |kind: Ledger| self.lost[kind as usize];
        set(&mut snapshot.machine, counters);
        let machine = &snapshot.machine;
        set(&mut snapshot.ledger, |kind| {
            machine.get(&kind).copied().unwrap_or(0) + lost(kind)
        });
    }
}

/// Brings what a snapshot has of a cgroup up to what was read.
fn bring(cgroups: &mut BTreeMap<CgroupId, CgroupStats>, entry: &Entry, known: u64) {
    match cgroups.entry(entry.id) {
        MapEntry::Vacant(vacant) => {
            vacant.insert(CgroupStats::clone(&entry.stats));
        }
        MapEntry::Occupied(mut occupied) => {
            let stats = occupied.get_mut();
            if entry.network_changed > known || stats.generation != entry.stats.generation {
                stats.clone_from(&entry.stats);
            } else {
                stats.copy_cpu(&entry.stats);
            }
        }
    }
}

/// Enters what a pair has, and what it has inherited.
fn enter(
    entries: &Entries,
    inherited: &BTreeMap<Blame, u64>,
    blames: &mut BTreeMap<Blame, u64>,
    pair: (u32, u32),
    ns: u64,
) {
    let (victim, aggressor) = (entries.cgroup_of(pair.0), entries.cgroup_of(pair.1));
    if let (Some(victim), Some(aggressor)) = (victim, aggressor) {
        let blame = Blame { victim, aggressor };
        blames.insert(blame, ns + inherited.get(&blame).copied().unwrap_or(0));
    }
}

/// Sets the counts of all kinds.
fn set(counts: &mut BTreeMap<Ledger, u64>, count: impl Fn(Ledger) -> u64) {
    if counts.len() == Ledger::ALL.len() {
        for (kind, value) in counts {
            *value = count(*kind);
        }
    } else {
        counts.extend(Ledger::ALL.map(|kind| (kind, count(kind))));
    }
}
