//! Reading what has moved.

use std::{mem::offset_of, sync::atomic::Ordering};

use galileo_ebpf_abi::{CgroupCounters, Ledger, TcpCounters, slot_index};

use super::Reader;
use crate::{
    Error,
    durations::{WORDS, advance},
    running::Wanted,
    slots::Event,
};

/// How often the CPUs are read because a new cgroup was seen meanwhile.
const LOOKS: u32 = 4;

impl Reader {
    /// Reads what has moved.
    pub(super) fn update(&mut self) -> Result<(), Error> {
        self.changed.clear();
        self.read_cpus()?;
        for at in 0..self.running.moved.len() {
            self.update_cpu(self.running.moved[at]);
        }
        self.read_interfaces()?;
        for at in 0..self.wanted.len() {
            let index = slot_index(self.wanted[at].slot) as usize;
            let [loopback, elsewhere] = self.traffic.pulse(index);
            let [timed_out, abandoned, closed] = self
                .tcp
                .words(index, offset_of!(TcpCounters, timed_out))
                .unwrap_or_default();
            let counters = [loopback, elsewhere, timed_out, abandoned, closed];
            let pulse = &mut self.entries.pulses[index];
            let mut moved = 0;
            for (seen, counter) in pulse.counters.iter().zip(counters) {
                moved |= seen ^ counter;
            }
            if moved != 0 {
                pulse.counters = counters;
                pulse.moved = self.readings;
            }
            // Once more after it moved: see the module.
            if pulse.moved + 1 >= self.readings {
                self.update_network(index);
            }
        }
        Ok(())
    }

    /// Reads what went over which interface.
    pub(super) fn read_interfaces(&mut self) -> Result<(), Error> {
        let (entries, readings) = (&mut self.entries, self.readings);
        self.traffic.read_interfaces(|slot| {
            if entries.cgroup_of(slot).is_some() {
                entries.pulses[slot_index(slot) as usize].moved = readings;
            }
        })
    }

    fn update_cpu(&mut self, position: usize) {
        let index = slot_index(self.wanted[position].slot) as usize;
        let Some(entry) = self.entries.get_mut(index) else {
            return;
        };
        entry.cpu_moved = self.readings;
        if entry.changed != self.readings {
            self.changed.push(index);
        }
        entry.changed = self.readings;
        // What is counted beside a line may come a moment later, while its cgroup has the CPU: then the line moves again.
        let Some([migrations, unexplained_ns]) = self
            .cgroups
            .words(index, offset_of!(CgroupCounters, migrations))
        else {
            return;
        };
        let line = &self.running.lines[position];
        let under_way = self.running.under_way(position);
        entry
            .stats
            .set_cpu(line, under_way, migrations, unexplained_ns);
        let buckets = offset_of!(CgroupCounters, wait_buckets);
        if let Some(counters) = self.cgroups.counters::<WORDS>(index, buckets) {
            let word = |at: usize| counters[at].load(Ordering::Relaxed);
            entry.stats.wait.advance_by_words(line.wait_ns, word);
        }
    }

    pub(super) fn update_network(&mut self, index: usize) {
        let Some(entry) = self.entries.get_mut(index) else {
            return;
        };
        if entry.changed != self.readings {
            self.changed.push(index);
        }
        entry.changed = self.readings;
        entry.network_changed = self.readings;
        let stats = &mut entry.stats;
        if let Some(counters) = self.http.read(index) {
            stats.server.count = counters.exchanges[0];
            stats.client.count = counters.exchanges[1];
            let durations = &mut stats.server.duration;
            durations.advance(&counters.server_buckets, counters.duration_ns[0]);
            stats.client.duration.sum_ns = counters.duration_ns[1];
        }
        if let Some(counters) = self.tcp.read(index) {
            stats.tcp.advance(&counters);
        }
        if let Some(counters) = self.ledger_of.read(index) {
            for kind in Ledger::ALL {
                let counter = counters.counts[kind as usize];
                if counter != 0 || stats.ledger.contains_key(&kind) {
                    let count = stats.ledger.entry(kind).or_default();
                    let before = *count;
                    advance(count, counter);
                    self.lost[kind as usize] += *count - before;
                }
            }
        }
        stats.set_network(self.traffic.read(entry.slot));
    }

    /// Reads the CPUs, again if a cgroup came meanwhile: it has run on some CPU for what would be missing.
    fn read_cpus(&mut self) -> Result<(), Error> {
        let mut events = Vec::new();
        for _ in 0..LOOKS {
            if std::mem::take(&mut self.wanted_anew) {
                self.wanted.clear();
                let slots = self.entries.iter().map(|entry| Wanted::new(entry.slot));
                self.wanted.extend(slots);
                self.running.reset(&self.wanted, self.cpus.count());
            }
            self.cpus.read(&self.wanted, &mut self.running);
            let outcome = self.discover(&mut events);
            let found_none = events.is_empty();
            for event in events.drain(..) {
                if let Event::Taken { index, slot, id } = event {
                    self.list(index, slot, id);
                }
            }
            outcome?;
            if found_none {
                break;
            }
        }
        Ok(())
    }
}
