//! Time on a CPU up to now: what was counted at switches, and what runs at this moment.

use std::{collections::BTreeMap, mem::offset_of};

use galileo_ebpf_abi::{CgroupCounters, CpuState, SLOT_IDLE};

use crate::{mapped::Mapped, probes::boot_ns};

/// How often it is tried to read all counters between two switches. On many busy CPUs that never works: then some run,
/// most often of less than a few milliseconds, is missing.
const LOOKS: u32 = 64;

/// What was read.
pub(crate) struct Running {
    /// Time on a CPU by slot.
    pub(crate) on_cpu_ns: BTreeMap<u32, u64>,
    /// Idle time by CPU.
    pub(crate) idle_ns: Vec<u64>,
}

/// What a CPU does now.
#[derive(PartialEq, Eq)]
struct Now {
    since_ns: u64,
    slot: u32,
    written: u32,
    idle_ns: u64,
    accounted: u64,
}

/// Reads the time of these slots, and of what runs.
pub(crate) fn read(
    cpus: &Mapped<CpuState>,
    cgroups: &Mapped<CgroupCounters>,
    slots: &[u32],
) -> Running {
    let mut look = 0;
    loop {
        look += 1;
        let before = states(cpus);
        let mut on_cpu_ns: BTreeMap<u32, u64> = slots
            .iter()
            .filter_map(|slot| {
                let offset = offset_of!(CgroupCounters, on_cpu_ns);
                Some((*slot, cgroups.word(*slot as usize, offset)?))
            })
            .collect();
        let now_ns = boot_ns();
        let settled = before
            .iter()
            .all(|cpu| cpu.accounted == u64::from(cpu.written));
        if look < LOOKS && !(settled && before == states(cpus)) {
            continue;
        }
        let mut idle_ns = Vec::with_capacity(before.len());
        for cpu in before {
            let since_ns = if cpu.since_ns == 0 {
                now_ns
            } else {
                cpu.since_ns
            };
            let runs_ns = now_ns.saturating_sub(since_ns);
            if let Some(total) = on_cpu_ns.get_mut(&cpu.slot) {
                *total += runs_ns;
            }
            idle_ns.push(if cpu.slot == SLOT_IDLE {
                cpu.idle_ns + runs_ns
            } else {
                cpu.idle_ns
            });
        }
        return Running { on_cpu_ns, idle_ns };
    }
}

fn states(cpus: &Mapped<CpuState>) -> Vec<Now> {
    let word = |cpu, offset| cpus.word(cpu, offset).unwrap_or(0);
    (0..cpus.len())
        .map(|cpu| {
            // Slot and number of runs lie in one word, so that they are of one moment.
            const { assert!(offset_of!(CpuState, written) == offset_of!(CpuState, slot) + 4) };
            let [slot, written] = halves(word(cpu, offset_of!(CpuState, slot)));
            Now {
                since_ns: word(cpu, offset_of!(CpuState, since_ns)),
                slot,
                written,
                idle_ns: word(cpu, offset_of!(CpuState, idle_ns)),
                accounted: word(cpu, offset_of!(CpuState, accounted)),
            }
        })
        .collect()
}

/// The two 32-bit numbers that lie in this word in memory, in their order.
fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    ]
}
