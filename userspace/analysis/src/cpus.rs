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

fn cgroups_ns(cpu: &Cpu) -> Option<u64> {
    let others = cpu.idle_ns? + cpu.unassigned_ns?;
    Some(cpu.watched_ns?.saturating_sub(others))
}
