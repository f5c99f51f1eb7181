//! Which cgroup has which slot: places are found taken, found deserted, kept readable, and given back.
//!
//! The kernel side takes a place when a cgroup is first seen. That a cgroup is gone nobody tells; so it is asked for, now
//! and then, and more often when places get scarce. From there:
//!
//! 1. *gone*: what it counted is still read, for at least one more reading after the one that found it gone, and for
//!    [`KEEP`] unless places are scarce. What still comes for it (packets of sockets that outlive it) is still counted.
//! 2. *retired*: its id leads to no slot any more, and the place has the next generation: whoever kept the slot finds out
//!    before it writes. A program that had compared before that may still write, for microseconds.
//! 3. *free*: after [`QUARANTINE`] the counters are set to 0 and the slot, of the new generation, can be taken.

use std::{mem::offset_of, time::Duration};

use aya::maps::{HashMap, MapData, Stack};
use galileo_ebpf_abi::{Owner, slot_at, slot_generation};

use crate::{Error, cgroup::CgroupId, error::chain, mapped::Mapped, presence::Presence};

/// How often cgroups are asked for while places are not scarce.
const LOOK: Duration = Duration::from_secs(10);
/// The same while they are, and where a question costs little.
const SCARCE_LOOK: Duration = Duration::from_millis(100);
/// The same where all folders must be walked.
const SCARCE_WALK: Duration = Duration::from_secs(2);
/// How long a cgroup that is gone is read, unless places are scarce.
pub(crate) const KEEP: Duration = Duration::from_secs(60);
/// How long a place is nobody's: longer than any program runs, even one that is interrupted.
const QUARANTINE: Duration = Duration::from_millis(100);
/// Free places in a row after which no more that are taken are looked for: places are taken in the order of their
/// numbers, but for those that several CPUs take at the same moment.
const FREE_RUN: usize = 64;

/// What became of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Free,
    Taken { id: CgroupId, gone: Option<Gone> },
    Retired { at_ns: u64 },
}

/// When a cgroup was found gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gone {
    at_ns: u64,
    reading: u64,
}

/// What happened to a place, for those who keep something of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// It has a new owner.
    Taken {
        /// The place.
        index: usize,
        /// The slot.
        slot: u32,
        /// The cgroup.
        id: CgroupId,
    },
    /// Its owner is gone; it is read no more.
    Retired {
        /// The place.
        index: usize,
        /// The generation from now on.
        generation: u32,
    },
    /// Nobody writes to it any more: all its counters are to be set to 0 before [`Slots::give_back`].
    Deserted {
        /// The place.
        index: usize,
    },
}

/// The places.
pub(crate) struct Slots {
    owners: Mapped<Owner>,
    slot_of: HashMap<MapData, u64, u32>,
    free: Stack<MapData, u32>,
    places: Vec<Place>,
    /// A bit for each of them that is free.
    free_places: Vec<u64>,
    presence: Presence,
    /// One more than the highest place that was ever taken.
    used: usize,
    /// How many places are taken.
    taken: usize,
    /// How many are neither taken nor free.
    waiting: usize,
    looked_ns: u64,
}

impl Slots {
    /// Makes all places free.
    pub(crate) fn new(
        owners: Mapped<Owner>,
        slot_of: HashMap<MapData, u64, u32>,
        mut free: Stack<MapData, u32>,
        presence: Presence,
    ) -> Result<Self, Error> {
        let capacity = owners.len();
        // The last one is taken first.
        for index in (0..capacity as u32).rev() {
            free.push(slot_at(index, 0), 0)
                .map_err(|error| Error::Load(chain(&error)))?;
        }
        Ok(Self {
            owners,
            slot_of,
            free,
            places: vec![Place::Free; capacity],
            free_places: free_places(capacity),
            presence,
            used: 0,
            taken: 0,
            waiting: 0,
            looked_ns: 0,
        })
    }

    /// How many places are taken, and how many are neither taken nor free.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.taken, self.waiting)
    }

    /// Whether less than a quarter of the places can be taken.
    fn is_scarce(&self) -> bool {
        (self.places.len() - self.taken - self.waiting) * 4 < self.places.len()
    }

    /// How long after one look the next comes.
    fn pause(&self) -> Duration {
        let pause = if !self.is_scarce() {
            LOOK
        } else if self.presence.is_cheap() {
            SCARCE_LOOK
        } else {
            SCARCE_WALK
        };
        // What is in quarantine is not left there for long.
        if self.waiting > 0 {
            pause.min(QUARANTINE)
        } else {
            pause
        }
    }

    fn generation(&self, index: usize) -> u32 {
        let word = self
            .owners
            .word(index, offset_of!(Owner, generation))
            .unwrap_or(0);
        // The upper half is always 0, whichever comes first in memory.
        (word | word >> 32) as u32
    }

    /// Bytes that are mapped.
    pub(crate) fn mapped_bytes(&self) -> usize {
        self.owners.mapped_bytes()
    }

    /// Finds places that were taken since the last time. `make_readable` is done with each of them before it is entered.
    pub(crate) fn discover(
        &mut self,
        mut make_readable: impl FnMut(usize) -> Result<(), Error>,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        let mut word = 0;
        // The end moves on with what is found.
        while word * 64 < self.places.len().min(self.used + FREE_RUN) {
            let mut free = self.free_places[word];
            while free != 0 {
                let index = word * 64 + free.trailing_zeros() as usize;
                free &= free - 1;
                self.owners.reach(index)?;
                let id = self.owners.word(index, offset_of!(Owner, cgroup_id));
                if let Some(id) = id.filter(|id| *id != 0) {
                    make_readable(index)?;
                    self.find(index, id, events);
                }
            }
            word += 1;
        }
        Ok(())
    }

    /// Enters that a free place has an owner.
    fn find(&mut self, index: usize, id: u64, events: &mut Vec<Event>) {
        let slot = slot_at(index as u32, self.generation(index));
        // Two CPUs may take one each for the same cgroup; the place of one of them is free again a moment later.
        if self.slot_of.get(&id, 0).ok() == Some(slot) {
            let id = CgroupId(id);
            self.set(index, Place::Taken { id, gone: None });
            self.taken += 1;
            self.used = self.used.max(index + 1);
            events.push(Event::Taken { index, slot, id });
        }
    }

    fn set(&mut self, index: usize, place: Place) {
        let bit = 1 << (index % 64);
        if place == Place::Free {
            self.free_places[index / 64] |= bit;
        } else {
            self.free_places[index / 64] &= !bit;
        }
        self.places[index] = place;
    }

    /// Looks for cgroups that are gone and moves places on, if it is time. `is_busy` tells whether something was counted
    /// at a place in the reading before, so that its cgroup need not be asked for.
    pub(crate) fn tend(
        &mut self,
        now_ns: u64,
        reading: u64,
        is_busy: impl Fn(usize) -> bool,
        events: &mut Vec<Event>,
    ) -> Result<(), Error> {
        if now_ns < self.looked_ns + self.pause().as_nanos() as u64 {
            return Ok(());
        }
        self.looked_ns = now_ns;
        let scarce = self.is_scarce();
        self.presence.begin();
        for index in 0..self.used {
            match self.places[index] {
                Place::Free => {}
                Place::Taken { id, gone: None } => {
                    if !is_busy(index) && self.presence.is_gone(id) {
                        self.places[index] = Place::Taken {
                            id,
                            gone: Some(Gone {
                                at_ns: now_ns,
                                reading,
                            }),
                        };
                    }
                }
                Place::Taken {
                    id,
                    gone: Some(gone),
                } => {
                    let old = now_ns.saturating_sub(gone.at_ns) >= KEEP.as_nanos() as u64;
                    if reading >= gone.reading + 2 && (old || scarce) {
                        self.retire(index, id, now_ns)?;
                        let generation = self.generation(index);
                        events.push(Event::Retired { index, generation });
                    }
                }
                Place::Retired { at_ns } => {
                    if now_ns.saturating_sub(at_ns) >= QUARANTINE.as_nanos() as u64 {
                        events.push(Event::Deserted { index });
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives a deserted place back, after its counters were set to 0.
    pub(crate) fn give_back(&mut self, index: usize) -> Result<(), Error> {
        self.owners.set_word(index, offset_of!(Owner, cgroup_id), 0);
        let slot = slot_at(index as u32, self.generation(index));
        self.free
            .push(slot, 0)
            .map_err(|error| Error::Mismatch(chain(&error)))?;
        self.set(index, Place::Free);
        self.waiting -= 1;
        Ok(())
    }

    fn retire(&mut self, index: usize, id: CgroupId, now_ns: u64) -> Result<(), Error> {
        match self.slot_of.remove(&id.0) {
            Ok(()) | Err(aya::maps::MapError::KeyNotFound) => {}
            Err(error) => return Err(Error::Mismatch(chain(&error))),
        }
        let slot = slot_at(index as u32, self.generation(index) + 1);
        let generation = slot_generation(slot);
        self.owners
            .set_half(index, offset_of!(Owner, generation), generation);
        self.set(index, Place::Retired { at_ns: now_ns });
        self.taken -= 1;
        self.waiting += 1;
        Ok(())
    }
}

/// A bit for each place.
fn free_places(capacity: usize) -> Vec<u64> {
    let mut places = vec![u64::MAX; capacity.div_ceil(64)];
    if let Some(last) = places.last_mut()
        && !capacity.is_multiple_of(64)
    {
        *last = (1 << (capacity % 64)) - 1;
    }
    places
}
