//! What the CPUs did beside running the replicas.

use galileo_wire::Capture;
use galileo_wire::capture::Cpu;

use crate::result::CpuResult;
use crate::seconds;

/// The figures of every CPU, by ascending number.
#[must_use]
pub fn figures(capture: &Capture) -> Vec<CpuResult> {
    capture.cpus.iter().map(cpu).collect()
}

fn cpu(cpu: &Cpu) -> CpuResult {
    CpuResult {
        cpu: cpu.cpu,
        watched_seconds: cpu.watched_ns.map(seconds),
        idle_seconds: cpu.idle_ns.map(seconds),
        cgroups_seconds: cgroups_ns(cpu).map(seconds),
        unassigned_seconds: cpu.unassigned_ns.map(seconds),
        irq_seconds: cpu.irq_ns.map(seconds),
        softirq_seconds: cpu.softirq_ns.map(seconds),
        steal_seconds: cpu.steal_ns.map(seconds),
    }
}

/// The rest; none if the others come to more than the time watched.
fn cgroups_ns(cpu: &Cpu) -> Option<u64> {
    cpu.watched_ns?
        .checked_sub(cpu.idle_ns?)?
        .checked_sub(cpu.unassigned_ns?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_have_the_rest_if_there_is_one() {
        let cpu = |watched_ns, idle_ns, unassigned_ns| Cpu {
            watched_ns: Some(watched_ns),
            idle_ns: Some(idle_ns),
            unassigned_ns: Some(unassigned_ns),
            ..Cpu::default()
        };
        assert_eq!(cgroups_ns(&cpu(100, 60, 5)), Some(35));
        assert_eq!(cgroups_ns(&cpu(100, 60, 40)), Some(0));
        assert_eq!(cgroups_ns(&cpu(100, 60, 41)), None);
        assert_eq!(cgroups_ns(&cpu(100, u64::MAX, u64::MAX)), None);
    }
}
