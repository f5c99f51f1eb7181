//! From two readings to what each CPU did between them.

use std::collections::{BTreeMap, BTreeSet};

use galileo_probes::{CpuTimes, Snapshot, Taken, Ticks};
use galileo_wire::capture::Cpu;

use super::usage::Seen;

/// What each CPU did, by ascending number: those that /proc/stat tells of, without it those that the probes watched. What was not
/// measured stays unsaid: a hook that is not attached has counted 0, which means nothing, and so has that of switches on a CPU
/// without any.
///
/// `used` is the difference of two snapshots, `taken` that of two readings of /proc/stat, whose steal means something only if it
/// `tells_steal`.
pub(super) fn between(
    used: Option<(&Snapshot, Seen)>,
    taken: &BTreeMap<u32, Taken>,
    tells_steal: bool,
) -> Vec<Cpu> {
    // There are places for CPUs that may be plugged in some day. One that was taken offline stays at its last task, mostly the
    // idle one, for as long as anyone looks.
    let watched: BTreeMap<u32, &CpuTimes> = used
        .map(|(used, _)| (0..).zip(&used.cpus))
        .into_iter()
        .flatten()
        .filter(|(cpu, times)| {
            taken.contains_key(cpu) || (taken.is_empty() && times.watched_ns > 0)
        })
        .collect();
    let seen = used.map(|(_, seen)| seen);
    let numbers: BTreeSet<u32> = watched.keys().chain(taken.keys()).copied().collect();
    numbers
        .into_iter()
        .map(|cpu| {
            let times = watched.get(&cpu);
            let scheduled =
                times.filter(|times| seen.is_some_and(|seen| seen.cpu) && times.watched_ns > 0);
            let interrupts = times
                .filter(|_| seen.is_some_and(|seen| seen.interrupts))
                .and_then(|times| times.interrupts);
            Cpu {
                cpu,
                watched_ns: scheduled.map(|times| times.watched_ns),
                idle_ns: scheduled.map(|times| times.idle_ns),
                unassigned_ns: scheduled.map(|times| times.unassigned_ns),
                irq_ns: interrupts.map(|interrupts| interrupts.irq_ns),
                softirq_ns: interrupts.map(|interrupts| interrupts.softirq_ns),
                steal_ns: taken
                    .get(&cpu)
                    .filter(|_| tells_steal)
                    .map(|taken| taken.steal_ns),
            }
        })
        .collect()
}

/// Whether the steal in /proc/stat means something: it has 0 as well where the kernel or the hypervisor tells none.
pub(super) fn tells_steal(since_boot: &BTreeMap<u32, Ticks>, is_bare: bool) -> bool {
    is_bare || since_boot.values().any(|ticks| ticks.steal > 0)
}

/// What was taken from these CPUs (all that were online at both ends, if none are named); none where the kernel does not tell.
pub(super) fn taken_from(cpus: Option<&[u32]>, taken: &BTreeMap<u32, Taken>) -> Option<Taken> {
    match cpus {
        Some(cpus) => cpus
            .iter()
            .try_fold(Taken::default(), |sum, cpu| Some(sum + *taken.get(cpu)?)),
        None => taken.values().copied().reduce(|sum, taken| sum + taken),
    }
}

#[cfg(test)]
mod tests {
    use galileo_probes::Interrupts;

    use super::*;

    const ALL: Seen = Seen {
        cpu: true,
        network: true,
        tcp: true,
        http: true,
        interrupts: true,
    };

    /// CPU 0 was watched, CPU 1 has never switched, CPU 2 is not there.
    fn used() -> Snapshot {
        let interrupts = |irq_ns, softirq_ns| {
            Some(Interrupts {
                irq_ns,
                softirq_ns,
                ..Interrupts::default()
            })
        };
        let watched = CpuTimes {
            watched_ns: 100,
            idle_ns: 60,
            unassigned_ns: 1,
            interrupts: interrupts(3, 9),
            ..CpuTimes::default()
        };
        let silent = CpuTimes {
            interrupts: interrupts(0, 0),
            ..CpuTimes::default()
        };
        Snapshot {
            cpus: vec![watched, silent, silent],
            ..Snapshot::default()
        }
    }

    fn taken() -> BTreeMap<u32, Taken> {
        let steal_ns = |steal_ns| Taken {
            steal_ns,
            ..Taken::default()
        };
        [(0, steal_ns(20_000_000)), (1, steal_ns(0))].into()
    }

    #[test]
    fn each_cpu_that_is_there_has_its_figures() {
        let silent = Cpu {
            cpu: 1,
            irq_ns: Some(0),
            softirq_ns: Some(0),
            steal_ns: Some(0),
            ..Cpu::default()
        };
        let busy = Cpu {
            cpu: 0,
            watched_ns: Some(100),
            idle_ns: Some(60),
            unassigned_ns: Some(1),
            irq_ns: Some(3),
            softirq_ns: Some(9),
            steal_ns: Some(20_000_000),
        };
        assert_eq!(
            between(Some((&used(), ALL)), &taken(), true),
            [busy, silent]
        );
    }

    #[test]
    fn a_cpu_that_was_not_online_at_both_ends_has_not_idled_ever_since() {
        let mut online = taken();
        online.remove(&0);
        let told: Vec<u32> = between(Some((&used(), ALL)), &online, true)
            .iter()
            .map(|cpu| cpu.cpu)
            .collect();
        assert_eq!(told, [1]);
    }

    #[test]
    fn what_was_taken_is_that_of_the_cpus_named_or_of_all_that_were_online() {
        let stolen = |cpus| taken_from(cpus, &taken()).map(|taken| taken.steal_ns);
        assert_eq!(stolen(None), Some(20_000_000));
        assert_eq!(stolen(Some(&[1])), Some(0));
        assert_eq!(stolen(Some(&[0, 1])), Some(20_000_000));
        assert_eq!(stolen(Some(&[0, 2])), None, "it was not online");
        assert_eq!(taken_from(None, &BTreeMap::new()), None);
    }

    #[test]
    fn steal_means_something_once_there_was_any_or_if_there_can_be_none() {
        let ticks = |steal| Ticks {
            all: 1_000,
            steal,
            ..Ticks::default()
        };
        let never: BTreeMap<u32, Ticks> = [(0, ticks(0)), (1, ticks(0))].into();
        assert!(!tells_steal(&never, false));
        assert!(tells_steal(&never, true));
        let once = [(0, ticks(0)), (1, ticks(1))].into();
        assert!(tells_steal(&once, false), "of one CPU suffices");
    }

    #[test]
    fn steal_that_nobody_tells_is_not_none() {
        for cpu in between(Some((&used(), ALL)), &taken(), false) {
            assert_eq!(cpu.steal_ns, None);
            assert_eq!(cpu.softirq_ns.is_some(), cpu.irq_ns.is_some());
        }
    }

    #[test]
    fn a_hook_that_is_off_has_measured_nothing_whatever_its_counter_says() {
        let off = Seen {
            interrupts: false,
            ..ALL
        };
        for cpu in between(Some((&used(), off)), &taken(), true) {
            assert_eq!((cpu.irq_ns, cpu.softirq_ns), (None, None));
            assert!(cpu.steal_ns.is_some());
        }
        let no_switches = Seen { cpu: false, ..ALL };
        let seen = &between(Some((&used(), no_switches)), &taken(), true)[0];
        assert_eq!((seen.watched_ns, seen.idle_ns), (None, None));
        assert_eq!(seen.softirq_ns, Some(9));
    }

    #[test]
    fn without_probes_steal_is_known_and_without_proc_stat_all_else() {
        let stolen = Cpu {
            cpu: 0,
            steal_ns: Some(20_000_000),
            ..Cpu::default()
        };
        assert_eq!(between(None, &taken(), true)[0], stolen);
        let seen = between(Some((&used(), ALL)), &BTreeMap::new(), true);
        assert_eq!(seen.len(), 1, "who was never watched may not be there");
        assert_eq!((seen[0].softirq_ns, seen[0].steal_ns), (Some(9), None));
        assert_eq!(between(None, &BTreeMap::new(), true), []);
    }
}
