//! What was counted, read at one time.

use std::collections::BTreeMap;

use galileo_ebpf_abi::Ledger;

use crate::{
    acquisition::{Acquisition, Rate},
    cgroup::CgroupId,
    cost::ProgramCost,
    cpu_times::CpuTimes,
    stats::{CgroupStats, add_counts},
};

/// All counters, read one after the other between `begin_ns` and `end_ns` (`CLOCK_BOOTTIME`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Number of the reading, by which [`Probes::read_into`](crate::Probes::read_into) knows what has moved since; 0 for
    /// what is no reading of its own.
    pub reading: u64,
    /// When reading began. For a difference: when the first reading began.
    pub begin_ns: u64,
    /// When reading ended.
    pub end_ns: u64,
    /// When it was read; for a difference, when the earlier one was.
    pub first: Acquisition,
    /// When it was read; for a difference, when the later one was.
    pub last: Acquisition,
    /// What was counted by cgroup.
    pub cgroups: BTreeMap<CgroupId, CgroupStats>,
    /// Who waited while whom a CPU was given to.
    pub blames: BTreeMap<Blame, u64>,
    /// What could not be kept, by kind: the sum of [`Snapshot::machine`], [`CgroupStats::ledger`] and what cgroups had that
    /// are no longer listed.
    pub ledger: BTreeMap<Ledger, u64>,
    /// What of it is no cgroup's, or that of cgroups without a slot.
    pub machine: BTreeMap<Ledger, u64>,
    /// The sum of what was counted of cgroups that are gone and no longer listed. They are listed for at least two readings
    /// after they were gone, and for a minute unless places are scarce.
    pub departed: CgroupStats,
    /// What of it was left to others, by heir: see [`Probes::set_heirs`](crate::Probes::set_heirs).
    pub inherited: BTreeMap<CgroupId, CgroupStats>,
    /// What each possible CPU did.
    pub cpus: Vec<CpuTimes>,
    /// What the programs cost; empty without statistics.
    pub programs: Vec<ProgramCost>,
}

/// A pair of the interference matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blame {
    /// Who waited.
    pub victim: CgroupId,
    /// Who held the CPU meanwhile.
    pub aggressor: CgroupId,
}

impl Snapshot {
    /// What was counted between an earlier snapshot of the same probes and this one. A cgroup that the earlier one does not
    /// know, or knows under another generation, began at 0: no difference is taken across generations.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let nothing = CgroupStats::default();
        let earlier = |id: &CgroupId| {
            let (now, then) = (self.cgroups.get(id)?, before.cgroups.get(id)?);
            (now.generation == then.generation).then_some(then)
        };
        // Of what has departed since, a part was counted before.
        let mut departed = before.departed.clone();
        let mut inherited = before.inherited.clone();
        for (id, then) in &before.cgroups {
            if earlier(id).is_none() {
                departed.add(then);
                if let Some(heir) = then.heir {
                    inherited.entry(heir).or_default().add(then);
                }
            }
        }
        // And what such waited was waited by their heirs.
        let blamed = |id: CgroupId| match earlier(&id) {
            Some(_) => Some(id),
            None => match before.cgroups.get(&id) {
                Some(then) => then.heir,
                None => before.inherited.contains_key(&id).then_some(id),
            },
        };
        let mut blames: BTreeMap<Blame, u64> = BTreeMap::new();
        for (blame, ns) in &before.blames {
            if let (Some(victim), Some(aggressor)) = (blamed(blame.victim), blamed(blame.aggressor))
            {
                *blames.entry(Blame { victim, aggressor }).or_default() += ns;
            }
        }
        Self {
            reading: 0,
            begin_ns: before.begin_ns,
            end_ns: self.end_ns,
            first: before.last,
            last: self.last,
            cgroups: self
                .cgroups
                .iter()
                .map(|(id, stats)| (*id, stats.since(earlier(id).unwrap_or(&nothing))))
                .collect(),
            blames: self
                .blames
                .iter()
                .map(|(blame, ns)| {
                    let then = blames.get(blame).copied().unwrap_or(0);
                    (*blame, ns.saturating_sub(then))
                })
                .collect(),
            ledger: difference(&self.ledger, &before.ledger),
            machine: difference(&self.machine, &before.machine),
            departed: self.departed.since(&departed),
            inherited: self
                .inherited
                .iter()
                .map(|(heir, stats)| {
                    let then = inherited.get(heir).unwrap_or(&nothing);
                    (*heir, stats.since(then))
                })
                .collect(),
            cpus: self
                .cpus
                .iter()
                .enumerate()
                .map(|(cpu, times)| times.since(&before.cpus.get(cpu).copied().unwrap_or_default()))
                .collect(),
            programs: self
                .programs
                .iter()
                .map(|program| {
                    let earlier = before
                        .programs
                        .iter()
                        .find(|earlier| earlier.name == program.name);
                    ProgramCost {
                        name: program.name.clone(),
                        verified: program.verified,
                        runs: program.runs
                            - earlier.map_or(0, |earlier| earlier.runs).min(program.runs),
                        time_ns: program.time_ns
                            - earlier
                                .map_or(0, |earlier| earlier.time_ns)
                                .min(program.time_ns),
                    }
                })
                .collect(),
        }
    }

    /// How often something happened in a second, of which `count` were counted between the two readings that this is the
    /// difference of. Each counter was read at some moment of its reading, so the time between is known within bounds.
    #[must_use]
    pub fn rate(&self, count: u64) -> Rate {
        let least_ns = self.last.begin_ns.saturating_sub(self.first.end_ns);
        let most_ns = self.last.end_ns.saturating_sub(self.first.begin_ns);
        let per_second = |ns: f64| count as f64 * 1e9 / ns;
        Rate {
            per_second: per_second(f64::midpoint(least_ns as f64, most_ns as f64)),
            low: per_second(most_ns as f64),
            high: per_second(least_ns as f64),
        }
    }

    /// What could not be kept of these cgroups, of cgroups that are no longer listed, which may have been theirs, and what is no
    /// cgroup's or of cgroups without a slot: all that may be missing of what is known of them.
    #[must_use]
    pub fn losses_of<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a CgroupId>,
    ) -> BTreeMap<Ledger, u64> {
        let mut losses = self.machine.clone();
        add_counts(&mut losses, &self.departed.ledger);
        for stats in ids.into_iter().filter_map(|id| self.cgroups.get(id)) {
            add_counts(&mut losses, &stats.ledger);
        }
        losses
    }

    /// The sum over several cgroups, e.g. one and those below it, and over what others left to them; none if the probes saw none
    /// of them.
    #[must_use]
    pub fn sum<'a>(&self, ids: impl IntoIterator<Item = &'a CgroupId>) -> Option<CgroupStats> {
        let mut sum = None;
        for id in ids {
            let both = [self.cgroups.get(id), self.inherited.get(id)];
            for stats in both.into_iter().flatten() {
                sum.get_or_insert_with(CgroupStats::default).add(stats);
            }
        }
        sum
    }
}

fn difference<K: Ord + Copy>(
    after: &BTreeMap<K, u64>,
    before: &BTreeMap<K, u64>,
) -> BTreeMap<K, u64> {
    after
        .iter()
        .map(|(key, value)| {
            (
                *key,
                value.saturating_sub(before.get(key).copied().unwrap_or(0)),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: CgroupId = CgroupId(7);

    fn reading(cgroups: &[(CgroupId, u64, u64)]) -> Snapshot {
        let stats = |generation, on_cpu_ns| CgroupStats {
            generation,
            on_cpu_ns,
            ..CgroupStats::default()
        };
        Snapshot {
            cgroups: cgroups
                .iter()
                .map(|(id, generation, ns)| (*id, stats(*generation, *ns)))
                .collect(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn every_kind_of_the_ledger_is_explained_in_the_docs() {
        let page = include_str!("../../../docs/losses.md");
        let rows: Vec<(&str, &str)> = page
            .lines()
            .filter_map(|line| {
                let cells: Vec<_> = line.split('|').map(str::trim).collect();
                (cells.len() == 7).then(|| (cells[1].trim_matches('`'), cells[3]))
            })
            .collect();
        for kind in Ledger::ALL {
            let loss = if kind.is_loss() { "yes" } else { "no" };
            assert!(rows.contains(&(kind.as_str(), loss)), "{kind:?}: {loss}");
        }
        // Below the head and its line.
        assert_eq!(rows.len(), 2 + Ledger::ALL.len());
    }

    #[test]
    fn no_difference_is_taken_across_generations_whether_the_new_total_is_smaller_or_larger() {
        // D-14
        let before = reading(&[(POD, 1, 9_000_000)]);
        for total in [1_200_000, 9_500_000] {
            let used = reading(&[(POD, 2, total)]).since(&before);
            assert_eq!(used.cgroups[&POD].on_cpu_ns, total);
            let other = reading(&[(CgroupId(8), 2, total)]).since(&before);
            assert_eq!(other.cgroups.len(), 1);
            assert_eq!(other.cgroups[&CgroupId(8)].on_cpu_ns, total);
        }
        let used = reading(&[(POD, 1, 9_500_000)]).since(&before);
        assert_eq!(used.cgroups[&POD].on_cpu_ns, 500_000);
    }

    #[test]
    fn a_pair_of_which_one_is_another_begins_at_nothing() {
        let other = CgroupId(8);
        let blame = Blame {
            victim: POD,
            aggressor: other,
        };
        let mut before = reading(&[(POD, 1, 0), (other, 2, 0)]);
        before.blames.insert(blame, 100);
        let mut after = reading(&[(POD, 1, 0), (other, 3, 0)]);
        after.blames.insert(blame, 110);
        assert_eq!(after.since(&before).blames[&blame], 110);
        let mut same = reading(&[(POD, 1, 0), (other, 2, 0)]);
        same.blames.insert(blame, 110);
        assert_eq!(same.since(&before).blames[&blame], 10);
    }

    #[test]
    fn what_departed_cgroups_used_is_what_they_used_since() {
        let before = reading(&[(POD, 1, 100), (CgroupId(8), 2, 50)]);
        // The one has used 30 more before it was gone, another came and went within.
        let mut after = reading(&[(CgroupId(8), 2, 60)]);
        after.departed.on_cpu_ns = 130 + 5;
        let used = after.since(&before);
        assert_eq!(used.departed.on_cpu_ns, 35);
        assert_eq!(used.cgroups[&CgroupId(8)].on_cpu_ns, 10);
    }

    #[test]
    fn what_a_child_left_is_its_heirs_from_the_earlier_reading_on() {
        let (child, other) = (CgroupId(8), CgroupId(9));
        let blame = |victim, aggressor| Blame { victim, aggressor };
        let mut before = reading(&[(POD, 1, 100), (child, 2, 50), (other, 3, 0)]);
        before.cgroups.get_mut(&child).unwrap().heir = Some(POD);
        before.blames = BTreeMap::from([
            (blame(POD, other), 10),
            (blame(child, other), 20),
            (blame(other, child), 30),
        ]);
        // It used 15 more before it was gone; a second child came and went meanwhile, and used 4.
        let mut after = reading(&[(POD, 1, 107), (other, 3, 0)]);
        let left = |on_cpu_ns| CgroupStats {
            on_cpu_ns,
            ..CgroupStats::default()
        };
        after.inherited = BTreeMap::from([(POD, left(50 + 15 + 4))]);
        after.blames = BTreeMap::from([
            (blame(POD, other), 10 + 1 + 20 + 2),
            (blame(other, POD), 30 + 3),
        ]);
        let used = after.since(&before);
        assert_eq!(used.sum(&[POD, child]).unwrap().on_cpu_ns, 7 + 15 + 4);
        let expected = [(blame(POD, other), 1 + 2), (blame(other, POD), 3)];
        assert_eq!(used.blames, BTreeMap::from(expected));
        // The pod is gone as well: it was its own heir.
        before.cgroups.get_mut(&POD).unwrap().heir = Some(POD);
        let mut last = reading(&[(other, 3, 0)]);
        last.inherited = BTreeMap::from([(POD, left(107 + 69))]);
        last.blames = after.blames.clone();
        let used = last.since(&before);
        assert_eq!(used.sum(&[POD, child]).unwrap().on_cpu_ns, 7 + 15 + 4);
        assert_eq!(used.blames, BTreeMap::from(expected));
    }

    #[test]
    fn a_rate_has_the_bounds_of_the_time_between_the_readings() {
        let at = |begin_ns, end_ns| Acquisition {
            begin_ns,
            end_ns,
            ..Acquisition::default()
        };
        let used = Snapshot {
            first: at(1_000_000_000, 1_100_000_000),
            last: at(2_000_000_000, 2_100_000_000),
            ..Snapshot::default()
        };
        let rate = used.rate(90);
        assert!((rate.low - 90.0 / 1.1).abs() < 1e-9);
        assert!((rate.per_second - 90.0).abs() < 1e-9);
        assert!((rate.high - 100.0).abs() < 1e-9);
    }

    #[test]
    fn a_run_answers_for_its_own_losses_and_for_those_of_nobody() {
        let mut used = reading(&[(POD, 1, 0), (CgroupId(8), 2, 0)]);
        used.machine = BTreeMap::from([(Ledger::SlotsFull, 2), (Ledger::RingFull, 1)]);
        for (id, count) in [(POD, 5), (CgroupId(8), 70)] {
            let ledger = &mut used.cgroups.get_mut(&id).unwrap().ledger;
            ledger.insert(Ledger::RingFull, count);
        }
        let losses = used.losses_of([&POD]);
        assert_eq!(losses[&Ledger::RingFull], 6);
        assert_eq!(losses[&Ledger::SlotsFull], 2);
    }
}
