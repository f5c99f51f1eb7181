//! Reading all counters, at the price of what has moved.
//!
//! Each place has counters that move with all others at it: numbers of packets, switches, connections that ended. They are
//! the first thing that is looked at, and a place at which they stand still is passed over; so the kernel side keeps no
//! epochs. What packets and connections moved is looked at once more in the next reading: they are counted in steps, and a
//! processor may show one counter to others before an earlier one.

mod entries;
mod fill;
mod inheritance;
mod update;

use std::{
    collections::BTreeSet,
    mem::offset_of,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::{
    Ebpf,
    maps::{HashMap, Stack},
};
use entries::{Entries, Entry};
use galileo_ebpf_abi::{
    CgroupCounters, HttpCounters, Ledger, Owner, PAIR_SETS, SlotLedger, TcpCounters,
};
use inheritance::Inheritance;

use crate::{
    Error,
    cgroup::CgroupId,
    mapped::Mapped,
    matrix::Matrix,
    presence::Presence,
    probes::{array, boot_ns, mismatch, take, unix_ns},
    running::{Cpus, Running, Wanted},
    slots::{Event, Slots},
    snapshot::Snapshot,
    stats::CgroupStats,
    traffic::TrafficMaps,
};

/// Who keeps what a cgroup counted once it is gone.
pub(crate) type HeirsOf = Box<dyn Fn(&[CgroupId]) -> Vec<Option<CgroupId>> + Send>;

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
    entries: Entries,
    /// The places of which something changed in the last reading.
    changed: Vec<usize>,
    /// What cgroups could not keep, by kind, those that are gone included.
    lost: [u64; Ledger::COUNT as usize],
    /// How often was read.
    readings: u64,
    /// What these readers' readings begin with, so that those of two probes are told apart.
    series: u64,
    /// The slots that are listed, in the order of their places.
    wanted: Vec<Wanted>,
    /// Whether others are wanted than the CPUs were read for last.
    wanted_anew: bool,
    running: Running,
    departed: CgroupStats,
    inheritance: Inheritance,
    /// In which reading a cgroup was last listed or taken off the list.
    listed: u64,
    /// How many cgroups were listed ever.
    generations: u64,
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
            entries: Entries::default(),
            changed: Vec::new(),
            lost: [0; Ledger::COUNT as usize],
            readings: 0,
            series: SERIES.fetch_add(1, Ordering::Relaxed) << 40,
            wanted: Vec::new(),
            wanted_anew: true,
            running: Running::default(),
            departed: CgroupStats::default(),
            inheritance: Inheritance::default(),
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

    /// How many pairs of a cgroup and an interface have an entry.
    pub(crate) fn interfaces(&self) -> usize {
        self.traffic.taken()
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
        self.inheritance.settle(&mut self.entries, self.readings);
        self.fill(snapshot)?;
        snapshot.reading = reading;
        snapshot.first.end_ns = boot_ns();
        snapshot.first.end_unix_ns = unix_ns();
        snapshot.last = snapshot.first;
        snapshot.begin_ns = snapshot.first.begin_ns;
        snapshot.end_ns = snapshot.first.end_ns;
        Ok(())
    }

    /// Lists cgroups that are new, and gives back the places of those that are gone. What fails is tried anew by the next
    /// reading: a place is entered as taken once its counters can be read, and is deserted until it was given back. What a cgroup that
    /// leaves the list carried last over interfaces is lost then.
    fn tend(&mut self, now_ns: u64) -> Result<(), Error> {
        let mut events = Vec::new();
        let mut outcome = self.find_places(now_ns, &mut events);
        let (mut retired, mut deserted) = (Vec::new(), BTreeSet::new());
        for event in events {
            match event {
                Event::Taken { index, slot, id } => self.list(index, slot, id),
                Event::Retired { index, generation } => retired.push((index, generation)),
                Event::Deserted { index } => {
                    deserted.insert(index);
                }
            }
        }
        if !retired.is_empty() {
            outcome = outcome.and(self.retire(&retired));
        }
        if !deserted.is_empty() {
            outcome = outcome.and(self.give_back(&deserted));
            let entries = &self.entries;
            self.matrix
                .forget(|slot| entries.cgroup_of(slot).is_some())?;
        }
        outcome
    }

    /// What became of places since the last time.
    fn find_places(&mut self, now_ns: u64, events: &mut Vec<Event>) -> Result<(), Error> {
        self.discover(events)?;
        let (before, entries) = (self.readings - 1, &self.entries);
        let is_busy = |index: usize| entries.moved(index) == Some(before);
        self.slots.tend(now_ns, self.readings, is_busy, events)
    }

    /// Finds cgroups that are new, and makes readable what is counted of them.
    fn discover(&mut self, events: &mut Vec<Event>) -> Result<(), Error> {
        let (cgroups, http, tcp) = (&mut self.cgroups, &mut self.http, &mut self.tcp);
        let (ledger, traffic, cpus) = (&mut self.ledger_of, &mut self.traffic, &mut self.cpus);
        let make_readable = |index| {
            cgroups.reach(index)?;
            http.reach(index)?;
            tcp.reach(index)?;
            ledger.reach(index)?;
            traffic.reach(index)?;
            cpus.reach(index)
        };
        self.slots.discover(make_readable, events)
    }

    fn list(&mut self, index: usize, slot: u32, id: CgroupId) {
        self.generations += 1;
        self.listed = self.readings;
        self.wanted_anew = true;
        let entry = Entry::new(slot, id, self.generations, self.readings);
        self.inheritance.unsettled.push(index);
        self.entries.insert(index, entry);
    }

    /// Takes cgroups off the list; the counters of their places can no longer be reached by way of their slots. What their sockets
    /// carried since the last reading is read before: they outlive them, and then go on under slots of another generation. Tasks they
    /// have none.
    fn retire(&mut self, places: &[(usize, u32)]) -> Result<(), Error> {
        for (index, generation) in places {
            self.traffic.retire(*index, *generation);
            self.tcp
                .set_half(*index, offset_of!(TcpCounters, generation), *generation);
        }
        let outcome = self.read_interfaces();
        self.listed = self.readings;
        self.wanted_anew = true;
        for (index, _) in places {
            self.update_network(*index);
        }
        let entries = &self.entries;
        let leaving: Vec<&Entry> = places
            .iter()
            .filter_map(|(index, _)| entries.get(*index))
            .collect();
        let slots = leaving.iter().map(|entry| entry.slot).collect();
        self.inheritance
            .pass_on(&leaving, self.matrix.of_slots(&slots), |slot| {
                entries.cgroup_of(slot)
            });
        for (index, _) in places {
            if let Some(entry) = self.entries.remove(*index) {
                self.departed.add(&entry.stats);
            }
        }
        outcome
    }

    /// Asks `heirs_of` of all cgroups from now on, those that are listed included.
    pub(crate) fn set_heirs(&mut self, heirs_of: HeirsOf) {
        self.inheritance.heirs_of = Some(heirs_of);
        self.inheritance.unsettled = self.entries.places().collect();
        self.listed = self.readings + 1;
    }

    /// Sets all counters of deserted places to 0 and makes them free. One with which that fails keeps no other from it.
    fn give_back(&mut self, places: &BTreeSet<usize>) -> Result<(), Error> {
        let mut stuck = BTreeSet::new();
        let mut outcome = self.traffic.free(places, &mut stuck);
        for index in places.difference(&stuck) {
            self.cgroups.clear(*index, None);
            self.http.clear(*index, None);
            self.ledger_of.clear(*index, None);
            self.tcp
                .clear(*index, Some(offset_of!(TcpCounters, generation)));
            outcome = outcome.and(self.slots.give_back(*index));
        }
        outcome
    }
}
