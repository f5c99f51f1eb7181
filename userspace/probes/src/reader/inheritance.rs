//! What cgroups that are gone leave to those that they belonged to, so that nothing of it is lost with their places.
//!
//! It is kept by heir, not by cgroup: however many come and go, it takes no more memory than there are heirs.

use std::collections::BTreeMap;

use super::{
    HeirsOf,
    entries::{Entries, Entry},
};
use crate::{cgroup::CgroupId, matrix::PairSum, snapshot::Blame, stats::CgroupStats};

/// What was left.
#[derive(Default)]
pub(super) struct Inheritance {
    /// None until somebody asks for it.
    pub(super) heirs_of: Option<HeirsOf>,
    /// The places of cgroups of which was not asked yet.
    pub(super) unsettled: Vec<usize>,
    /// The sum of what was counted, by heir.
    pub(super) stats: BTreeMap<CgroupId, CgroupStats>,
    /// What heirs waited, and what was waited for them.
    pub(super) blames: BTreeMap<Blame, u64>,
}

impl Inheritance {
    /// Asks of the cgroups that were not listed before, of all at once: it may take walking all folders to tell.
    pub(super) fn settle(&mut self, entries: &mut Entries, reading: u64) {
        let places = std::mem::take(&mut self.unsettled);
        let listed: Vec<(usize, CgroupId)> = places
            .into_iter()
            .filter_map(|index| Some((index, entries.get(index)?.id)))
            .collect();
        let Some(heirs_of) = self.heirs_of.as_ref().filter(|_| !listed.is_empty()) else {
            return;
        };
        let ids: Vec<CgroupId> = listed.iter().map(|(_, id)| *id).collect();
        for ((index, _), heir) in listed.into_iter().zip(heirs_of(&ids)) {
            if let Some(entry) = entries.get_mut(index) {
                entry.stats.heir = heir;
                // All of it is brought to snapshots.
                entry.changed = reading;
                entry.network_changed = reading;
            }
        }
    }

    /// Gives what a cgroup counted that leaves the list to its heir. `pairs` are those of the matrix that it is in, by slots.
    pub(super) fn pass_on(
        &mut self,
        entry: &Entry,
        pairs: impl Iterator<Item = PairSum>,
        cgroup_of: impl Fn(u32) -> Option<CgroupId>,
    ) {
        let Some(heir) = entry.stats.heir else {
            // Nobody is there to be blamed, or to have waited: as the matrix forgets the pairs.
            self.blames
                .retain(|blame, _| blame.victim != entry.id && blame.aggressor != entry.id);
            return;
        };
        self.stats.entry(heir).or_default().add(&entry.stats);
        let renamed = |id: CgroupId| if id == entry.id { heir } else { id };
        let mut blames = BTreeMap::new();
        let mut give = |blame: Blame, ns: u64| {
            let blame = Blame {
                victim: renamed(blame.victim),
                aggressor: renamed(blame.aggressor),
            };
            *blames.entry(blame).or_default() += ns;
        };
        for (blame, ns) in &self.blames {
            give(*blame, *ns);
        }
        for ((victim, aggressor), ns) in pairs {
            if let (Some(victim), Some(aggressor)) = (cgroup_of(victim), cgroup_of(aggressor)) {
                give(Blame { victim, aggressor }, ns);
            }
        }
        self.blames = blames;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEIR: CgroupId = CgroupId(1);
    const CHILD: CgroupId = CgroupId(2);
    const OTHER: CgroupId = CgroupId(3);

    fn entry(slot: u32, id: CgroupId, heir: Option<CgroupId>, on_cpu_ns: u64) -> Entry {
        let mut entry = Entry::new(slot, id, 1, 1);
        entry.stats.heir = heir;
        entry.stats.on_cpu_ns = on_cpu_ns;
        entry
    }

    fn blame(victim: CgroupId, aggressor: CgroupId) -> Blame {
        Blame { victim, aggressor }
    }

    #[test]
    fn what_children_counted_and_waited_is_their_heirs_however_many_there_are() {
        let mut left = Inheritance::default();
        for child in 0..1_000_u32 {
            let id = CgroupId(u64::from(child) + 10);
            let names = [(1, OTHER), (2, id)];
            let pairs = [((2, 1), 5), ((1, 2), 7)];
            left.pass_on(&entry(2, id, Some(HEIR), 3), pairs.into_iter(), |slot| {
                names
                    .iter()
                    .find(|(known, _)| *known == slot)
                    .map(|(_, id)| *id)
            });
        }
        assert_eq!(left.stats.len(), 1);
        assert_eq!(left.stats[&HEIR].on_cpu_ns, 3_000);
        let expected = [(blame(HEIR, OTHER), 5_000), (blame(OTHER, HEIR), 7_000)];
        assert_eq!(left.blames, BTreeMap::from(expected));
    }

    #[test]
    fn what_was_waited_for_somebody_who_is_gone_goes_with_him() {
        let mut left = Inheritance {
            blames: BTreeMap::from([(blame(HEIR, OTHER), 5), (blame(HEIR, CHILD), 6)]),
            ..Inheritance::default()
        };
        left.pass_on(&entry(1, OTHER, None, 3), [].into_iter(), |_| None);
        assert_eq!(left.blames, BTreeMap::from([(blame(HEIR, CHILD), 6)]));
        assert!(left.stats.is_empty());
    }
}
