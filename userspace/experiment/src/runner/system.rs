//! Whose the root cgroup's time was, and what the kernel's account of CPU time leaves out.

use std::collections::BTreeMap;

use galileo_probes::{Accounting, CgroupStats, RootTime, TakenOff};
use galileo_wire::capture::{self, System, SystemTask};

/// So many names are kept.
const BUSIEST: usize = 16;

/// The time of the root cgroup by the probes, and by /proc.
pub(super) fn system(root: &CgroupStats, time: &RootTime) -> System {
    let tasks = |names: &BTreeMap<String, u64>, kernel_thread| -> Vec<SystemTask> {
        let ran = names.iter().filter(|(_, ns)| **ns > 0);
        ran.map(|(name, ns)| SystemTask {
            name: name.clone(),
            kernel_thread,
            cpu_ns: *ns,
        })
        .collect()
    };
    let mut busiest = tasks(&time.kernel_threads, true);
    busiest.extend(tasks(&time.processes, false));
    busiest.sort_by_key(|task| std::cmp::Reverse(task.cpu_ns));
    busiest.truncate(BUSIEST);
    System {
        cpu_ns: root.on_cpu_ns,
        kernel_threads_ns: time.kernel_threads_ns(),
        processes_ns: time.processes_ns(),
        busiest,
    }
}

/// What is known of the kernel's account.
pub(super) fn accounting(found: Accounting) -> capture::Accounting {
    let told = |of: TakenOff| {
        let (taken_off, how) = match of {
            TakenOff::Yes(how) => (Some(true), how),
            TakenOff::No(how) => (Some(false), how),
            TakenOff::Unknown(why) => (None, why),
        };
        capture::TakenOff { taken_off, how }
    };
    capture::Accounting {
        interrupts: told(found.interrupts),
        steal: told(found.steal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_are_named_and_all_are_counted() {
        let names = |count: u64| (0..count).map(|ns| (format!("t{ns}"), ns)).collect();
        let time = RootTime {
            kernel_threads: names(20),
            processes: [("spin".to_owned(), 10)].into(),
        };
        let root = CgroupStats {
            on_cpu_ns: 300,
            ..CgroupStats::default()
        };
        let told = system(&root, &time);
        assert_eq!(
            (told.cpu_ns, told.kernel_threads_ns, told.processes_ns),
            (300, 190, 10)
        );
        assert_eq!(told.busiest.len(), BUSIEST);
        let first = SystemTask {
            name: "t19".to_owned(),
            kernel_thread: true,
            cpu_ns: 19,
        };
        assert_eq!(told.busiest[0], first);
        assert!(told.busiest.iter().any(|task| !task.kernel_thread));
    }

    #[test]
    fn what_nothing_tells_is_neither_taken_off_nor_left_in() {
        let told = accounting(Accounting {
            interrupts: TakenOff::No("config".to_owned()),
            steal: TakenOff::Unknown("no config".to_owned()),
        });
        assert_eq!(told.interrupts.taken_off, Some(false));
        assert_eq!(told.steal.taken_off, None);
        assert_eq!(told.steal.how, "no config");
    }
}
