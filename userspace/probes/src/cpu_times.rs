//! What CPUs did.

/// What one CPU did. What it ran for cgroups is in [`CgroupStats::on_cpu_ns`](crate::CgroupStats::on_cpu_ns); `closure` makes sure that nothing is missing.
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
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            irq_ns: self.irq_ns.saturating_sub(before.irq_ns),
            irqs: self.irqs.saturating_sub(before.irqs),
            softirq_ns: self.softirq_ns.saturating_sub(before.softirq_ns),
            softirqs: self.softirqs.saturating_sub(before.softirqs),
        }
    }
}

impl CpuTimes {
    pub(crate) fn since(&self, before: &Self) -> Self {
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
