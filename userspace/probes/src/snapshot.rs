//! What was counted, read at one time.

use std::{collections::BTreeMap, ops::Range};

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
    /// Number of the reading, by which [`Probes::read_into`](crate::Probes::read_into) knows what has moved since; 0 for
    /// what is no reading of its own.
    pub reading: u64,
    /// When reading began. For a difference: when the first reading began.
    pub begin_ns: u64,
    /// When reading ended.
    pub end_ns: u64,
    /// When it was read; for a difference, when the earlier one was.
    pub first: Acquisition,
    /// When it was read; for a difference, when the later one was.
    pub last: Acquisition,
    /// What was counted by cgroup.
    pub cgroups: BTreeMap<CgroupId, CgroupStats>,
    /// Who waited while whom a CPU was given to.
    pub blames: BTreeMap<Blame, u64>,
    /// What could not be kept, by kind: the sum of [`Snapshot::machine`], [`CgroupStats::ledger`] and what cgroups had that
    /// are no longer listed.
    pub ledger: BTreeMap<Ledger, u64>,
    /// What of it is no cgroup's, or that of cgroups without a slot.
    pub machine: BTreeMap<Ledger, u64>,
    /// The sum of what was counted of cgroups that are gone and no longer listed. They are listed for at least two readings
    /// after they were gone, and for a minute unless places are scarce.
    pub departed: CgroupStats,
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
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CgroupStats {
    /// Tells apart what is counted anew: another cgroup's number is never this one's, nor is the one that the same cgroup is
    /// given if something still comes for it after it was gone and given up. Totals of different generations have nothing to do
    /// with one another.
    pub generation: u64,
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
    /// What could not be kept of it, by kind; kinds that are not listed are 0.
    pub ledger: BTreeMap<Ledger, u64>,
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
#[derive(Debug, Default)]
pub struct Durations {
    /// None if all are 0.
    counts: Option<Box<[u64; BUCKETS]>>,
    /// Where they are not 0; it may be longer. Most histograms use a small part, and the rest need not be looked at.
    used: Range<usize>,
    /// Sum of all durations in nanoseconds.
    pub sum_ns: u64,
}

impl PartialEq for Durations {
    fn eq(&self, other: &Self) -> bool {
        self.counts == other.counts && self.sum_ns == other.sum_ns
    }
}

impl Eq for Durations {}

impl Clone for Durations {
    fn clone(&self) -> Self {
        Self {
            counts: self.counts.clone(),
            used: self.used.clone(),
            sum_ns: self.sum_ns,
        }
    }

    /// Keeps the memory that is there.
    fn clone_from(&mut self, source: &Self) {
        match (&mut self.counts, &source.counts) {
            (Some(counts), Some(from)) => {
                counts[self.used.clone()].fill(0);
                counts[source.used.clone()].copy_from_slice(&from[source.used.clone()]);
            }
            (counts, from) => counts.clone_from(from),
        }
        self.used = source.used.clone();
        self.sum_ns = source.sum_ns;
    }
}

/// Buckets of a kernel's counters that are looked at together: a cache line.
const LINE: usize = 16;

impl Durations {
    pub(crate) fn new(counts: &[u64; BUCKETS], sum_ns: u64) -> Self {
        Self {
            counts: counts
                .iter()
                .any(|count| *count != 0)
                .then(|| Box::new(*counts)),
            used: 0..BUCKETS,
            sum_ns,
        }
    }

    /// Goes on to what 32-bit counters tell that wrap: they began at 0 with this, and moved by less than 2^32 since the last
    /// time.
    pub(crate) fn advance(&mut self, counters: &[u32; BUCKETS], sum_ns: u64) {
        self.sum_ns = sum_ns;
        for (line, counters) in counters.chunks(LINE).enumerate() {
            let begin = line * LINE;
            // A counter that wrapped to 0 stands where something was counted.
            if !self.used.contains(&begin) && counters.iter().all(|counter| *counter == 0) {
                continue;
            }
            let end = begin + counters.len();
            self.used = if self.used.is_empty() {
                begin..end
            } else {
                self.used.start.min(begin)..self.used.end.max(end)
            };
            let counts = self.counts.get_or_insert_with(|| Box::new([0; BUCKETS]));
            for (count, counter) in counts[begin..end].iter_mut().zip(counters) {
                advance(count, *counter);
            }
        }
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().flat_map(|counts| counts.iter()).sum()
    }

    /// The buckets that are not empty: smallest and largest duration in nanoseconds, and how many fell between.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.counts
            .iter()
            .flat_map(|counts| counts.iter())
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(index, count)| {
                let (low, high) = histogram::bounds(index);
                (low, high, *count)
            })
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        let sum_ns = self.sum_ns.saturating_sub(before.sum_ns);
        match (&self.counts, &before.counts) {
            (Some(after), Some(before)) => {
                let mut counts = **after;
                for (count, before) in counts.iter_mut().zip(before.iter()) {
                    *count = count.saturating_sub(*before);
                }
                Self::new(&counts, sum_ns)
            }
            (counts, _) => Self {
                counts: counts.clone(),
                used: self.used.clone(),
                sum_ns,
            },
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        if let Some(more) = &other.counts {
            let counts = self.counts.get_or_insert_with(|| Box::new([0; BUCKETS]));
            for (count, more) in counts.iter_mut().zip(more.iter()) {
                *count += more;
            }
            self.used = 0..BUCKETS;
        }
        self.sum_ns += other.sum_ns;
    }
}

/// Goes on to what a 32-bit counter tells that wraps.
pub(crate) fn advance(total: &mut u64, counter: u32) {
    *total += u64::from(counter.wrapping_sub(*total as u32));
}

impl Snapshot {
    /// What was counted between an earlier snapshot of the same probes and this one. A cgroup that the earlier one does not
    /// know, or knows under another generation, began at 0: no difference is taken across generations.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let nothing = CgroupStats::default();
        let earlier = |id: &CgroupId| {
            let (now, then) = (self.cgroups.get(id)?, before.cgroups.get(id)?);
            (now.generation == then.generation).then_some(then)
        };
        // Of what has departed since, a part was counted before.
        let mut departed = before.departed.clone();
        for (id, then) in &before.cgroups {
            if earlier(id).is_none() {
                departed.add(then);
            }
        }
        Self {
            reading: 0,
            begin_ns: before.begin_ns,
            end_ns: self.end_ns,
            first: before.last,
            last: self.last,
            cgroups: self
                .cgroups
                .iter()
                .map(|(id, stats)| (*id, stats.since(earlier(id).unwrap_or(&nothing))))
                .collect(),
            blames: self
                .blames
                .iter()
                .map(|(blame, ns)| {
                    let known = earlier(&blame.victim).and(earlier(&blame.aggressor));
                    let then = known.and_then(|_| before.blames.get(blame));
                    (*blame, ns.saturating_sub(then.copied().unwrap_or(0)))
                })
                .collect(),
            ledger: difference(&self.ledger, &before.ledger),
            machine: difference(&self.machine, &before.machine),
            departed: self.departed.since(&departed),
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

    /// How often something happened in a second, of which `count` were counted between the two readings that this is the
    /// difference of. Each counter was read at some moment of its reading, so the time between is known within bounds.
    #[must_use]
    pub fn rate(&self, count: u64) -> Rate {
        let least_ns = self.last.begin_ns.saturating_sub(self.first.end_ns);
        let most_ns = self.last.end_ns.saturating_sub(self.first.begin_ns);
        let per_second = |ns: f64| count as f64 * 1e9 / ns;
        Rate {
            per_second: per_second(f64::midpoint(least_ns as f64, most_ns as f64)),
            low: per_second(most_ns as f64),
            high: per_second(least_ns as f64),
        }
    }

    /// What could not be kept of these cgroups, of cgroups that are no longer listed, which may have been theirs, and what is no
    /// cgroup's or of cgroups without a slot: all that may be missing of what is known of them.
    #[must_use]
    pub fn losses_of<'a>(
        &self,
        ids: impl IntoIterator<Item = &'a CgroupId>,
    ) -> BTreeMap<Ledger, u64> {
        let mut losses = self.machine.clone();
        add_counts(&mut losses, &self.departed.ledger);
        for stats in ids.into_iter().filter_map(|id| self.cgroups.get(id)) {
            add_counts(&mut losses, &stats.ledger);
        }
        losses
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

/// When something was read, by both clocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Acquisition {
    /// Begin by `CLOCK_BOOTTIME`.
    pub begin_ns: u64,
    /// End by `CLOCK_BOOTTIME`.
    pub end_ns: u64,
    /// Begin as unix time. It may go backwards, as people set it.
    pub begin_unix_ns: u64,
    /// End as unix time.
    pub end_unix_ns: u64,
}

/// A rate and its bounds, in events a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// For the middle of the bounds of time.
    pub per_second: f64,
    /// At least.
    pub low: f64,
    /// At most; infinite if the readings overlap.
    pub high: f64,
}

fn add_counts(sum: &mut BTreeMap<Ledger, u64>, more: &BTreeMap<Ledger, u64>) {
    for (kind, count) in more {
        *sum.entry(*kind).or_default() += count;
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

impl Clone for CgroupStats {
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        copy.clone_from(self);
        copy
    }

    /// Keeps the memory that is there.
    fn clone_from(&mut self, source: &Self) {
        each_counter!(self, source, |copy, from| *copy = from);
        self.generation = source.generation;
        self.wait.clone_from(&source.wait);
        self.server.duration.clone_from(&source.server.duration);
        self.client.duration.clone_from(&source.client.duration);
        self.tcp.clone_from(&source.tcp);
        if self.interfaces != source.interfaces {
            self.interfaces.clone_from(&source.interfaces);
        }
        if self.ledger != source.ledger {
            self.ledger.clone_from(&source.ledger);
        }
    }
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
        for (kind, count) in &mut difference.ledger {
            *count = count.saturating_sub(before.ledger.get(kind).copied().unwrap_or(0));
        }
        difference.tcp = self.tcp.since(&before.tcp);
        difference.wait = self.wait.since(&before.wait);
        difference.server.duration = self.server.duration.since(&before.server.duration);
        difference.client.duration = self.client.duration.since(&before.client.duration);
        difference
    }

    pub(crate) fn add(&mut self, other: &Self) {
        each_counter!(self, other, |sum, more| *sum += more);
        for (interface, traffic) in &other.interfaces {
            *self.interfaces.entry(*interface).or_default() += *traffic;
        }
        add_counts(&mut self.ledger, &other.ledger);
        self.tcp.add(&other.tcp);
        self.wait.add(&other.wait);
        self.server.duration.add(&other.server.duration);
        self.client.duration.add(&other.client.duration);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: CgroupId = CgroupId(7);

    fn reading(cgroups: &[(CgroupId, u64, u64)]) -> Snapshot {
        let stats = |generation, on_cpu_ns| CgroupStats {
            generation,
            on_cpu_ns,
            ..CgroupStats::default()
        };
        Snapshot {
            cgroups: cgroups
                .iter()
                .map(|(id, generation, ns)| (*id, stats(*generation, *ns)))
                .collect(),
            ..Snapshot::default()
        }
    }

    #[test]
    fn no_difference_is_taken_across_generations_whether_the_new_total_is_smaller_or_larger() {
        // D-14
        let before = reading(&[(POD, 1, 9_000_000)]);
        for total in [1_200_000, 9_500_000] {
            let used = reading(&[(POD, 2, total)]).since(&before);
            assert_eq!(used.cgroups[&POD].on_cpu_ns, total);
            let other = reading(&[(CgroupId(8), 2, total)]).since(&before);
            assert_eq!(other.cgroups.len(), 1);
            assert_eq!(other.cgroups[&CgroupId(8)].on_cpu_ns, total);
        }
        let used = reading(&[(POD, 1, 9_500_000)]).since(&before);
        assert_eq!(used.cgroups[&POD].on_cpu_ns, 500_000);
    }

    #[test]
    fn a_pair_of_which_one_is_another_begins_at_nothing() {
        let other = CgroupId(8);
        let blame = Blame {
            victim: POD,
            aggressor: other,
        };
        let mut before = reading(&[(POD, 1, 0), (other, 2, 0)]);
        before.blames.insert(blame, 100);
        let mut after = reading(&[(POD, 1, 0), (other, 3, 0)]);
        after.blames.insert(blame, 110);
        assert_eq!(after.since(&before).blames[&blame], 110);
        let mut same = reading(&[(POD, 1, 0), (other, 2, 0)]);
        same.blames.insert(blame, 110);
        assert_eq!(same.since(&before).blames[&blame], 10);
    }

    #[test]
    fn what_departed_cgroups_used_is_what_they_used_since() {
        let before = reading(&[(POD, 1, 100), (CgroupId(8), 2, 50)]);
        // The one has used 30 more before it was gone, another came and went within.
        let mut after = reading(&[(CgroupId(8), 2, 60)]);
        after.departed.on_cpu_ns = 130 + 5;
        let used = after.since(&before);
        assert_eq!(used.departed.on_cpu_ns, 35);
        assert_eq!(used.cgroups[&CgroupId(8)].on_cpu_ns, 10);
    }

    #[test]
    fn a_rate_has_the_bounds_of_the_time_between_the_readings() {
        let at = |begin_ns, end_ns| Acquisition {
            begin_ns,
            end_ns,
            ..Acquisition::default()
        };
        let used = Snapshot {
            first: at(1_000_000_000, 1_100_000_000),
            last: at(2_000_000_000, 2_100_000_000),
            ..Snapshot::default()
        };
        let rate = used.rate(90);
        assert!((rate.low - 90.0 / 1.1).abs() < 1e-9);
        assert!((rate.per_second - 90.0).abs() < 1e-9);
        assert!((rate.high - 100.0).abs() < 1e-9);
    }

    #[test]
    fn counters_of_32_bits_are_followed_over_their_ends() {
        let mut total = 0;
        for (counter, expected) in [
            (u32::MAX - 1, 0xffff_fffe_u64),
            (3, 0x1_0000_0003),
            (3, 0x1_0000_0003),
            (2, 0x2_0000_0002),
        ] {
            advance(&mut total, counter);
            assert_eq!(total, expected);
        }
    }

    #[test]
    fn durations_of_which_there_are_none_are_alike_however_they_came_about() {
        let mut counters = [0; BUCKETS];
        let mut one = Durations::default();
        one.advance(&counters, 0);
        assert_eq!(one, Durations::default());
        counters[3] = 2;
        one.advance(&counters, 50);
        assert_eq!((one.count(), one.sum_ns), (2, 50));
        assert_eq!(one.since(&one), Durations::default());
        let mut copy = Durations::default();
        for from in [&one, &Durations::default(), &one, &one] {
            copy.clone_from(from);
            assert_eq!(copy, *from);
        }
    }

    #[test]
    fn a_copy_over_another_is_the_same_to_the_last_counter() {
        let mut number = 0;
        let mut full = || {
            let mut stats = CgroupStats {
                generation: 1,
                interfaces: BTreeMap::from([(Interface(3), Traffic::default())]),
                ledger: BTreeMap::from([(Ledger::RingFull, 7)]),
                ..CgroupStats::default()
            };
            // All counters differ, in this one and from one to the next.
            let filled = CgroupStats::default();
            each_counter!(stats, filled, |counter, _| *counter = 1);
            number += 100;
            stats.on_cpu_ns = number;
            stats.tcp.connected = number + 1;
            stats.tcp.rtt.sum_ns = number + 2;
            for durations in [
                &mut stats.wait,
                &mut stats.server.duration,
                &mut stats.client.duration,
            ] {
                let mut counters = [0; BUCKETS];
                counters[5] = number as u32;
                durations.advance(&counters, number);
            }
            stats
        };
        let (one, other) = (full(), full());
        let mut copy = CgroupStats::default();
        for from in [&one, &other, &CgroupStats::default(), &one] {
            copy.clone_from(from);
            assert_eq!(copy, *from);
        }
    }

    #[test]
    fn a_run_answers_for_its_own_losses_and_for_those_of_nobody() {
        let mut used = reading(&[(POD, 1, 0), (CgroupId(8), 2, 0)]);
        used.machine = BTreeMap::from([(Ledger::SlotsFull, 2), (Ledger::RingFull, 1)]);
        for (id, count) in [(POD, 5), (CgroupId(8), 70)] {
            let ledger = &mut used.cgroups.get_mut(&id).unwrap().ledger;
            ledger.insert(Ledger::RingFull, count);
        }
        let losses = used.losses_of([&POD]);
        assert_eq!(losses[&Ledger::RingFull], 6);
        assert_eq!(losses[&Ledger::SlotsFull], 2);
    }
}
