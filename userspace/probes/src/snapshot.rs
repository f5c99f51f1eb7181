//! What was counted, read at one time.

use std::collections::BTreeMap;

use galileo_ebpf_abi::{BUCKETS, Ledger};
use galileo_ebpf_core::histogram;

use crate::{
    cgroup::CgroupId,
    cost::ProgramCost,
    tcp::TcpStats,
    traffic::{CgroupNetwork, Interface, Traffic},
};

/// All counters, read one after the other between `begin_ns` and `end_ns` (`CLOCK_BOOTTIME`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// When reading began. For a difference: when the first reading began.
    pub begin_ns: u64,
    /// When reading ended.
    pub end_ns: u64,
    /// What was counted by cgroup.
    pub cgroups: BTreeMap<CgroupId, CgroupStats>,
    /// Who waited while whom a CPU was given to.
    pub blames: BTreeMap<Blame, u64>,
    /// What could not be kept, by kind.
    pub ledger: BTreeMap<Ledger, u64>,
    /// What each possible CPU did.
    pub cpus: Vec<CpuTimes>,
    /// What the programs cost; empty without statistics.
    pub programs: Vec<ProgramCost>,
}

/// What one CPU did. What it ran for cgroups is in [`CgroupStats::on_cpu_ns`]; `closure` makes sure that nothing is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// The moment for which this CPU's times hold, what it ran for cgroups included (`CLOCK_BOOTTIME`). For a difference:
    /// that of the later reading.
    pub at_ns: u64,
    /// How long it was watched: since its first switch that was seen, without the time for which the probes were detached.
    pub watched_ns: u64,
    /// Time without a task to run.
    pub idle_ns: u64,
    /// Time of tasks whose cgroup has no slot, and of the present task if its cgroup shows when it leaves.
    pub unassigned_ns: u64,
    /// Of all these, and of what ran for cgroups: what interrupts took. None if that is not watched.
    pub interrupts: Option<Interrupts>,
}

/// What interrupts took of one CPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Interrupts {
    /// Time in handlers of hardware interrupts; on x86 without the local timer's and those between CPUs.
    pub irq_ns: u64,
    /// Their runs.
    pub irqs: u64,
    /// Time in softirqs, without interrupts of these. ksoftirqd's is in it, which the root cgroup has as well.
    pub softirq_ns: u64,
    /// Their runs.
    pub softirqs: u64,
}

impl Interrupts {
    fn since(self, before: Self) -> Self {
        Self {
            irq_ns: self.irq_ns.saturating_sub(before.irq_ns),
            irqs: self.irqs.saturating_sub(before.irqs),
            softirq_ns: self.softirq_ns.saturating_sub(before.softirq_ns),
            softirqs: self.softirqs.saturating_sub(before.softirqs),
        }
    }
}

impl CpuTimes {
    fn since(&self, before: &Self) -> Self {
        Self {
            at_ns: self.at_ns,
            watched_ns: self.watched_ns.saturating_sub(before.watched_ns),
            idle_ns: self.idle_ns.saturating_sub(before.idle_ns),
            unassigned_ns: self.unassigned_ns.saturating_sub(before.unassigned_ns),
            interrupts: self
                .interrupts
                .map(|after| after.since(before.interrupts.unwrap_or_default())),
        }
    }
}

/// A pair of the interference matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blame {
    /// Who waited.
    pub victim: CgroupId,
    /// Who held the CPU meanwhile.
    pub aggressor: CgroupId,
}

/// What was counted of one cgroup, without those below it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CgroupStats {
    /// Time on a CPU, what runs at the moment of reading included.
    pub on_cpu_ns: u64,
    /// Switches away from a CPU because the task slept.
    pub switches_voluntary: u64,
    /// Switches away from a CPU of a task that could have gone on.
    pub switches_involuntary: u64,
    /// Wake-ups of its tasks, counted when a task has run thereafter.
    pub wakeups: u64,
    /// Moves of its tasks to another CPU.
    pub migrations: u64,
    /// Waits for a CPU, counted when they end.
    pub wait: Durations,
    /// The part of all waits during which tasks of the same cgroup ran on that CPU.
    pub wait_own_ns: u64,
    /// The part of all waits during which other cgroups ran on that CPU: see [`Snapshot::blames`].
    pub wait_other_ns: u64,
    /// The part of all waits during which that CPU idled: the wake-up was under way, or a limit held the task.
    pub wait_idle_ns: u64,
    /// What is left of all waits: a task of unknown cgroup ran, or more ran during one wait than is remembered.
    pub wait_unexplained_ns: u64,
    /// Bytes received over all interfaces, IP headers included; see [`Traffic`].
    pub rx_bytes: u64,
    /// Packets received over all interfaces, merged ones counted once.
    pub rx_packets: u64,
    /// Bytes sent over all interfaces, IP headers included.
    pub tx_bytes: u64,
    /// Packets sent over all interfaces, those to be segmented later counted once.
    pub tx_packets: u64,
    /// The same by interface. What found no place in the table is missing here, and counted in the ledger as
    /// [`Ledger::InterfacesFull`].
    pub interfaces: BTreeMap<Interface, Traffic>,
    /// TCP connections.
    pub tcp: TcpStats,
    /// Exchanges in which it answered.
    pub server: ExchangeStats,
    /// Exchanges in which it asked; without a histogram.
    pub client: ExchangeStats,
}

/// What was counted of exchanges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExchangeStats {
    /// How many ended.
    pub count: u64,
    /// First byte of the request to last byte of the answer.
    pub duration: Durations,
}

/// A histogram of durations: counts by bucket and their sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durations {
    counts: Box<[u64; BUCKETS]>,
    /// Sum of all durations in nanoseconds.
    pub sum_ns: u64,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            counts: Box::new([0; BUCKETS]),
            sum_ns: 0,
        }
    }
}

impl Durations {
    pub(crate) fn new(counts: [u64; BUCKETS], sum_ns: u64) -> Self {
        Self {
            counts: Box::new(counts),
            sum_ns,
        }
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The buckets that are not empty: smallest and largest duration in nanoseconds, and how many fell between.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(index, count)| {
                let (low, high) = histogram::bounds(index);
                (low, high, *count)
            })
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        let mut counts = [0; BUCKETS];
        for (index, count) in counts.iter_mut().enumerate() {
            *count = self.counts[index].saturating_sub(before.counts[index]);
        }
        Self::new(counts, self.sum_ns.saturating_sub(before.sum_ns))
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts.iter()) {
            *count += more;
        }
        self.sum_ns += other.sum_ns;
    }
}

impl Snapshot {
    /// What was counted between an earlier snapshot of the same probes and this one. A cgroup that the earlier one does not
    /// know began at 0.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let nothing = CgroupStats::default();
        Self {
            begin_ns: before.begin_ns,
            end_ns: self.end_ns,
            cgroups: self
                .cgroups
                .iter()
                .map(|(id, stats)| (*id, stats.since(before.cgroups.get(id).unwrap_or(&nothing))))
                .collect(),
            blames: difference(&self.blames, &before.blames),
            ledger: difference(&self.ledger, &before.ledger),
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

    /// The sum over several cgroups, e.g. one and those below it; none if the probes saw none of them.
    #[must_use]
    pub fn sum<'a>(&self, ids: impl IntoIterator<Item = &'a CgroupId>) -> Option<CgroupStats> {
        let mut sum = None;
        for stats in ids.into_iter().filter_map(|id| self.cgroups.get(id)) {
            sum.get_or_insert_with(CgroupStats::default).add(stats);
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

/// Applies a function to each plain counter of two [`CgroupStats`], so that no counter is forgotten in one of the places.
macro_rules! each_counter {
    ($into:expr, $from:expr, $apply:expr) => {{
        let apply: fn(&mut u64, u64) = $apply;
        apply(&mut $into.on_cpu_ns, $from.on_cpu_ns);
        apply(&mut $into.switches_voluntary, $from.switches_voluntary);
        apply(&mut $into.switches_involuntary, $from.switches_involuntary);
        apply(&mut $into.wakeups, $from.wakeups);
        apply(&mut $into.migrations, $from.migrations);
        apply(&mut $into.wait_own_ns, $from.wait_own_ns);
        apply(&mut $into.wait_other_ns, $from.wait_other_ns);
        apply(&mut $into.wait_idle_ns, $from.wait_idle_ns);
        apply(&mut $into.wait_unexplained_ns, $from.wait_unexplained_ns);
        apply(&mut $into.rx_bytes, $from.rx_bytes);
        apply(&mut $into.rx_packets, $from.rx_packets);
        apply(&mut $into.tx_bytes, $from.tx_bytes);
        apply(&mut $into.tx_packets, $from.tx_packets);
        apply(&mut $into.server.count, $from.server.count);
        apply(&mut $into.client.count, $from.client.count);
    }};
}

impl CgroupStats {
    pub(crate) fn set_network(&mut self, network: CgroupNetwork) {
        self.rx_bytes = network.total.rx_bytes;
        self.rx_packets = network.total.rx_packets;
        self.tx_bytes = network.total.tx_bytes;
        self.tx_packets = network.total.tx_packets;
        self.interfaces = network.interfaces;
    }

    fn since(&self, before: &Self) -> Self {
        let mut difference = self.clone();
        each_counter!(difference, before, |after, before| *after =
            after.saturating_sub(before));
        for (interface, traffic) in &mut difference.interfaces {
            *traffic -= before
                .interfaces
                .get(interface)
                .copied()
                .unwrap_or_default();
        }
        difference.tcp = self.tcp.since(&before.tcp);
        difference.wait = self.wait.since(&before.wait);
        difference.server.duration = self.server.duration.since(&before.server.duration);
        difference.client.duration = self.client.duration.since(&before.client.duration);
        difference
    }

    fn add(&mut self, other: &Self) {
        each_counter!(self, other, |sum, more| *sum += more);
        for (interface, traffic) in &other.interfaces {
            *self.interfaces.entry(*interface).or_default() += *traffic;
        }
        self.tcp.add(&other.tcp);
        self.wait.add(&other.wait);
        self.server.duration.add(&other.server.duration);
        self.client.duration.add(&other.client.duration);
    }
}
