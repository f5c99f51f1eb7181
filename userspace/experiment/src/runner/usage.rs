//! From two readings to what each replica used between them.

use std::collections::BTreeMap;

use galileo_probes::{
    Bounds, Causes, CgroupStats, Durations, Feature, Probes, Snapshot, Throttled, cgroup::CgroupId,
};
use galileo_wire::{
    Histogram,
    capture::{self, Apart, Interference, Usage, WaitBounds, Waits},
    histogram::Bucket,
};

use super::{
    names::{Names, Owner},
    network::Networks,
    preemption::Preemption,
};
use crate::local::{Accounted, throttling::Held};

/// What the kernel's accounting said of a replica at both ends of the measured phase.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accounts {
    pub before: Option<Accounted>,
    pub after: Option<Accounted>,
    /// What a hypervisor took meanwhile from the CPUs the replica may run on.
    pub stolen_ns: Option<u64>,
    /// By how much the probes may differ from it.
    pub apart: Apart,
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
    pub tcp: bool,
    pub http: bool,
    /// Only if that was asked for.
    pub interrupts: bool,
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
            tcp: on(Feature::Tcp),
            http: on(Feature::Http),
            interrupts: on(Feature::Interrupts),
        }
    }
}

/// What each replica used, and who disturbed whom. What the probes cannot see stays unsaid.
///
/// `used` is the difference of two snapshots; none if the probes saw nothing. A wait of a throttled cgroup cannot be told
/// from one behind a neighbour, so what limits `held` is taken off the neighbours' part first ([`Causes`]), of replicas and of
/// everybody else: nobody is blamed for what a limit may have caused.
pub(crate) fn usages(
    used: Option<(&Snapshot, Seen)>,
    accounts: &[Accounts],
    network: &Networks<'_>,
    names: &Names,
    held: &Held,
) -> (Vec<Option<Usage>>, Vec<Interference>) {
    let mut interference = Vec::new();
    let preemption = used.map_or_else(Preemption::default, |(used, _)| Preemption::of(used));
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
        let throttled = with_own(throttled(&ids, names, held), account.throttled_ns());
        let causes = Causes::of(used, &ids, throttled);
        let named = names.replica(index);
        let victim = format!("{}/{}", named.service, named.replica);
        interference.extend(blamed(&victim, &causes, throttled, names));
        let mut usage = usage(&stats, seen, account, preemption, waits(&causes));
        if let Some(usage) = &mut usage {
            network.tell(index, &stats, seen, &ids, usage);
        }
        usages.push(usage);
    }
    // Others wait too: Galileo's own waits tell whether the load was disturbed.
    if let Some((used, _)) = used {
        for (victim, ids) in others(used, names) {
            let throttled = throttled(&ids, names, held);
            let causes = Causes::of(used, &ids, throttled);
            interference.extend(blamed(&victim, &causes, throttled, names));
        }
    }
    interference.sort_by_key(|pair| std::cmp::Reverse(pair.wait_ns));
    (usages, interference)
}

/// The cgroups that waited and are no replica's, by the name of whom they belong to.
fn others(used: &Snapshot, names: &Names) -> BTreeMap<String, Vec<CgroupId>> {
    let mut others: BTreeMap<String, Vec<CgroupId>> = BTreeMap::new();
    for id in used.cgroups.keys() {
        if !matches!(names.owner(*id), Owner::Replica(_)) {
            others.entry(names.name(*id)).or_default().push(*id);
        }
    }
    others
}

fn throttled(ids: &[CgroupId], names: &Names, held: &Held) -> Throttled {
    held.of(&ids.iter().map(|id| names.path(*id)).collect())
}

/// The limit that Galileo set is known by its folder, whatever has become of the processes.
fn with_own(throttled: Throttled, own_ns: Option<u64>) -> Throttled {
    let own_ns = own_ns.unwrap_or(0);
    Throttled {
        alone_ns: throttled.alone_ns.max(own_ns),
        shared_ns: throttled.shared_ns.max(own_ns),
        ..throttled
    }
}

/// Whom a victim waited for, by their names.
fn blamed(
    victim: &str,
    causes: &Causes,
    throttled: Throttled,
    names: &Names,
) -> impl Iterator<Item = Interference> {
    let mut blamed: BTreeMap<String, u64> = BTreeMap::new();
    for (aggressor, ns) in &causes.others {
        *blamed.entry(names.name(*aggressor)).or_default() += ns;
    }
    blamed
        .into_iter()
        .map(move |(aggressor, wait_ns)| Interference {
            victim: victim.to_owned(),
            aggressor,
            wait_ns,
            limit_known: Some(!throttled.incomplete),
        })
}

/// What one replica used; none if nothing tells its CPU time.
fn usage(
    stats: &CgroupStats,
    seen: Seen,
    account: &Accounts,
    preemption: Preemption,
    waits: Waits,
) -> Option<Usage> {
    let Seen {
        cpu, network, http, ..
    } = seen;
    let apart = Apart {
        preempting_ns: Preemption::among(stats.wait.buckets()).sum_ns,
        preempted_ns: stats.switches_involuntary * preemption.mean_ns(),
        ..account.apart
    };
    Some(Usage {
        cpu_ns: if cpu {
            stats.on_cpu_ns
        } else {
            account.cpu_ns()?
        },
        // There is no second observer to agree with if the first is off.
        accounted_cpu_ns: account.cpu_ns().filter(|_| cpu),
        apart: account.cpu_ns().filter(|_| cpu).map(|_| apart),
        stolen_ns: account.stolen_ns,
        rx_bytes: network.then_some(stats.rx_bytes),
        tx_bytes: network.then_some(stats.tx_bytes),
        exchanges: http.then_some(stats.server.count),
        service: http.then(|| histogram(&stats.server.duration)),
        runq_wait: cpu.then(|| histogram(&stats.wait)),
        waits: cpu.then_some(waits),
        switches_voluntary: cpu.then_some(stats.switches_voluntary),
        switches_involuntary: cpu.then_some(stats.switches_involuntary),
        // What takes more than the counters comes beside.
        interfaces: None,
        tcp: None,
    })
}

/// The parts of a replica's waits.
fn waits(causes: &Causes) -> Waits {
    let bounds = |of: Bounds| capture::Bounds {
        low_ns: of.low_ns,
        high_ns: of.high_ns,
    };
    Waits {
        other_cgroups_ns: causes.others_ns,
        own_tasks_ns: causes.own_ns,
        cpu_limit_ns: causes.limit_ns,
        unexplained_ns: causes.unexplained_ns,
        bounds: Some(WaitBounds {
            other_cgroups: bounds(causes.others_bounds),
            cpu_limit: bounds(causes.limit),
        }),
    }
}

pub(super) fn histogram(durations: &Durations) -> Histogram {
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
    use super::*;

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
            apart: Apart::default(),
        };
        let none = Preemption::default();
        let all = Seen {
            cpu: true,
            network: true,
            tcp: true,
            http: true,
            interrupts: true,
        };
        let whole = usage(&stats, all, &account, none, Waits::default()).unwrap();
        assert_eq!(
            (whole.cpu_ns, whole.accounted_cpu_ns, whole.rx_bytes),
            (7, Some(5), Some(8))
        );
        let no_cpu = usage(
            &stats,
            Seen { cpu: false, ..all },
            &account,
            none,
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
        let silent = usage(&stats, no_packets, &account, none, Waits::default()).unwrap();
        assert_eq!(
            (silent.rx_bytes, silent.exchanges, silent.service),
            (None, None, None)
        );
    }

    #[test]
    fn who_is_preempted_may_have_that_much_less_on_its_account() {
        let stats = CgroupStats {
            switches_involuntary: 3,
            ..CgroupStats::default()
        };
        let read = Some(Accounted {
            cpu_ns: 0,
            throttled_ns: None,
            begin_ns: 0,
            end_ns: 0,
        });
        let account = Accounts {
            before: read,
            after: read,
            stolen_ns: None,
            apart: Apart {
                end_ns: 7,
                ..Apart::default()
            },
        };
        let seen = Seen {
            cpu: true,
            network: false,
            tcp: false,
            http: false,
            interrupts: false,
        };
        let preemption = Preemption {
            count: 2,
            sum_ns: 80,
        };
        let usage = usage(&stats, seen, &account, preemption, Waits::default()).unwrap();
        let expected = Apart {
            end_ns: 7,
            preempted_ns: 3 * 40,
            ..Apart::default()
        };
        assert_eq!(usage.apart, Some(expected));
    }

    #[test]
    fn no_part_of_a_wait_is_left_out_or_takes_the_place_of_another() {
        let causes = Causes {
            total_ns: 15,
            others_ns: 1,
            own_ns: 2,
            limit_ns: 4,
            unexplained_ns: 8,
            limit: Bounds {
                low_ns: 4,
                high_ns: 13,
            },
            others_bounds: Bounds {
                low_ns: 0,
                high_ns: 5,
            },
            ..Causes::default()
        };
        let bounds = |low_ns, high_ns| capture::Bounds { low_ns, high_ns };
        let expected = Waits {
            other_cgroups_ns: 1,
            own_tasks_ns: 2,
            cpu_limit_ns: 4,
            unexplained_ns: 8,
            bounds: Some(WaitBounds {
                other_cgroups: bounds(0, 5),
                cpu_limit: bounds(4, 13),
            }),
        };
        assert_eq!(waits(&causes), expected);
    }
}
