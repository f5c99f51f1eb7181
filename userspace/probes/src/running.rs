//! What the CPUs counted, up to now: at switches, and of what runs at this moment.
//!
//! Each CPU is read by itself: what it counted of all cgroups, its idle time, and what it runs then belong to one moment
//! between two of its switches, so that together they are exactly the time for which it was watched. If it switched while
//! its lines were read, what it ran since, by its history, is read again until it did not.

use std::mem::offset_of;

use galileo_ebpf_abi::{
    CpuInterrupts, CpuLine, CpuState, HISTORY, Run, SLOT_IDLE, SLOT_UNKNOWN, slot_generation,
    slot_index,
};

use crate::{
    Error,
    mapped::Mapped,
    probes::boot_ns,
    snapshot::{CpuTimes, Interrupts},
};

/// How often what a CPU ran meanwhile is read again.
const LOOKS: u32 = 64;

/// A slot that is to be read, and its cgroup.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// The slot; in a list of these they stand in the order of their indexes.
    pub(crate) slot: u32,
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

/// What was read; kept for the next reading, so that nothing is allocated.
#[derive(Default)]
pub(crate) struct Running {
    /// What all CPUs together counted, in the order of what was wanted; what runs now is in it.
    pub(crate) lines: Vec<CpuLine>,
    /// Times by CPU.
    pub(crate) cpus: Vec<CpuTimes>,
    /// Those of one CPU.
    one: Vec<CpuLine>,
}

/// What a CPU does now.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Now {
    since_ns: u64,
    slot: u32,
    switches: u32,
    accounted: u32,
    written: u32,
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

    /// Makes what all CPUs count of a place readable.
    pub(crate) fn reach(&self, index: usize) -> Result<(), Error> {
        (0..self.states.len()).try_for_each(|cpu| self.lines.reach(cpu * self.slots + index))
    }

    /// Bytes that are mapped.
    pub(crate) fn mapped_bytes(&self) -> usize {
        let interrupts = self.interrupts.as_ref();
        self.states.mapped_bytes()
            + self.lines.mapped_bytes()
            + interrupts.map_or(0, Mapped::mapped_bytes)
    }

    /// Reads what is wanted.
    pub(crate) fn read(&self, wanted: &[Wanted], into: &mut Running) {
        let Running {
            lines: sums,
            cpus,
            one: lines,
        } = into;
        let blank = |wanted: &Wanted| CpuLine::new(slot_generation(wanted.slot));
        for list in [&mut *sums, &mut *lines] {
            list.clear();
            list.extend(wanted.iter().map(blank));
        }
        cpus.clear();
        for cpu in 0..self.states.len() {
            let (now, at_ns) = self.read_cpu(cpu, wanted, lines);
            for (sum, line) in sums.iter_mut().zip(lines.iter()) {
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
                    slot => match find(wanted, slot) {
                        Some(index) => sums[index].on_cpu_ns += runs_ns,
                        None => times.unassigned_ns += runs_ns,
                    },
                }
            }
            cpus.push(times);
        }
    }

    /// Reads a CPU's lines of what is wanted into `lines`, and its state and the time that belong to them.
    fn read_cpu(&self, cpu: usize, wanted: &[Wanted], lines: &mut [CpuLine]) -> (Now, u64) {
        let mut before = self.now(cpu);
        for (line, wanted) in lines.iter_mut().zip(wanted) {
            *line = self.line(cpu, *wanted);
        }
        for _ in 0..LOOKS {
            let at_ns = boot_ns();
            let after = self.now(cpu);
            if before.accounted == before.switches && before == after {
                return (after, at_ns);
            }
            // It switched meanwhile. What may have changed since is what ran since: mostly less than it took to read.
            let mut ran = self.ran_since(cpu, before.written, after.written);
            ran.push(before.slot);
            ran.push(after.slot);
            for index in ran.iter().filter_map(|slot| find(wanted, *slot)) {
                lines[index] = self.line(cpu, wanted[index]);
            }
            before = after;
        }
        (before, boot_ns())
    }

    /// What a CPU counted of a cgroup.
    fn line(&self, cpu: usize, wanted: Wanted) -> CpuLine {
        let blank = CpuLine::new(slot_generation(wanted.slot));
        // A CPU that has not run the cgroup still has what it counted of the one before, or nothing.
        self.lines
            .read(cpu * self.slots + slot_index(wanted.slot) as usize)
            .filter(|line| line.generation == blank.generation)
            .unwrap_or(blank)
    }

    /// Slots of the runs that were written to a CPU's history between two numbers of runs, and of the one before, which
    /// may have become longer.
    fn ran_since(&self, cpu: usize, before: u32, after: u32) -> Vec<u32> {
        let count = after.wrapping_sub(before).min(HISTORY as u32 - 1);
        (0..=count)
            .map(|back| {
                let at = after.wrapping_sub(1 + back) as usize & (HISTORY - 1);
                let offset =
                    offset_of!(CpuState, history) + at * size_of::<Run>() + offset_of!(Run, slot);
                halves(self.states.word(cpu, offset).unwrap_or(0))[0]
            })
            .collect()
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
        let [accounted, written] = halves(word(offset_of!(CpuState, accounted)));
        Now {
            since_ns: word(offset_of!(CpuState, since_ns)),
            slot,
            switches,
            accounted,
            written,
            began_ns: word(offset_of!(CpuState, began_ns)),
            idle_ns: word(offset_of!(CpuState, idle_ns)),
            unknown_ns: word(offset_of!(CpuState, unknown_ns)),
        }
    }
}

/// Where a slot stands in what is wanted.
fn find(wanted: &[Wanted], slot: u32) -> Option<usize> {
    let at = wanted.binary_search_by_key(&slot_index(slot), |wanted| slot_index(wanted.slot));
    at.ok().filter(|index| wanted[*index].slot == slot)
}

fn add(sum: &mut CpuLine, line: &CpuLine) {
    sum.on_cpu_ns += line.on_cpu_ns;
    // One CPU may take back what another counted.
    sum.switches_voluntary = sum.switches_voluntary.wrapping_add(line.switches_voluntary);
    sum.switches_involuntary = sum
        .switches_involuntary
        .wrapping_add(line.switches_involuntary);
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
