//! What was counted of one cgroup.

use std::collections::BTreeMap;

use galileo_ebpf_abi::{CpuLine, Ledger};

use crate::{
    cgroup::CgroupId,
    durations::Durations,
    tcp::TcpStats,
    traffic::{CgroupNetwork, Interface, Traffic},
};

/// What was counted of one cgroup, without those below it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CgroupStats {
    /// Tells apart what is counted anew: another cgroup's number is never this one's, nor is the one that the same cgroup is
    /// given if something still comes for it after it was gone and given up. Totals of different generations have nothing to do
    /// with one another.
    pub generation: u64,
    /// Who keeps what it counted once it is gone: see [`Probes::set_heirs`](crate::Probes::set_heirs).
    pub heir: Option<CgroupId>,
    /// Time on a CPU, what runs at the moment of reading included.
    pub on_cpu_ns: u64,
    /// The part of it that the kernel's own account may lack. For a difference: at the later reading.
    pub under_way: UnderWay,
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
    /// The part of all waits during which other cgroups ran on that CPU: see [`Snapshot::blames`](crate::Snapshot::blames).
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

/// Runs that had not ended at the moment of reading. The kernel brings a cgroup's account (`cpu.stat`) up to date when a run
/// ends, and in between at ticks and as it happens to need it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// How many: at most one a CPU.
    pub runs: u32,
    /// How long they had lasted, altogether.
    pub ns: u64,
}

/// What was counted of exchanges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExchangeStats {
    /// How many ended.
    pub count: u64,
    /// First byte of the request to last byte of the answer.
    pub duration: Durations,
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
        self.heir = source.heir;
        self.under_way = source.under_way;
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
    /// Sets what is counted of CPUs but for the histogram: what the CPUs' own lines have, and what is counted beside them.
    pub(crate) fn set_cpu(
        &mut self,
        line: &CpuLine,
        under_way: UnderWay,
        migrations: u64,
        wait_unexplained_ns: u64,
    ) {
        let explained_ns = line.wait_own_ns + line.wait_idle_ns + wait_unexplained_ns;
        self.on_cpu_ns = line.on_cpu_ns;
        self.under_way = under_way;
        self.switches_voluntary = line.switches_voluntary;
        self.switches_involuntary = line.switches_involuntary;
        self.wakeups = line.wakeups;
        self.migrations = migrations;
        self.wait_own_ns = line.wait_own_ns;
        self.wait_other_ns = line.wait_ns.saturating_sub(explained_ns);
        self.wait_idle_ns = line.wait_idle_ns;
        self.wait_unexplained_ns = wait_unexplained_ns;
    }

    /// Takes over what is counted of CPUs.
    pub(crate) fn copy_cpu(&mut self, source: &Self) {
        self.on_cpu_ns = source.on_cpu_ns;
        self.under_way = source.under_way;
        self.switches_voluntary = source.switches_voluntary;
        self.switches_involuntary = source.switches_involuntary;
        self.wakeups = source.wakeups;
        self.migrations = source.migrations;
        self.wait_own_ns = source.wait_own_ns;
        self.wait_other_ns = source.wait_other_ns;
        self.wait_idle_ns = source.wait_idle_ns;
        self.wait_unexplained_ns = source.wait_unexplained_ns;
        self.wait.clone_from(&source.wait);
    }

    pub(crate) fn set_network(&mut self, network: CgroupNetwork) {
        self.rx_bytes = network.total.rx_bytes;
        self.rx_packets = network.total.rx_packets;
        self.tx_bytes = network.total.tx_bytes;
        self.tx_packets = network.total.tx_packets;
        self.interfaces = network.interfaces;
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
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
        self.under_way.runs += other.under_way.runs;
        self.under_way.ns += other.under_way.ns;
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

pub(crate) fn add_counts(sum: &mut BTreeMap<Ledger, u64>, more: &BTreeMap<Ledger, u64>) {
    for (kind, count) in more {
        *sum.entry(*kind).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use galileo_ebpf_abi::BUCKETS;

    use super::*;

    #[test]
    fn a_copy_over_another_is_the_same_to_the_last_counter() {
        let mut number = 0;
        let mut full = || {
            let mut stats = CgroupStats {
                generation: 1,
                heir: Some(CgroupId(9)),
                interfaces: BTreeMap::from([(Interface(3), Traffic::default())]),
                ledger: BTreeMap::from([(Ledger::RingFull, 7)]),
                ..CgroupStats::default()
            };
            // All counters differ, in this one and from one to the next.
            let filled = CgroupStats::default();
            each_counter!(stats, filled, |counter, _| *counter = 1);
            number += 100;
            stats.on_cpu_ns = number;
            stats.under_way = UnderWay {
                runs: number as u32 + 3,
                ns: number + 4,
            };
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
}
