//! What the CPUs counted, up to now: at switches, and of what runs at this moment.
//!
//! Each CPU is read by itself: what it counted of all cgroups, its idle time, and what it runs then belong to one moment
//! between two of its switches, so that together they are exactly the time for which it was watched. If it switched while
//! its lines were read, what it ran since, by its history, is read again until it did not.
//!
//! That is a seqlock: the kernel side counts a switch (`switches`) before it changes anything, and the same number as accounted
//! (`accounted`) when it has changed all. Reading keeps its order on every processor ([`Mapped::guards`]). Writing does where stores keep
//! theirs, as on x86: an eBPF program that is to load on 5.10 has no barrier. On arm64 a reading may thus miss a run, or count it twice,
//! that ended in the moment before, for which a store may wait in the processor. Readings are of totals, so that no error lasts; but what
//! lies between two of them may be off by at most one run of each CPU at either end.

use std::{mem::offset_of, sync::atomic::Ordering};

use galileo_ebpf_abi::{
    CpuInterrupts, CpuLine, CpuState, HISTORY, Run, SLOT_IDLE, SLOT_UNKNOWN, slot_generation,
    slot_index,
};

use crate::{
    Error,
    cpu_times::{CpuTimes, Interrupts},
    mapped::{Mapped, catch_up},
    plain::{self, halves},
    probes::boot_ns,
    stats::UnderWay,
};

/// How often what a CPU ran meanwhile is read again.
const LOOKS: u32 = 64;

/// A slot that is to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// The slot; in a list of these they stand in the order of their indexes.
    pub(crate) slot: u32,
    /// What a CPU has that counted nothing of it.
    blank: Line,
}

impl Wanted {
    pub(crate) fn new(slot: u32) -> Self {
        let blank = CpuLine::new(slot_generation(slot));
        let mut line = [0; size_of::<CpuLine>() / 8];
        const { assert!(offset_of!(CpuLine, generation) == 0 && offset_of!(CpuLine, reserved) == 4) };
        line[0] = plain::word([blank.generation, blank.reserved]);
        Self { slot, blank: line }
    }
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

/// What was read; kept for the next reading, so that only what has moved is added up, and nothing is allocated.
#[derive(Default)]
pub(crate) struct Running {
    /// What all CPUs together counted, in the order of what was wanted; what runs now is in it.
    pub(crate) lines: Vec<CpuLine>,
    /// Which of these may have moved in the last reading, in their order.
    pub(crate) moved: Vec<usize>,
    /// Times by CPU.
    pub(crate) cpus: Vec<CpuTimes>,
    /// What each CPU counted, one after the other, as it lies in the arrays.
    seen: Vec<Line>,
    /// A bit for each line that is to be added up.
    marks: Vec<u64>,
    /// Which runs were added to which lines.
    runs: Vec<(usize, u64)>,
}

/// A [`CpuLine`] in its words.
type Line = [u64; size_of::<CpuLine>() / 8];

impl Running {
    /// Forgets what was read: something else is wanted from now on.
    pub(crate) fn reset(&mut self, wanted: &[Wanted], cpus: usize) {
        self.lines.clear();
        self.lines.resize(wanted.len(), CpuLine::new(0));
        self.seen.clear();
        for _ in 0..cpus {
            self.seen.extend(wanted.iter().map(|wanted| wanted.blank));
        }
        self.runs.clear();
        self.marks.clear();
        self.marks.resize(wanted.len().div_ceil(64), u64::MAX);
    }

    /// What runs now of what is wanted at a position.
    pub(crate) fn under_way(&self, position: usize) -> UnderWay {
        let mut under_way = UnderWay::default();
        for (_, ns) in self.runs.iter().filter(|(at, _)| *at == position) {
            under_way.runs += 1;
            under_way.ns += ns;
        }
        under_way
    }

    fn mark(&mut self, position: usize) {
        self.marks[position / 64] |= 1 << (position % 64);
    }
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
        for cpu in 0..states.len() {
            states.set_word(cpu, offset_of!(CpuState, first_line), (cpu * slots) as u64);
        }
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
        }
    }

    /// Forgets interrupts and softirqs that had begun, before their programs are attached again: the ends of those were not seen.
    pub(crate) fn forget_interrupts(&mut self) {
        let Some(interrupts) = &self.interrupts else {
            return;
        };
        for cpu in 0..self.states.len() {
            interrupts.set_word(cpu, offset_of!(CpuInterrupts, irq_since_ns), 0);
            interrupts.set_word(cpu, offset_of!(CpuInterrupts, softirq_since_ns), 0);
        }
    }

    /// Makes what all CPUs count of a place readable.
    pub(crate) fn reach(&mut self, index: usize) -> Result<(), Error> {
        (0..self.states.len()).try_for_each(|cpu| self.lines.reach(cpu * self.slots + index))
    }

    /// Bytes that are mapped.
    pub(crate) fn mapped_bytes(&self) -> usize {
        let interrupts = self.interrupts.as_ref();
        self.states.mapped_bytes()
            + self.lines.mapped_bytes()
            + interrupts.map_or(0, Mapped::mapped_bytes)
    }

    /// How many CPUs there may be.
    pub(crate) fn count(&self) -> usize {
        self.states.len()
    }

    /// Reads what is wanted, which must be what [`Running::reset`] was told last.
    pub(crate) fn read(&self, wanted: &[Wanted], into: &mut Running) {
        into.cpus.clear();
        // What ran when it was read last is counted in another way by now.
        for (position, _) in std::mem::take(&mut into.runs) {
            into.mark(position);
        }
        for cpu in 0..self.states.len() {
            let (now, at_ns) = self.read_cpu(cpu, wanted, into);
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
                        Some(position) => {
                            into.runs.push((position, runs_ns));
                            into.mark(position);
                        }
                        None => times.unassigned_ns += runs_ns,
                    },
                }
            }
            into.cpus.push(times);
        }
        self.add_up(wanted.len(), into);
    }

    /// Adds up what is marked.
    fn add_up(&self, count: usize, into: &mut Running) {
        into.moved.clear();
        for (word, marks) in into.marks.iter_mut().enumerate() {
            let mut marked = std::mem::take(marks);
            while marked != 0 {
                let position = word * 64 + marked.trailing_zeros() as usize;
                marked &= marked - 1;
                if position < count {
                    into.moved.push(position);
                }
            }
        }
        for position in &into.moved {
            let mut sum = CpuLine::new(0);
            for cpu in 0..self.states.len() {
                let line = &into.seen[cpu * count + position];
                add(&mut sum, &plain::from_words(|at| line[at]));
            }
            into.lines[*position] = sum;
        }
        for (position, runs_ns) in &into.runs {
            into.lines[*position].on_cpu_ns += runs_ns;
        }
    }

    /// Reads a CPU's lines of what is wanted, and its state and the time that belong to them.
    fn read_cpu(&self, cpu: usize, wanted: &[Wanted], into: &mut Running) -> (Now, u64) {
        let begin = cpu * wanted.len();
        let mut before = self.now(cpu);
        for (position, wanted) in wanted.iter().enumerate() {
            if self.read_line(cpu, wanted, &mut into.seen[begin + position]) {
                into.mark(position);
            }
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
            for position in ran.iter().filter_map(|slot| find(wanted, *slot)) {
                if self.read_line(cpu, &wanted[position], &mut into.seen[begin + position]) {
                    into.mark(position);
                }
            }
            before = after;
        }
        (before, boot_ns())
    }

    /// Reads what a CPU counted of a cgroup, and tells whether it had moved.
    fn read_line(&self, cpu: usize, wanted: &Wanted, seen: &mut Line) -> bool {
        let at = cpu * self.slots + slot_index(wanted.slot) as usize;
        match self.lines.counters(at, 0) {
            Some(line) if line[0].load(Ordering::Relaxed) == wanted.blank[0] => {
                catch_up(seen, line).is_some()
            }
            // A CPU that has not run the cgroup still has what it counted of the one before, or nothing: and mostly had so
            // the last time.
            _ if seen[1..].iter().fold(0, |any, word| any | word) == 0 => false,
            _ => {
                *seen = wanted.blank;
                true
            }
        }
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
        // Slot and number of switches lie in one word, so that they are of one moment.
        const { assert!(offset_of!(CpuState, switches) == offset_of!(CpuState, slot) + 4) };
        const { assert!(offset_of!(CpuState, written) == offset_of!(CpuState, accounted) + 4) };
        // In this order: if what was accounted is all before, and no switch has come after, then what was read in between is of one
        // moment. So the clock and the lines come before the number of switches, the rest of the state and the lines after what was
        // accounted.
        let guards = [offset_of!(CpuState, slot), offset_of!(CpuState, accounted)];
        let [switched, accounted] = self.states.guards(cpu, guards).unwrap_or_default();
        let [slot, switches] = halves(switched);
        let [accounted, written] = halves(accounted);
        let word = |offset| self.states.word(cpu, offset).unwrap_or(0);
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
