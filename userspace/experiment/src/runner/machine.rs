//! The machine a run takes place on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, ops,
};

use galileo_wire::capture::Machine;

use crate::plan::Host;

/// This machine, as plans need it.
#[must_use]
pub fn host() -> Host {
    let cpus = fs::read_to_string("/sys/devices/system/cpu/online")
        .ok()
        .and_then(|text| cpu_list(text.trim()));
    // Without sysfs the count has to do.
    let counted = || {
        (0..std::thread::available_parallelism().map_or(1, |count| count.get() as u32)).collect()
    };
    Host {
        name: hostname(),
        cpus: cpus.unwrap_or_else(counted),
    }
}

/// Reads a list such as `0-3,8`.
fn cpu_list(text: &str) -> Option<BTreeSet<u32>> {
    let mut cpus = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

pub(crate) fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

pub(crate) fn machine(version: &str, cpus: usize) -> Machine {
    let uname = rustix::system::uname();
    Machine {
        hostname: hostname(),
        kernel: uname.release().to_string_lossy().into_owned(),
        arch: uname.machine().to_string_lossy().into_owned(),
        cpu_model: field("/proc/cpuinfo", "model name").unwrap_or_default(),
        cpus: cpus as u32,
        memory_bytes: field("/proc/meminfo", "MemTotal")
            .and_then(|text| text.trim_end_matches("kB").trim().parse::<u64>().ok())
            .map_or(0, |kib| kib * 1024),
        galileo: version.to_owned(),
    }
}

/// What was taken from the tasks of a CPU since boot, in whole ticks of `sysconf(_SC_CLK_TCK)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Irq, softirq and steal.
    ticks: [u64; 3],
    tick_ns: u64,
}

/// What was taken from the tasks of CPUs between two readings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// By a hypervisor, as it is told.
    pub steal_ns: u64,
    /// By a hypervisor, at most.
    pub most_steal_ns: u64,
    /// By interrupts and softirqs, at most.
    pub most_interrupts_ns: u64,
}

impl Counted {
    /// What came to it since an earlier reading. The kernel counts nanoseconds and tells whole ticks, so a difference may be one
    /// tick more than it seems; where it never told any there are none.
    pub(crate) fn since(&self, before: &Self) -> Taken {
        let told = |kind: usize| {
            (self.ticks[kind] - before.ticks[kind].min(self.ticks[kind])) * self.tick_ns
        };
        let most = |kind: usize| match self.ticks[kind] {
            0 => 0,
            _ => told(kind) + self.tick_ns,
        };
        Taken {
            steal_ns: told(2),
            most_steal_ns: most(2),
            most_interrupts_ns: most(0) + most(1),
        }
    }
}

impl ops::Add for Taken {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            steal_ns: self.steal_ns + other.steal_ns,
            most_steal_ns: self.most_steal_ns + other.most_steal_ns,
            most_interrupts_ns: self.most_interrupts_ns + other.most_interrupts_ns,
        }
    }
}

/// What was taken from each CPU since boot, by /proc/stat; empty if that cannot be read.
pub(crate) fn counted() -> BTreeMap<u32, Counted> {
    let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1);
    fs::read_to_string("/proc/stat")
        .map_or_else(|_| BTreeMap::new(), |text| of_cpus(&text, tick_ns))
}

/// The sixth to eighth number of each `cpuN` line (`proc_stat(5)`).
fn of_cpus(stat: &str, tick_ns: u64) -> BTreeMap<u32, Counted> {
    let of_cpu = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let cpu = fields.next()?.strip_prefix("cpu")?.parse().ok()?;
        let mut next = fields.skip(5).map(str::parse);
        let mut next = || next.next()?.ok();
        let ticks = [next()?, next()?, next()?];
        Some((cpu, Counted { ticks, tick_ns }))
    };
    stat.lines().filter_map(of_cpu).collect()
}

/// The first `name: value` of a file of such lines.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_the_sixth_to_eighth_number_of_a_cpu() {
        let stat = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 2 3 4 5 60 70 80 9 10\ncpu12 0 0 0 0 0 0 0 3 0 0\nintr 5 6\n";
        let counted = |ticks| Counted { ticks, tick_ns: 10 };
        assert_eq!(
            of_cpus(stat, 10),
            [(0, counted([60, 70, 80])), (12, counted([0, 0, 3]))].into()
        );
    }

    #[test]
    fn what_is_told_in_ticks_may_be_one_tick_more_unless_there_never_was_any() {
        let counted = |ticks| Counted { ticks, tick_ns: 10 };
        let taken = counted([0, 4, 7]).since(&counted([0, 1, 7]));
        let expected = Taken {
            steal_ns: 0,
            most_steal_ns: 10,
            most_interrupts_ns: 40,
        };
        assert_eq!(taken, expected);
        assert_eq!(
            counted([0, 0, 0]).since(&counted([0, 0, 0])),
            Taken::default()
        );
    }

    #[test]
    fn lists_of_cpus_have_ranges_and_single_numbers() {
        assert_eq!(
            cpu_list("0-3,8,10-11"),
            Some([0, 1, 2, 3, 8, 10, 11].into())
        );
        assert_eq!(cpu_list("0"), Some([0].into()));
        assert_eq!(cpu_list("0-x"), None);
    }
}
