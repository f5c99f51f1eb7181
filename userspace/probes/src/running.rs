//! What the CPUs counted, up to now: at switches, and of what runs at this moment.
//!
//! Each CPU is read by itself, between two of its switches: what it counted of all cgroups, its idle time, and what it
//! runs then belong to one moment, so that together they are exactly the time for which it was watched. Reading some
//! hundred lines takes less than a microsecond of a CPU's time between switches; where it does not fit for all that, as on
//! a CPU that switches all the time beside thousands of cgroups, some run may be missing, and the closure shows it.

use std::mem::offset_of;

use galileo_ebpf_abi::{CpuInterrupts, CpuLine, CpuState, SLOT_IDLE, SLOT_UNKNOWN};

use crate::{
    mapped::Mapped,
    probes::boot_ns,
    snapshot::{CpuTimes, Interrupts},
};

/// How often it is tried to read a CPU between two switches.
const LOOKS: u32 = 64;

/// A slot that is to be read, and its cgroup.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// The slot.
    pub(crate) slot: u32,
    /// The cgroup's id.
    pub(crate) cgroup_id: u64,
}

/// The arrays that the CPUs write.
pub(crate) struct Cpus {
    states: Mapped<CpuState>,
    lines: Mapped<CpuLine>,
    slots: usize,
    /// None while they are not watched.
    interrupts: Option<Mapped<CpuInterrupts>>,
    /// How long each was watched before the programs were detached.
    earlier_ns: Vec<u64>,
}

/// What was read.
pub(crate) struct Running {
    /// What all CPUs together counted, in the order of what was wanted; what runs now is in it.
    pub(crate) lines: Vec<CpuLine>,
    /// Times by CPU.
    pub(crate) cpus: Vec<CpuTimes>,
}

/// What a CPU does now.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Now {
    since_ns: u64,
    slot: u32,
    switches: u32,
    accounted: u32,
    began_ns: u64,
    idle_ns: u64,
    unknown_ns: u64,
}

impl Cpus {
    /// `states` and `interrupts` must be writable; `lines` has `slots` entries a CPU.
    pub(crate) fn new(
        states: Mapped<CpuState>,
        lines: Mapped<CpuLine>,
        slots: usize,
        interrupts: Option<Mapped<CpuInterrupts>>,
    ) -> Self {
        Self {
            earlier_ns: vec![0; states.len()],
            states,
            lines,
            slots,
            interrupts,
        }
    }

    /// The state of a CPU.
    pub(crate) fn states(&self) -> &Mapped<CpuState> {
        &self.states
    }

    /// Makes the CPUs begin anew at their next switch. To be called while no program is attached.
    pub(crate) fn begin_anew(&mut self) {
        for cpu in 0..self.states.len() {
            let now = self.now(cpu);
            if now.since_ns != 0 {
                self.earlier_ns[cpu] += now.since_ns - now.began_ns;
                self.states.set_word(cpu, offset_of!(CpuState, since_ns), 0);
            }
            if let Some(interrupts) = &self.interrupts {
                interrupts.set_word(cpu, offset_of!(CpuInterrupts, irq_since_ns), 0);
                interrupts.set_word(cpu, offset_of!(CpuInterrupts, softirq_since_ns), 0);
            }
        }
    }

    /// Reads what is wanted.
    pub(crate) fn read(&self, wanted: &[Wanted]) -> Running {
        let mut sums: Vec<CpuLine> = wanted
            .iter()
            .map(|wanted| CpuLine::new(wanted.cgroup_id))
            .collect();
        let mut lines = sums.clone();
        let mut cpus = Vec::with_capacity(self.states.len());
        for cpu in 0..self.states.len() {
            let (now, at_ns) = self.read_cpu(cpu, wanted, &mut lines);
            for (sum, line) in sums.iter_mut().zip(&lines) {
                add(sum, line);
            }
            let earlier_ns = self.earlier_ns[cpu];
            let mut times = CpuTimes {
                at_ns,
                watched_ns: earlier_ns,
                idle_ns: now.idle_ns,
                unassigned_ns: now.unknown_ns,
                interrupts: self.interrupts(cpu),
            };
            if now.since_ns != 0 {
                let runs_ns = at_ns.saturating_sub(now.since_ns);
                times.watched_ns += at_ns.saturating_sub(now.began_ns);
                match now.slot {
                    SLOT_IDLE => times.idle_ns += runs_ns,
                    SLOT_UNKNOWN => times.unassigned_ns += runs_ns,
                    slot => match wanted.iter().position(|wanted| wanted.slot == slot) {
                        Some(index) => sums[index].on_cpu_ns += runs_ns,
                        None => times.unassigned_ns += runs_ns,
                    },
                }
            }
            cpus.push(times);
        }
        Running { lines: sums, cpus }
    }

    /// Reads a CPU's lines of what is wanted into `lines`, and its state and the time that belong to them.
    fn read_cpu(&self, cpu: usize, wanted: &[Wanted], lines: &mut [CpuLine]) -> (Now, u64) {
        let mut look = 0;
        loop {
            look += 1;
            let before = self.now(cpu);
            for (line, wanted) in lines.iter_mut().zip(wanted) {
                *line = CpuLine::new(wanted.cgroup_id);
                let index = cpu * self.slots + wanted.slot as usize;
                // Most CPUs ran few of the cgroups: their lines are not even read.
                if self.lines.word(index, offset_of!(CpuLine, cgroup_id)) == Some(wanted.cgroup_id)
                    && let Some(read) = self.lines.read(index)
                {
                    *line = read;
                }
            }
            let at_ns = boot_ns();
            let settled = before.accounted == before.switches;
            if look >= LOOKS || (settled && before == self.now(cpu)) {
                return (before, at_ns);
            }
        }
    }

    fn interrupts(&self, cpu: usize) -> Option<Interrupts> {
        let read = self.interrupts.as_ref()?.read(cpu)?;
        Some(Interrupts {
            irq_ns: read.irq_ns,
            irqs: read.irqs,
            softirq_ns: read.softirq_ns,
            softirqs: read.softirqs,
        })
    }

    fn now(&self, cpu: usize) -> Now {
        let word = |offset| self.states.word(cpu, offset).unwrap_or(0);
        // Slot and number of switches lie in one word, so that they are of one moment.
        const { assert!(offset_of!(CpuState, switches) == offset_of!(CpuState, slot) + 4) };
        const { assert!(offset_of!(CpuState, written) == offset_of!(CpuState, accounted) + 4) };
        let [slot, switches] = halves(word(offset_of!(CpuState, slot)));
        let [accounted, _] = halves(word(offset_of!(CpuState, accounted)));
        Now {
            since_ns: word(offset_of!(CpuState, since_ns)),
            slot,
            switches,
            accounted,
            began_ns: word(offset_of!(CpuState, began_ns)),
            idle_ns: word(offset_of!(CpuState, idle_ns)),
            unknown_ns: word(offset_of!(CpuState, unknown_ns)),
        }
    }
}

fn add(sum: &mut CpuLine, line: &CpuLine) {
    sum.on_cpu_ns += line.on_cpu_ns;
    sum.switches_voluntary += line.switches_voluntary;
    sum.switches_involuntary += line.switches_involuntary;
    sum.wakeups += line.wakeups;
    sum.wait_ns += line.wait_ns;
    sum.wait_own_ns += line.wait_own_ns;
    sum.wait_idle_ns += line.wait_idle_ns;
}

/// The two 32-bit numbers that lie in this word in memory, in their order.
fn halves(word: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = word.to_ne_bytes();
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    ]
}
