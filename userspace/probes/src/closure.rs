//! Whether anything is missing: what the CPUs ran for cgroups, and what they idled, must be the time they were watched.

use crate::snapshot::Snapshot;

/// How the time of all CPUs between two snapshots of the same probes closes.
///
/// The root cgroup is one of the cgroups: it has the kernel's threads and all that is in no other ([`RootTasks`](crate::RootTasks) tells
/// which).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closure {
    /// The CPUs' time from one reading to the other: what there is to explain. CPUs that were not watched from the first
    /// reading on (no switch was seen on them yet, or the probes were detached) count for the time they were.
    pub watched_ns: i64,
    /// Time of all CPUs between the readings in which they were not watched.
    pub unwatched_ns: i64,
    /// What ran for cgroups.
    pub cgroups_ns: i64,
    /// Time without a task to run.
    pub idle_ns: i64,
    /// What ran for tasks whose cgroup has no slot, or shows when they leave the CPU, as it does of those that did not run
    /// since the probes were loaded: named, but a part of what is missing. Negative if more such ran at the first reading.
    pub unassigned_ns: i64,
}

impl Closure {
    /// The closure between two snapshots, the earlier first.
    #[must_use]
    pub fn between(before: &Snapshot, after: &Snapshot) -> Self {
        let cgroups = |snapshot: &Snapshot| -> i64 {
            let each = snapshot.cgroups.values();
            each.chain([&snapshot.departed])
                .map(|stats| stats.on_cpu_ns.cast_signed())
                .sum()
        };
        let cpus = |of: fn(&crate::CpuTimes) -> u64| -> i64 {
            let sum = |snapshot: &Snapshot| -> i64 {
                snapshot.cpus.iter().map(|cpu| of(cpu).cast_signed()).sum()
            };
            sum(after) - sum(before)
        };
        let watched_ns = cpus(|cpu| cpu.watched_ns);
        // An offline or hot-plugged CPU that never switched has nothing to explain.
        let window_ns: i64 = before
            .cpus
            .iter()
            .zip(&after.cpus)
            .filter(|(_, after)| after.watched_ns > 0)
            .map(|(before, after)| after.at_ns.cast_signed() - before.at_ns.cast_signed())
            .sum();
        Self {
            watched_ns,
            unwatched_ns: window_ns - watched_ns,
            cgroups_ns: cgroups(after) - cgroups(before),
            idle_ns: cpus(|cpu| cpu.idle_ns),
            unassigned_ns: cpus(|cpu| cpu.unassigned_ns),
        }
    }

    /// Time that neither a cgroup nor the idle tasks account for; negative if some is counted twice.
    #[must_use]
    pub fn missing_ns(&self) -> i64 {
        self.watched_ns - self.cgroups_ns - self.idle_ns
    }

    /// What of the missing time is not even known to be unassigned: 0 unless a CPU switched so fast that it could not be read
    /// between two switches.
    #[must_use]
    pub fn lost_ns(&self) -> i64 {
        self.missing_ns() - self.unassigned_ns
    }

    /// The missing time as a part of the time watched; 0 if there was none.
    #[must_use]
    pub fn missing(&self) -> f64 {
        if self.watched_ns == 0 {
            0.0
        } else {
            self.missing_ns() as f64 / self.watched_ns as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CgroupStats, CpuTimes, cgroup::CgroupId};

    fn snapshot(cpus: &[(u64, u64, u64, u64)], on_cpu: &[u64]) -> Snapshot {
        Snapshot {
            cpus: cpus
                .iter()
                .map(|(at_ns, watched_ns, idle_ns, unassigned_ns)| CpuTimes {
                    at_ns: *at_ns,
                    watched_ns: *watched_ns,
                    idle_ns: *idle_ns,
                    unassigned_ns: *unassigned_ns,
                    ..CpuTimes::default()
                })
                .collect(),
            cgroups: (1..)
                .zip(on_cpu)
                .map(|(id, ns)| {
                    let stats = CgroupStats {
                        on_cpu_ns: *ns,
                        ..CgroupStats::default()
                    };
                    (CgroupId(id), stats)
                })
                .collect(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn cgroups_and_idle_are_all_the_time_of_all_cpus() {
        let before = snapshot(&[(1_000, 900, 400, 0), (1_010, 900, 900, 0)], &[300, 200]);
        let after = snapshot(
            &[(2_000, 1_900, 600, 0), (2_020, 1_910, 1_400, 0)],
            &[900, 910],
        );
        let closure = Closure::between(&before, &after);
        assert_eq!((closure.watched_ns, closure.unwatched_ns), (2_010, 0));
        assert_eq!((closure.cgroups_ns, closure.idle_ns), (1_310, 700));
        assert_eq!(closure.missing_ns(), 0);
    }

    #[test]
    fn what_is_not_assigned_is_missing_and_named() {
        let before = snapshot(&[(1_000, 1_000, 0, 0)], &[1_000]);
        let after = snapshot(&[(2_000, 2_000, 500, 100)], &[1_400]);
        let closure = Closure::between(&before, &after);
        assert_eq!((closure.missing_ns(), closure.unassigned_ns), (100, 100));
        assert_eq!(closure.lost_ns(), 0);
        assert!((closure.missing() - 0.1).abs() < 1e-9);
    }

    #[test]
    fn time_that_comes_out_of_what_was_unassigned_counts_twice_for_nobody() {
        // A task of unknown cgroup ran at the first reading, and left since: its cgroup has all of its time now.
        let before = snapshot(&[(1_000, 1_000, 0, 300)], &[700]);
        let after = snapshot(&[(2_000, 2_000, 0, 0)], &[2_000]);
        let closure = Closure::between(&before, &after);
        assert_eq!((closure.missing_ns(), closure.unassigned_ns), (-300, -300));
    }

    #[test]
    fn a_cpu_that_was_not_watched_is_told_apart() {
        let before = snapshot(&[(1_000, 500, 500, 0), (1_000, 0, 0, 0)], &[]);
        let after = snapshot(&[(2_000, 1_500, 1_500, 0), (2_000, 400, 400, 0)], &[]);
        let closure = Closure::between(&before, &after);
        assert_eq!((closure.watched_ns, closure.unwatched_ns), (1_400, 600));
        assert_eq!(closure.missing_ns(), 0);
        assert_eq!(Closure::between(&before, &before).missing(), 0.0);
    }
}
