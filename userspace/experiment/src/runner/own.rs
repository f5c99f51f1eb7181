//! What Galileo itself used.

use std::collections::BTreeMap;

use galileo_probes::{Feature, Memory, Probes, Snapshot, rss_bytes};
use galileo_wire::capture::{KernelMemory, OwnCost, ProgramCost};

use super::reading::Reading;

/// What Galileo used between two readings, and the memory it has now. `used` is the difference of the probes' two.
pub(super) fn own_cost(
    before: &Reading,
    after: &Reading,
    used: Option<&Snapshot>,
    probes: Option<&Probes>,
) -> OwnCost {
    let programs = used.and_then(programs);
    let sum = |of: fn(&ProgramCost) -> u64| Some(programs.as_ref()?.iter().map(of).sum());
    OwnCost {
        cpu_ns: match (before.own, after.own) {
            (Some(before), Some(after)) => after.cpu_ns.saturating_sub(before.cpu_ns),
            _ => 0,
        },
        probe_runs: sum(|program| program.runs),
        probe_ns: sum(|program| program.ns),
        rss_bytes: Some(rss_bytes()).filter(|bytes| *bytes > 0),
        kernel_memory: probes.map(|probes| kernel_memory(&probes.memory())),
        programs,
    }
}

/// What each program cost that ran, the dearest first; none if the kernel did not count.
fn programs(used: &Snapshot) -> Option<Vec<ProgramCost>> {
    let mut programs: Vec<ProgramCost> = used
        .programs
        .iter()
        .filter(|program| program.runs > 0)
        .map(|program| ProgramCost {
            name: program.name.clone(),
            runs: program.runs,
            ns: program.time_ns,
        })
        .collect();
    programs.sort_by_key(|program| std::cmp::Reverse(program.ns));
    (!used.programs.is_empty()).then_some(programs)
}

fn kernel_memory(memory: &Memory) -> KernelMemory {
    let mut bytes = BTreeMap::<String, u64>::new();
    for map in &memory.maps {
        let feature = map.feature.map_or("shared", Feature::as_str);
        *bytes.entry(feature.to_owned()).or_default() += map.bytes as u64;
    }
    KernelMemory {
        bytes,
        per_socket_bytes: memory.per_socket_bytes as u64,
    }
}

#[cfg(test)]
mod tests {
    use galileo_probes::MapMemory;

    use super::*;

    #[test]
    fn programs_are_told_if_the_kernel_counted_their_runs() {
        let cost = |name: &str, runs, time_ns| galileo_probes::ProgramCost {
            name: name.to_owned(),
            runs,
            time_ns,
            verified: 0,
        };
        let used = Snapshot {
            programs: vec![
                cost("ingress", 2, 30),
                cost("scan_sent", 0, 0),
                cost("sched_switch", 5, 90),
            ],
            ..Snapshot::default()
        };
        let own = own_cost(&Reading::default(), &Reading::default(), Some(&used), None);
        let names: Vec<String> = own
            .programs
            .into_iter()
            .flatten()
            .map(|program| program.name)
            .collect();
        assert_eq!(names, ["sched_switch", "ingress"]);
        assert_eq!((own.probe_runs, own.probe_ns), (Some(7), Some(120)));
        assert!(own.rss_bytes > Some(100_000), "{:?}", own.rss_bytes);

        let uncounted = Some(&Snapshot::default());
        let own = own_cost(&Reading::default(), &Reading::default(), uncounted, None);
        assert_eq!((own.programs, own.probe_runs), (None, None));
    }

    #[test]
    fn memory_of_maps_is_told_by_what_they_are_for() {
        let map = |id, feature, bytes| MapMemory {
            id,
            name: "ANY".to_owned(),
            feature,
            bytes,
        };
        let memory = Memory {
            maps: vec![
                map(1, Some(Feature::Http), 100),
                map(2, None, 7),
                map(3, Some(Feature::Http), 20),
            ],
            per_socket_bytes: 1_200,
            mapped_bytes: 0,
            rss_bytes: 0,
        };
        let expected = KernelMemory {
            bytes: [("http".to_owned(), 120), ("shared".to_owned(), 7)].into(),
            per_socket_bytes: 1_200,
        };
        assert_eq!(kernel_memory(&memory), expected);
    }
}
