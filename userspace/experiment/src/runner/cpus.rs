//! From two readings to what each CPU did between them.

use std::collections::{BTreeMap, BTreeSet};

use galileo_probes::{CpuTimes, Snapshot, Taken};
use galileo_wire::capture::Cpu;

use super::usage::Seen;

/// What each CPU did, by ascending number: those that the probes watched or /proc/stat tells of. What was not measured stays
/// unsaid: a hook that is not attached has counted 0, which means nothing, and so has that of switches on a CPU without any.
///
/// `used` is the difference of two snapshots, `taken` that of two readings of /proc/stat.
pub(super) fn cpus(used: Option<(&Snapshot, Seen)>, taken: &BTreeMap<u32, Taken>) -> Vec<Cpu> {
    // There are places for CPUs that may be plugged in some day.
    let watched: BTreeMap<u32, &CpuTimes> = used
        .map(|(used, _)| (0..).zip(&used.cpus))
        .into_iter()
        .flatten()
        .filter(|(cpu, times)| times.watched_ns > 0 || taken.contains_key(cpu))
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
                steal_ns: taken.get(&cpu).map(|taken| taken.steal_ns),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use galileo_probes::Interrupts;

    use super::*;

    const ALL: Seen = Seen {
        cpu: true,
        network: true,
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
        assert_eq!(cpus(Some((&used(), ALL)), &taken()), [busy, silent]);
    }

    #[test]
    fn a_hook_that_is_off_has_measured_nothing_whatever_its_counter_says() {
        let off = Seen {
            interrupts: false,
            ..ALL
        };
        for cpu in cpus(Some((&used(), off)), &taken()) {
            assert_eq!((cpu.irq_ns, cpu.softirq_ns), (None, None));
            assert!(cpu.steal_ns.is_some());
        }
        let no_switches = Seen { cpu: false, ..ALL };
        let seen = &cpus(Some((&used(), no_switches)), &taken())[0];
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
        assert_eq!(cpus(None, &taken())[0], stolen);
        let seen = cpus(Some((&used(), ALL)), &BTreeMap::new());
        assert_eq!(seen.len(), 1, "who was never watched may not be there");
        assert_eq!((seen[0].softirq_ns, seen[0].steal_ns), (Some(9), None));
        assert_eq!(cpus(None, &BTreeMap::new()), []);
    }
}
