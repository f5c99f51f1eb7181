//! From two readings to what each replica used between them.

use std::collections::BTreeMap;

use galileo_probes::{CgroupStats, Durations, Feature, Probes, Snapshot, cgroup::CgroupId};
use galileo_wire::{
    Histogram,
    capture::{Interference, Usage, Waits},
    histogram::Bucket,
};

use super::names::{Names, Owner};
use crate::local::Accounted;

/// What the kernel's accounting said of a replica at both ends of the measured phase.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accounts {
    pub before: Option<Accounted>,
    pub after: Option<Accounted>,
    /// What a hypervisor took meanwhile from the CPUs the replica may run on.
    pub stolen_ns: Option<u64>,
}

impl Accounts {
    fn cpu_ns(&self) -> Option<u64> {
        Some(self.after?.cpu_ns.saturating_sub(self.before?.cpu_ns))
    }

    fn throttled_ns(&self) -> Option<u64> {
        Some(
            self.after?
                .throttled_ns?
                .saturating_sub(self.before?.throttled_ns?),
        )
    }
}

/// What the probes can see on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub cpu: bool,
    pub network: bool,
    pub http: bool,
}

impl Seen {
    pub(crate) fn by(probes: &Probes) -> Self {
        let on = |feature| {
            probes
                .capabilities()
                .iter()
                .any(|capability| capability.feature == feature && capability.off.is_none())
        };
        Self {
            cpu: on(Feature::Cpu),
            network: on(Feature::Network),
            http: on(Feature::Http),
        }
    }
}

/// What each replica used, and who disturbed whom. What the probes cannot see stays unsaid.
///
/// `used` is the difference of two snapshots; none if the probes saw nothing. A wait of a throttled cgroup cannot be told
/// from one behind a neighbour, so its limit's share is taken off the neighbours' part first: nobody is blamed for
/// what the limit may have caused.
pub(crate) fn usages(
    used: Option<(&Snapshot, Seen)>,
    accounts: &[Accounts],
    names: &Names,
) -> (Vec<Option<Usage>>, Vec<Interference>) {
    let mut blamed: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut usages = Vec::with_capacity(accounts.len());
    for (index, account) in accounts.iter().enumerate() {
        let ids = names.of_replica(index);
        let sum = used.and_then(|(used, seen)| Some((used, seen, used.sum(&ids)?)));
        let Some((used, seen, stats)) = sum else {
            usages.push(account.cpu_ns().map(|cpu_ns| Usage {
                cpu_ns,
                // There is no second observer to agree with.
                accounted_cpu_ns: None,
                stolen_ns: account.stolen_ns,
                ..Usage::default()
            }));
            continue;
        };
        let (waits, left) = waits(used, &stats, &ids, account.throttled_ns().unwrap_or(0));
        let victim = format!(
            "{}/{}",
            names.replica(index).service,
            names.replica(index).replica
        );
        for (aggressor, ns) in left {
            let aggressor = names.name(aggressor);
            *blamed.entry((victim.clone(), aggressor)).or_default() += ns;
        }
        usages.push(usage(&stats, seen, account, waits));
    }
    // Others wait too: Galileo's own waits tell whether the load was disturbed.
    for (blame, ns) in used.into_iter().flat_map(|(used, _)| &used.blames) {
        let (victim, aggressor) = (names.owner(blame.victim), names.owner(blame.aggressor));
        if matches!(victim, Owner::Replica(_))
            || *ns == 0
            || (victim == Owner::Galileo && aggressor == Owner::Galileo)
        {
            continue;
        }
        *blamed
            .entry((names.name(blame.victim), names.name(blame.aggressor)))
            .or_default() += ns;
    }
    let mut interference: Vec<_> = blamed
        .into_iter()
        .map(|((victim, aggressor), wait_ns)| Interference {
            victim,
            aggressor,
            wait_ns,
        })
        .collect();
    interference.sort_by_key(|pair| std::cmp::Reverse(pair.wait_ns));
    (usages, interference)
}

/// What one replica used; none if nothing tells its CPU time.
fn usage(stats: &CgroupStats, seen: Seen, account: &Accounts, waits: Waits) -> Option<Usage> {
    let Seen { cpu, network, http } = seen;
    Some(Usage {
        cpu_ns: if cpu {
            stats.on_cpu_ns
        } else {
            account.cpu_ns()?
        },
        // There is no second observer to agree with if the first is off.
        accounted_cpu_ns: account.cpu_ns().filter(|_| cpu),
        stolen_ns: account.stolen_ns,
        rx_bytes: network.then_some(stats.rx_bytes),
        tx_bytes: network.then_some(stats.tx_bytes),
        exchanges: http.then_some(stats.server.count),
        service: http.then(|| histogram(&stats.server.duration)),
        runq_wait: cpu.then(|| histogram(&stats.wait)),
        waits: cpu.then_some(waits),
        switches_voluntary: cpu.then_some(stats.switches_voluntary),
        switches_involuntary: cpu.then_some(stats.switches_involuntary),
    })
}

/// Splits what the cgroups of one replica waited, and says what is left to each neighbour.
fn waits(
    used: &Snapshot,
    stats: &CgroupStats,
    ids: &[CgroupId],
    throttled_ns: u64,
) -> (Waits, Vec<(CgroupId, u64)>) {
    let mut others: Vec<(CgroupId, u64)> = Vec::new();
    let mut own_ns = stats.wait_own_ns;
    for (blame, ns) in &used.blames {
        if !ids.contains(&blame.victim) || *ns == 0 {
            continue;
        }
        // Cgroups that the replica made itself are no neighbours of one another.
        if ids.contains(&blame.aggressor) {
            own_ns += ns;
        } else {
            others.push((blame.aggressor, *ns));
        }
    }
    let total_ns = stats.wait.sum_ns;
    own_ns = own_ns.min(total_ns);
    let other_ns = others
        .iter()
        .map(|(_, ns)| ns)
        .sum::<u64>()
        .min(total_ns - own_ns);
    let rest_ns = total_ns - own_ns - other_ns;
    let limit_ns = throttled_ns.min(other_ns + rest_ns);
    let off_others_ns = limit_ns.min(other_ns);
    let left_ns = other_ns - off_others_ns;
    if other_ns > 0 {
        for (_, ns) in &mut others {
            *ns = (u128::from(*ns) * u128::from(left_ns) / u128::from(other_ns)) as u64;
        }
    }
    others.retain(|(_, ns)| *ns > 0);
    let waits = Waits {
        other_cgroups_ns: left_ns,
        own_tasks_ns: own_ns,
        cpu_limit_ns: limit_ns,
        unexplained_ns: rest_ns - (limit_ns - off_others_ns),
    };
    (waits, others)
}

fn histogram(durations: &Durations) -> Histogram {
    Histogram {
        buckets: durations
            .buckets()
            .map(|(low_ns, high_ns, count)| Bucket {
                low_ns,
                high_ns,
                count,
            })
            .collect(),
        sum_ns: durations.sum_ns,
    }
}

#[cfg(test)]
mod tests {
    use galileo_probes::Blame;

    use super::*;

    const OWN: CgroupId = CgroupId(1);
    const CHILD: CgroupId = CgroupId(2);
    const NEIGHBOUR: CgroupId = CgroupId(3);

    /// A replica of two cgroups that waited 100 ns: 20 for itself, 10 for its child, 50 for a neighbour.
    fn split(throttled_ns: u64) -> (Waits, Vec<(CgroupId, u64)>) {
        let mut stats = CgroupStats {
            wait_own_ns: 20,
            wait_other_ns: 60,
            ..CgroupStats::default()
        };
        stats.wait.sum_ns = 100;
        let blames = BTreeMap::from([
            (
                Blame {
                    victim: OWN,
                    aggressor: CHILD,
                },
                10,
            ),
            (
                Blame {
                    victim: OWN,
                    aggressor: NEIGHBOUR,
                },
                50,
            ),
            (
                Blame {
                    victim: NEIGHBOUR,
                    aggressor: OWN,
                },
                7,
            ),
        ]);
        let used = Snapshot {
            blames,
            ..Snapshot::default()
        };
        waits(&used, &stats, &[OWN, CHILD], throttled_ns)
    }

    #[test]
    fn what_the_probes_cannot_see_is_not_said() {
        let stats = CgroupStats {
            on_cpu_ns: 7,
            rx_bytes: 8,
            ..CgroupStats::default()
        };
        let read = |cpu_ns| {
            Some(Accounted {
                cpu_ns,
                throttled_ns: None,
                begin_ns: 0,
                end_ns: 0,
            })
        };
        let account = Accounts {
            before: read(10),
            after: read(15),
            stolen_ns: None,
        };
        let all = Seen {
            cpu: true,
            network: true,
            http: true,
        };
        let whole = usage(&stats, all, &account, Waits::default()).unwrap();
        assert_eq!(
            (whole.cpu_ns, whole.accounted_cpu_ns, whole.rx_bytes),
            (7, Some(5), Some(8))
        );
        let no_cpu = usage(
            &stats,
            Seen { cpu: false, ..all },
            &account,
            Waits::default(),
        )
        .unwrap();
        assert_eq!(
            (no_cpu.cpu_ns, no_cpu.accounted_cpu_ns, no_cpu.waits),
            (5, None, None)
        );
        assert_eq!(no_cpu.exchanges, Some(0));
        let no_packets = Seen {
            network: false,
            http: false,
            ..all
        };
        let silent = usage(&stats, no_packets, &account, Waits::default()).unwrap();
        assert_eq!(
            (silent.rx_bytes, silent.exchanges, silent.service),
            (None, None, None)
        );
    }

    #[test]
    fn the_parts_of_a_wait_add_up_and_children_are_no_neighbours() {
        let (parts, left) = split(0);
        let expected = Waits {
            other_cgroups_ns: 50,
            own_tasks_ns: 30,
            cpu_limit_ns: 0,
            unexplained_ns: 20,
        };
        assert_eq!(parts, expected);
        assert_eq!(left, [(NEIGHBOUR, 50)]);
    }

    #[test]
    fn what_the_limit_may_have_caused_is_taken_off_the_neighbours_first() {
        let (parts, left) = split(30);
        assert_eq!(
            (
                parts.other_cgroups_ns,
                parts.cpu_limit_ns,
                parts.unexplained_ns
            ),
            (20, 30, 20)
        );
        assert_eq!(left, [(NEIGHBOUR, 20)]);
        let (parts, left) = split(60);
        assert_eq!(
            (
                parts.other_cgroups_ns,
                parts.cpu_limit_ns,
                parts.unexplained_ns
            ),
            (0, 60, 10)
        );
        assert_eq!(left, []);
        // More than there is to explain: several CPUs were throttled while one task waited.
        let (parts, _) = split(1_000);
        assert_eq!(
            (parts.own_tasks_ns, parts.cpu_limit_ns, parts.unexplained_ns),
            (30, 70, 0)
        );
    }
}
