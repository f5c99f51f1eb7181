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

    /// Gives what cgroups counted that leave the list to their heirs. `pairs` are those of the matrix that they are in, by slots.
    pub(super) fn pass_on(
        &mut self,
        leaving: &[&Entry],
        pairs: impl Iterator<Item = PairSum>,
        cgroup_of: impl Fn(u32) -> Option<CgroupId>,
    ) {
        let heirs: BTreeMap<CgroupId, Option<CgroupId>> = leaving
            .iter()
            .map(|entry| (entry.id, entry.stats.heir))
            .collect();
        for entry in leaving {
            if let Some(heir) = entry.stats.heir {
                self.stats.entry(heir).or_default().add(&entry.stats);
            }
        }
        let is_there = |id: &CgroupId| heirs.get(id) != Some(&None);
        let renamed = |id: CgroupId| heirs.get(&id).copied().unwrap_or(Some(id));
        let named = pairs.filter_map(|((victim, aggressor), ns)| {
            let (victim, aggressor) = (cgroup_of(victim)?, cgroup_of(aggressor)?);
            Some((Blame { victim, aggressor }, ns))
        });
        let left = std::mem::take(&mut self.blames);
        for (blame, ns) in left.into_iter().chain(named) {
            // Of those without an heir nobody is there to be blamed, or to have waited: as the matrix forgets their pairs.
            let victim = renamed(blame.victim).filter(is_there);
            let aggressor = renamed(blame.aggressor).filter(is_there);
            if let (Some(victim), Some(aggressor)) = (victim, aggressor) {
                *self.blames.entry(Blame { victim, aggressor }).or_default() += ns;
            }
        }
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
            let leaving = entry(2, id, Some(HEIR), 3);
            left.pass_on(&[&leaving], pairs.into_iter(), |slot| {
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
        left.pass_on(&[&entry(1, OTHER, None, 3)], [].into_iter(), |_| None);
        assert_eq!(left.blames, BTreeMap::from([(blame(HEIR, CHILD), 6)]));
        assert!(left.stats.is_empty());
    }

    #[test]
    fn of_two_that_waited_for_each_other_and_leave_together_each_heir_has_the_part_of_his_own() {
        const OTHERS_HEIR: CgroupId = CgroupId(4);
        let names = [(1, OTHER), (2, CHILD), (3, HEIR)];
        let cgroup_of = |slot| {
            let known = names.iter().find(|(known, _)| *known == slot);
            known.map(|(_, id)| *id)
        };
        let pairs = [((1, 2), 5), ((2, 1), 7), ((3, 2), 11)];
        let left = |others_heir| {
            let mut left = Inheritance::default();
            let other = entry(1, OTHER, others_heir, 3);
            let child = entry(2, CHILD, Some(HEIR), 3);
            left.pass_on(&[&other, &child], pairs.into_iter(), cgroup_of);
            left.blames
        };
        let own = (blame(HEIR, HEIR), 11);
        let each = [
            (blame(OTHERS_HEIR, HEIR), 5),
            (blame(HEIR, OTHERS_HEIR), 7),
            own,
        ];
        assert_eq!(left(Some(OTHERS_HEIR)), BTreeMap::from(each));
        assert_eq!(left(None), BTreeMap::from([own]));
    }
}
