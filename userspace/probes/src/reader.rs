//! Reading all counters, at the price of what has moved.
//!
//! Each place has counters that move with all others at it: numbers of packets, switches, connections that ended. They are
//! the first thing that is looked at, and a place at which they stand still is passed over; so the kernel side keeps no
//! epochs. What packets and connections moved is looked at once more in the next reading: they are counted in steps, and a
//! processor may show one counter to others before an earlier one.

use std::{
    collections::{HashSet, btree_map::Entry as MapEntry},
    mem::offset_of,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::{
    Ebpf,
    maps::{HashMap, Stack},
};
use galileo_ebpf_abi::{
    CgroupCounters, CpuLine, HttpCounters, Ledger, Owner, PAIR_SETS, SlotLedger, TcpCounters,
    slot_generation, slot_index,
};

use crate::{
    Error,
    cgroup::CgroupId,
    mapped::Mapped,
    matrix::Matrix,
    presence::Presence,
    probes::{array, boot_ns, mismatch, take, unix_ns},
    running::{Cpus, Running, Wanted},
    slots::{Event, Slots},
    snapshot::{Blame, CgroupStats, Snapshot, advance},
    traffic::TrafficMaps,
};

/// The maps, and what was read of them last.
pub(crate) struct Reader {
    slots: Slots,
    cgroups: Mapped<CgroupCounters>,
    http: Mapped<HttpCounters>,
    tcp: Mapped<TcpCounters>,
    ledger_of: Mapped<SlotLedger>,
    ledger: Mapped<[u64; 8]>,
    traffic: TrafficMaps,
    matrix: Matrix,
    pub(crate) cpus: Cpus,
    /// The cgroups that are listed, by place.
    entries: Vec<Option<Entry>>,
    /// How often was read.
    readings: u64,
    /// What these readers' readings begin with, so that those of two probes are told apart.
    series: u64,
    wanted: Vec<Wanted>,
    running: Running,
    departed: CgroupStats,
    /// In which reading a cgroup was last listed or taken off the list.
    listed: u64,
    /// How many cgroups were listed ever.
    generations: u64,
}

/// One cgroup.
struct Entry {
    slot: u32,
    id: CgroupId,
    line: CpuLine,
    pulse: Pulse,
    /// Elsewhere, as most readings look at what stands before and behind it only.
    stats: Box<CgroupStats>,
    /// In which reading something of CPUs had moved for the last time.
    cpu_moved: u64,
    /// The same of packets and connections.
    network_moved: u64,
    /// In which reading `stats` changed for the last time.
    changed: u64,
}

impl Entry {
    fn moved(&self) -> u64 {
        self.cpu_moved.max(self.network_moved)
    }
}

/// Counters of which one moves whenever something is counted by the packet and connection hooks.
#[derive(Default, PartialEq, Eq)]
struct Pulse {
    packets: [u64; 2],
    /// `timed_out`, `abandoned`, `closed`: what may happen to a connection without a packet.
    connections: [u64; 3],
}

impl Reader {
    pub(crate) fn new(
        ebpf: &mut Ebpf,
        capacity: u32,
        possible_cpus: u32,
        cpus: Cpus,
        presence: Presence,
    ) -> Result<Self, Error> {
        static SERIES: AtomicU64 = AtomicU64::new(1);
        let slots = Slots::new(
            Mapped::<Owner>::writable(array(ebpf, "OWNERS")?, capacity, "OWNERS")?,
            HashMap::try_from(take(ebpf, "SLOT_OF")?).map_err(|error| mismatch(&error))?,
            Stack::try_from(take(ebpf, "FREE_SLOTS")?).map_err(|error| mismatch(&error))?,
            presence,
        )?;
        let matrix = Matrix::new(
            Mapped::new(
                array(ebpf, "PAIRS")?,
                possible_cpus * PAIR_SETS as u32,
                "PAIRS",
            )?,
            HashMap::try_from(take(ebpf, "MATRIX")?).map_err(|error| mismatch(&error))?,
        );
        Ok(Self {
            slots,
            cgroups: Mapped::writable(array(ebpf, "CGROUPS")?, capacity, "CGROUPS")?,
            http: Mapped::writable(array(ebpf, "HTTP")?, capacity, "HTTP")?,
            tcp: Mapped::writable(array(ebpf, "TCP")?, capacity, "TCP")?,
            ledger_of: Mapped::writable(array(ebpf, "LEDGER_OF")?, capacity, "LEDGER_OF")?,
            ledger: Mapped::whole(array(ebpf, "LEDGER")?, Ledger::COUNT, "LEDGER")?,
            traffic: TrafficMaps::new(ebpf, capacity)?,
            matrix,
            cpus,
            entries: Vec::new(),
            readings: 0,
            series: SERIES.fetch_add(1, Ordering::Relaxed) << 40,
            wanted: Vec::new(),
            running: Running::default(),
            departed: CgroupStats::default(),
            listed: 0,
            generations: 0,
        })
    }

    /// How many places are taken, and how many are waiting to be free.
    pub(crate) fn places(&self) -> (usize, usize) {
        self.slots.counts()
    }

    /// How many pairs of the matrix found no place on their CPUs.
    pub(crate) fn shared_pairs(&self) -> usize {
        self.matrix.shared()
    }

    /// Bytes of arrays that are mapped.
    pub(crate) fn mapped_bytes(&self) -> usize {
        self.slots.mapped_bytes()
            + self.cgroups.mapped_bytes()
            + self.http.mapped_bytes()
            + self.tcp.mapped_bytes()
            + self.ledger_of.mapped_bytes()
            + self.ledger.mapped_bytes()
            + self.traffic.mapped_bytes()
            + self.matrix.mapped_bytes()
            + self.cpus.mapped_bytes()
    }

    /// Reads what has moved and brings a snapshot of an earlier reading, or an empty one, up to it.
    pub(crate) fn read_into(&mut self, snapshot: &mut Snapshot) -> Result<(), Error> {
        self.readings += 1;
        let reading = self.series | self.readings;
        snapshot.first.begin_ns = boot_ns();
        snapshot.first.begin_unix_ns = unix_ns();
        self.tend(snapshot.first.begin_ns)?;
        self.update()?;
        self.fill(snapshot)?;
        snapshot.reading = reading;
        snapshot.first.end_ns = boot_ns();
        snapshot.first.end_unix_ns = unix_ns();
        snapshot.last = snapshot.first;
        snapshot.begin_ns = snapshot.first.begin_ns;
        snapshot.end_ns = snapshot.first.end_ns;
        Ok(())
    }

    /// Lists cgroups that are new, and gives back the places of those that are gone.
    fn tend(&mut self, now_ns: u64) -> Result<(), Error> {
        let mut events = Vec::new();
        self.slots.discover(&mut events)?;
        let (before, entries) = (self.readings - 1, &self.entries);
        let is_busy =
            |index: usize| listed(entries, index).is_some_and(|entry| entry.moved() == before);
        self.slots
            .tend(now_ns, self.readings, is_busy, &mut events)?;
        let mut deserted = false;
        for event in events {
            match event {
                Event::Taken { index, slot, id } => self.list(index, slot, id)?,
                Event::Retired { index, generation } => self.retire(index, generation),
                Event::Deserted { index } => {
                    self.clear(index)?;
                    self.slots.give_back(index)?;
                    deserted = true;
                }
            }
        }
        if deserted {
            let entries = &self.entries;
            self.matrix.forget(|slot| {
                listed(entries, slot_index(slot) as usize).is_some_and(|entry| entry.slot == slot)
            })?;
        }
        Ok(())
    }

    fn list(&mut self, index: usize, slot: u32, id: CgroupId) -> Result<(), Error> {
        self.cgroups.reach(index)?;
        self.http.reach(index)?;
        self.tcp.reach(index)?;
        self.ledger_of.reach(index)?;
        self.traffic.reach(index)?;
        self.cpus.reach(index)?;
        self.generations += 1;
        self.listed = self.readings;
        if self.entries.len() <= index {
            self.entries.resize_with(index + 1, || None);
        }
        self.entries[index] = Some(Entry {
            slot,
            id,
            line: CpuLine::new(slot_generation(slot)),
            pulse: Pulse::default(),
            stats: Box::new(CgroupStats {
                generation: self.generations,
                ..CgroupStats::default()
            }),
            cpu_moved: self.readings,
            network_moved: self.readings,
            changed: self.readings,
        });
        Ok(())
    }

    /// Takes a cgroup off the list; the counters of its place can no longer be reached by way of its slot.
    fn retire(&mut self, index: usize, generation: u32) {
        self.traffic.retire(index, generation);
        self.tcp
            .set_half(index, offset_of!(TcpCounters, generation), generation);
        self.listed = self.readings;
        if let Some(entry) = self.entries.get_mut(index).and_then(Option::take) {
            self.departed.add(&entry.stats);
        }
    }

    fn clear(&mut self, index: usize) -> Result<(), Error> {
        self.cgroups.clear(index, None);
        self.http.clear(index, None);
        self.ledger_of.clear(index, None);
        self.tcp
            .clear(index, Some(offset_of!(TcpCounters, generation)));
        self.traffic.free(index)
    }

    /// Reads what has moved.
    fn update(&mut self) -> Result<(), Error> {
        let readings = self.readings;
        self.read_cpus()?;
        let entries = &mut self.entries;
        self.traffic.read_interfaces(|slot| {
            if let Some(Some(entry)) = entries.get_mut(slot_index(slot) as usize)
                && entry.slot == slot
            {
                entry.network_moved = readings;
            }
        })?;
        for (wanted, line) in self.wanted.iter().zip(&self.running.lines) {
            let index = slot_index(wanted.slot) as usize;
            let Some(Some(entry)) = self.entries.get_mut(index) else {
                continue;
            };
            let pulse = Pulse {
                packets: self.traffic.pulse(index),
                connections: self
                    .tcp
                    .words(index, offset_of!(TcpCounters, timed_out))
                    .unwrap_or_default(),
            };
            if entry.line != *line {
                entry.line = *line;
                entry.cpu_moved = readings;
            }
            if entry.pulse != pulse {
                entry.pulse = pulse;
                entry.network_moved = readings;
            }
            let stats = &mut entry.stats;
            if entry.cpu_moved == readings || entry.network_moved == readings {
                entry.changed = readings;
            }
            // What is counted beside a line may come a moment later, while its cgroup has the CPU: then the line moves again.
            if entry.cpu_moved == readings
                && let Some(counters) = self.cgroups.read(index)
            {
                set_cpu(stats, line, &counters);
            }
            if entry.network_moved + 1 < readings {
                continue;
            }
            entry.changed = readings;
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
                        advance(stats.ledger.entry(kind).or_default(), counter);
                    }
                }
            }
            stats.set_network(self.traffic.read(entry.slot));
        }
        Ok(())
    }

    /// Reads the CPUs, again if a cgroup came meanwhile: it has run on some CPU for what would be missing.
    fn read_cpus(&mut self) -> Result<(), Error> {
        let mut events = Vec::new();
        for _ in 0..LOOKS {
            self.wanted.clear();
            self.wanted.extend(
                self.entries
                    .iter()
                    .flatten()
                    .map(|entry| Wanted { slot: entry.slot }),
            );
            self.cpus.read(&self.wanted, &mut self.running);
            self.slots.discover(&mut events)?;
            if events.is_empty() {
                break;
            }
            for event in events.drain(..) {
                if let Event::Taken { index, slot, id } = event {
                    self.list(index, slot, id)?;
                }
            }
        }
        Ok(())
    }

    /// Brings a snapshot up to what was read.
    fn fill(&mut self, snapshot: &mut Snapshot) -> Result<(), Error> {
        // Of another reader, or none: nothing of it is known.
        let known = if snapshot.reading & !SERIES_MASK == self.series {
            snapshot.reading & SERIES_MASK
        } else {
            snapshot.cgroups.clear();
            snapshot.blames.clear();
            0
        };
        let is_listed_anew = self.listed > known;
        for entry in self.entries.iter().flatten() {
            if entry.changed > known {
                match snapshot.cgroups.entry(entry.id) {
                    MapEntry::Vacant(vacant) => {
                        vacant.insert(CgroupStats::clone(&entry.stats));
                    }
                    MapEntry::Occupied(mut occupied) => {
                        occupied.get_mut().clone_from(&entry.stats);
                    }
                }
            }
        }
        if is_listed_anew {
            let listed: HashSet<(CgroupId, u64)> = self
                .entries
                .iter()
                .flatten()
                .map(|entry| (entry.id, entry.stats.generation))
                .collect();
            snapshot
                .cgroups
                .retain(|id, stats| listed.contains(&(*id, stats.generation)));
            snapshot.departed.clone_from(&self.departed);
        }
        self.fill_blames(snapshot, known == 0 || is_listed_anew)?;
        self.fill_ledger(snapshot);
        snapshot.cpus.clone_from(&self.running.cpus);
        Ok(())
    }

    fn fill_blames(&mut self, snapshot: &mut Snapshot, anew: bool) -> Result<(), Error> {
        let entries = &self.entries;
        let id = |slot: u32| {
            listed(entries, slot_index(slot) as usize)
                .filter(|entry| entry.slot == slot)
                .map(|entry| entry.id)
        };
        let blames = &mut snapshot.blames;
        let mut enter = |victim, aggressor, ns| {
            if let (Some(victim), Some(aggressor)) = (id(victim), id(aggressor)) {
                blames.insert(Blame { victim, aggressor }, ns);
            }
        };
        self.matrix
            .read(self.cpus.states(), |victim, aggressor, ns| {
                enter(victim, aggressor, ns);
            })?;
        if anew || snapshot.reading != self.series | (self.readings - 1) {
            // Others have read in between, and were told what has moved.
            snapshot.blames.clear();
            let blames = &mut snapshot.blames;
            for ((victim, aggressor), ns) in self.matrix.totals() {
                if let (Some(victim), Some(aggressor)) = (id(victim), id(aggressor)) {
                    blames.insert(Blame { victim, aggressor }, ns);
                }
            }
        }
        Ok(())
    }

    fn fill_ledger(&self, snapshot: &mut Snapshot) {
        for kind in Ledger::ALL {
            let counter = self.ledger.word(kind as usize, 0).unwrap_or(0);
            snapshot.machine.insert(kind, counter);
            let departed = self.departed.ledger.get(&kind).copied().unwrap_or(0);
            snapshot.ledger.insert(kind, counter + departed);
        }
        for entry in self.entries.iter().flatten() {
            for (kind, count) in &entry.stats.ledger {
                if let Some(sum) = snapshot.ledger.get_mut(kind) {
                    *sum += count;
                }
            }
        }
    }
}

/// The cgroup that is listed with this place.
fn listed(entries: &[Option<Entry>], index: usize) -> Option<&Entry> {
    entries.get(index)?.as_ref()
}

/// How often the CPUs are read because a new cgroup was seen meanwhile.
const LOOKS: u32 = 4;

/// The part of a reading's number that counts readings.
const SERIES_MASK: u64 = (1 << 40) - 1;

fn set_cpu(stats: &mut CgroupStats, line: &CpuLine, counters: &CgroupCounters) {
    let explained_ns = line.wait_own_ns + line.wait_idle_ns + counters.wait_unexplained_ns;
    stats.on_cpu_ns = line.on_cpu_ns;
    stats.switches_voluntary = line.switches_voluntary;
    stats.switches_involuntary = line.switches_involuntary;
    stats.wakeups = line.wakeups;
    stats.migrations = counters.migrations;
    stats.wait.advance(&counters.wait_buckets, line.wait_ns);
    stats.wait_own_ns = line.wait_own_ns;
    stats.wait_other_ns = line.wait_ns.saturating_sub(explained_ns);
    stats.wait_idle_ns = line.wait_idle_ns;
    stats.wait_unexplained_ns = counters.wait_unexplained_ns;
}
