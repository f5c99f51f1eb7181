//! What waits for a CPU were for, so that no neighbour is blamed for the rest.
//!
//! The probes tell what ran on the CPU during a wait. Whether a CPU limit held the task meanwhile no tracepoint tells; the
//! kernel tells by cgroup how long it throttled (`throttled_usec` of cgroup2's `cpu.stat`, `throttled_time` of version 1, and in
//! `cpu.stat.local`, since 6.6, how long a cgroup was throttled by whichever quota: its own or that of one above it).
//!
//! A throttled cgroup has at least one task that waits on each CPU on which it is throttled, so that time is the least that the
//! limit is to blame for, as long as there is as much waiting that could be its; with several tasks on a throttled CPU it
//! may be as much as all the waiting during which no task of the cgroup ran.
//!
//! Several quotas may hold the same task: its cgroup's, that of one above, those of ones below for what is in these. Of cgroups
//! within one another the longest time counts, as one wait may be told by each of them; of cgroups beside one another the sum
//! does, as their tasks are not the same. What is told of a cgroup that has others' tasks in it, too (a quota of the parent, where
//! there is no `cpu.stat.local`), may have held nothing but theirs: it is no lower bound. It is taken off the neighbours' part
//! nevertheless, so that nobody is blamed for what may have been a limit.

use crate::{Snapshot, cgroup::CgroupId};

/// At least and at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// At least.
    pub low_ns: u64,
    /// At most.
    pub high_ns: u64,
}

/// For how long CPU limits held tasks of some cgroups between two readings, as far as the kernel tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throttled {
    /// What it tells of cgroups with no other tasks than theirs: they are held for at least as long.
    pub alone_ns: u64,
    /// The same and what it tells of cgroups that they share with others; not less than `alone_ns`.
    pub shared_ns: u64,
    /// Whether some of their tasks may have been held while others of theirs ran on that CPU.
    pub in_part: bool,
    /// Whether limits may have held them that could not be read.
    pub incomplete: bool,
}

impl Throttled {
    /// What the kernel tells of the cgroups' own limit.
    #[must_use]
    pub fn alone(ns: u64) -> Self {
        Self {
            alone_ns: ns,
            shared_ns: ns,
            ..Self::default()
        }
    }
}

/// What the waits of some cgroups between two readings were for. The four parts without bounds add up to `total_ns`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Causes {
    /// All waits that ended.
    pub total_ns: u64,
    /// Other cgroups held the CPU: what is left of it after the limit's share, which is taken off here first, so that
    /// nobody is blamed for what the limit may have caused.
    pub others_ns: u64,
    /// Each of them and its part of `others_ns`, longest first; rounding leaves out less than a nanosecond each.
    pub others: Vec<(CgroupId, u64)>,
    /// Other tasks of the same cgroups ran.
    pub own_ns: u64,
    /// CPU limits: what the kernel tells of them, which is the lower bound unless others' tasks are in it.
    pub limit_ns: u64,
    /// Neither of these: the CPU idled while the wake-up was under way, a task of unknown cgroup ran, or more ran than is
    /// remembered.
    pub unexplained_ns: u64,
    /// How long the limit may have held tasks.
    pub limit: Bounds,
    /// How long others may have: all that they ran during waits, and none of what the limit may have caused as well.
    pub others_bounds: Bounds,
    /// Of all waits, that during which the CPU idled; never a neighbour's.
    pub idle_ns: u64,
}

impl Causes {
    /// Splits what the cgroups `ids`, which belong together, waited. `used` is a difference of snapshots, `throttled` what
    /// the kernel's accounting tells of the time between them.
    #[must_use]
    pub fn of(used: &Snapshot, ids: &[CgroupId], throttled: Throttled) -> Self {
        let Some(stats) = used.sum(ids) else {
            return Self::default();
        };
        let total_ns = stats.wait.sum_ns;
        let mut own_ns = stats.wait_own_ns;
        let mut others: Vec<(CgroupId, u64)> = Vec::new();
        for (blame, ns) in &used.blames {
            if !ids.contains(&blame.victim) || *ns == 0 {
                continue;
            }
            // Cgroups that belong together are no neighbours of one another.
            if ids.contains(&blame.aggressor) {
                own_ns += ns;
                continue;
            }
            match others.iter_mut().find(|(id, _)| *id == blame.aggressor) {
                Some((_, sum)) => *sum += ns,
                None => others.push((blame.aggressor, *ns)),
            }
        }
        // The matrix is read some time after the counters: it must not explain more than there is.
        own_ns = own_ns.min(total_ns);
        let blamed_ns: u64 = others.iter().map(|(_, ns)| ns).sum();
        let ran_ns = blamed_ns.min(total_ns - own_ns);
        let rest_ns = total_ns - own_ns - ran_ns;
        let idle_ns = stats.wait_idle_ns.min(rest_ns);

        // While a cgroup is throttled on a CPU none of its tasks runs there; while a part of it is, others of its tasks may.
        let free_ns = ran_ns + rest_ns;
        let beside_own_ns = if throttled.in_part { own_ns } else { 0 };
        let limit = Bounds {
            low_ns: throttled.alone_ns.min(free_ns),
            high_ns: if throttled.shared_ns == 0 && !throttled.incomplete {
                0
            } else {
                free_ns + beside_own_ns
            },
        };
        let limit_ns = throttled.shared_ns.min(free_ns);
        let off_others_ns = limit_ns.min(ran_ns);
        let others_ns = ran_ns - off_others_ns;
        for (_, ns) in &mut others {
            let part = u128::from(*ns) * u128::from(others_ns) / u128::from(blamed_ns.max(1));
            *ns = u64::try_from(part).unwrap_or(u64::MAX);
        }
        others.retain(|(_, ns)| *ns > 0);
        others.sort_by_key(|(id, ns)| (std::cmp::Reverse(*ns), *id));
        Self {
            total_ns,
            others_ns,
            others,
            own_ns,
            limit_ns,
            unexplained_ns: rest_ns - (limit_ns - off_others_ns),
            limit,
            others_bounds: Bounds {
                low_ns: ran_ns.saturating_sub(limit.high_ns),
                // What of the limit's least cannot have been while none of them ran was while they did.
                high_ns: ran_ns - limit.low_ns.saturating_sub(rest_ns + beside_own_ns),
            },
            idle_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Blame, CgroupStats};

    const OWN: CgroupId = CgroupId(1);
    const CHILD: CgroupId = CgroupId(2);
    const ONE: CgroupId = CgroupId(3);
    const TWO: CgroupId = CgroupId(4);

    /// 1,000 ns: 100 for own tasks, 60 for a child, 400 and 200 for two others, 150 while the CPU idled, 90 for what
    /// nothing tells.
    fn used() -> Snapshot {
        let mut stats = CgroupStats {
            wait_own_ns: 100,
            wait_other_ns: 660,
            wait_idle_ns: 150,
            wait_unexplained_ns: 90,
            ..CgroupStats::default()
        };
        stats.wait.sum_ns = 1_000;
        let blame = |aggressor| Blame {
            victim: OWN,
            aggressor,
        };
        Snapshot {
            cgroups: BTreeMap::from([(OWN, stats), (CHILD, CgroupStats::default())]),
            blames: BTreeMap::from([(blame(CHILD), 60), (blame(ONE), 200), (blame(TWO), 400)]),
            ..Snapshot::default()
        }
    }

    fn split(throttled_ns: u64) -> Causes {
        split_by(Throttled::alone(throttled_ns))
    }

    fn split_by(throttled: Throttled) -> Causes {
        let causes = Causes::of(&used(), &[OWN, CHILD], throttled);
        let parts = causes.others_ns + causes.own_ns + causes.limit_ns + causes.unexplained_ns;
        assert_eq!(parts, causes.total_ns);
        causes
    }

    #[test]
    fn without_a_limit_each_other_has_what_it_ran() {
        let causes = split(0);
        assert_eq!(causes.own_ns, 160);
        assert_eq!(causes.others, [(TWO, 400), (ONE, 200)]);
        assert_eq!((causes.limit_ns, causes.unexplained_ns), (0, 240));
        assert_eq!(causes.limit, Bounds::default());
        let exactly = Bounds {
            low_ns: 600,
            high_ns: 600,
        };
        assert_eq!((causes.others_bounds, causes.idle_ns), (exactly, 150));
    }

    #[test]
    fn the_limits_share_is_taken_off_the_others_first() {
        let causes = split(300);
        assert_eq!((causes.limit_ns, causes.others_ns), (300, 300));
        assert_eq!(causes.others, [(TWO, 200), (ONE, 100)]);
        assert_eq!(causes.unexplained_ns, 240);
        let limit = Bounds {
            low_ns: 300,
            high_ns: 840,
        };
        assert_eq!(causes.limit, limit);
        // 240 of the 300 may have been while nobody else ran; and with several tasks held at once, all 840 are the limit's.
        let others = Bounds {
            low_ns: 0,
            high_ns: 540,
        };
        assert_eq!(causes.others_bounds, others);
    }

    #[test]
    fn a_limit_explains_no_more_than_there_is() {
        let causes = split(5_000);
        assert_eq!((causes.limit_ns, causes.others_ns), (840, 0));
        assert_eq!((causes.own_ns, causes.unexplained_ns), (160, 0));
        assert_eq!(causes.others, []);
        assert_eq!(causes.others_bounds, Bounds::default());
    }

    #[test]
    fn a_limit_shared_with_others_is_taken_off_but_is_no_lower_bound() {
        let causes = split_by(Throttled {
            alone_ns: 100,
            shared_ns: 300,
            ..Throttled::default()
        });
        assert_eq!((causes.limit_ns, causes.others_ns), (300, 300));
        let limit = Bounds {
            low_ns: 100,
            high_ns: 840,
        };
        assert_eq!(causes.limit, limit);
        let others = Bounds {
            low_ns: 0,
            high_ns: 600,
        };
        assert_eq!(causes.others_bounds, others);
    }

    #[test]
    fn a_limit_of_a_part_may_hold_it_while_own_tasks_run() {
        let causes = split_by(Throttled {
            in_part: true,
            ..Throttled::alone(300)
        });
        assert_eq!((causes.own_ns, causes.limit_ns), (160, 300));
        assert_eq!(causes.limit.high_ns, 1_000);
    }

    #[test]
    fn what_could_not_be_read_may_be_all_or_nothing() {
        let causes = split_by(Throttled {
            incomplete: true,
            ..Throttled::default()
        });
        assert_eq!((causes.limit_ns, causes.others_ns), (0, 600));
        let between = |high_ns| Bounds { low_ns: 0, high_ns };
        assert_eq!(causes.limit, between(840));
        assert_eq!(causes.others_bounds, between(600));
    }

    #[test]
    fn a_matrix_that_was_read_later_explains_no_more_than_there_is() {
        let mut used = used();
        used.blames.insert(
            Blame {
                victim: OWN,
                aggressor: TWO,
            },
            4_000,
        );
        let causes = Causes::of(&used, &[OWN, CHILD], Throttled::default());
        assert_eq!((causes.others_ns, causes.unexplained_ns), (840, 0));
        assert!(causes.others.iter().map(|(_, ns)| ns).sum::<u64>() <= 840);
    }

    #[test]
    fn a_cgroup_that_was_not_seen_waited_for_nothing() {
        let causes = Causes::of(&used(), &[ONE], Throttled::alone(7));
        assert_eq!(causes, Causes::default());
    }
}
