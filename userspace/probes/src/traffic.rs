//! Bytes and packets by cgroup and interface, as the packet hooks count them.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem::offset_of,
    ops::{AddAssign, SubAssign},
};

use aya::{
    Ebpf,
    maps::{HashMap, MapData, MapError, Stack},
};
use galileo_ebpf_abi::{CgroupTraffic, InterfaceKey, InterfaceTraffic, LOOPBACK, slot_index};

use crate::{
    Error,
    error::chain,
    mapped::Mapped,
    probes::{array, mismatch, take},
};

/// The number of a network interface, in the network namespace of whoever used it. [`Interface::LOOPBACK`] is the same in
/// all; other numbers mean other interfaces in other namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interface(pub u32);

impl Interface {
    /// The loopback interface of any network namespace.
    pub const LOOPBACK: Self = Self(LOOPBACK);
}

/// Bytes and packets of both directions, as `cgroup_skb` programs see them: from the IP header on, received packets after
/// merging (GRO), sent ones before segmentation (GSO). A merged packet is one packet with one header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
}

impl Traffic {
    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.rx_bytes += other.rx_bytes;
        self.rx_packets += other.rx_packets;
        self.tx_bytes += other.tx_bytes;
        self.tx_packets += other.tx_packets;
    }
}

/// Saturating, as counters of a slot that changed hands may be smaller than before.
impl SubAssign for Traffic {
    fn sub_assign(&mut self, other: Self) {
        self.rx_bytes = self.rx_bytes.saturating_sub(other.rx_bytes);
        self.rx_packets = self.rx_packets.saturating_sub(other.rx_packets);
        self.tx_bytes = self.tx_bytes.saturating_sub(other.tx_bytes);
        self.tx_packets = self.tx_packets.saturating_sub(other.tx_packets);
    }
}

impl From<galileo_ebpf_abi::Traffic> for Traffic {
    fn from(counted: galileo_ebpf_abi::Traffic) -> Self {
        Self {
            rx_bytes: counted.rx_bytes,
            rx_packets: counted.rx_packets,
            tx_bytes: counted.tx_bytes,
            tx_packets: counted.tx_packets,
        }
    }
}

/// What one cgroup sent and received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CgroupNetwork {
    /// All of it.
    pub(crate) total: Traffic,
    /// Of which interfaces are known.
    pub(crate) interfaces: BTreeMap<Interface, Traffic>,
}

/// Free entries in a row after which no more are looked for. Entries are given in the order of their numbers at first; two
/// CPUs that take one each at once may fill them in any order.
const FREE_RUN: usize = 64;

/// The maps in memory.
pub(crate) struct TrafficMaps {
    cgroups: Mapped<CgroupTraffic>,
    interfaces: Mapped<InterfaceTraffic>,
    entry_of: HashMap<MapData, Key, u32>,
    free: Stack<MapData, u32>,
    /// What was read of each entry the last time, up to the highest one found in use so far.
    seen: Vec<Seen>,
    /// The entries of each place.
    entries_of: Vec<Vec<u32>>,
}

/// [`InterfaceKey`], as aya's maps ask for a type of this crate.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
struct Key(InterfaceKey);

// SAFETY: two 32-bit integers.
unsafe impl aya::Pod for Key {}

/// What was read of an entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Seen {
    owner: u64,
    traffic: Traffic,
}

impl TrafficMaps {
    /// Entries for pairs of a cgroup and an interface, for this number of cgroups.
    pub(crate) const fn entries(cgroups: u32) -> u32 {
        cgroups.saturating_mul(2)
    }

    /// Maps them and makes all entries free.
    pub(crate) fn new(ebpf: &mut Ebpf, cgroups: u32) -> Result<Self, Error> {
        let entries = Self::entries(cgroups);
        let mut free: Stack<_, u32> =
            Stack::try_from(take(ebpf, "FREE_INTERFACES")?).map_err(|error| mismatch(&error))?;
        for entry in (0..entries).rev() {
            free.push(entry, 0)
                .map_err(|error| Error::Load(chain(&error)))?;
        }
        Ok(Self {
            cgroups: Mapped::writable(array(ebpf, "TRAFFIC")?, cgroups, "TRAFFIC")?,
            interfaces: Mapped::writable(array(ebpf, "INTERFACES")?, entries, "INTERFACES")?,
            entry_of: HashMap::try_from(take(ebpf, "INTERFACE_OF")?)
                .map_err(|error| mismatch(&error))?,
            free,
            seen: Vec::new(),
            entries_of: vec![Vec::new(); cgroups as usize],
        })
    }

    /// Entries that can be found by a cgroup and an interface.
    pub(crate) fn taken(&self) -> usize {
        self.entry_of.keys().count()
    }

    /// Makes what is counted of a place readable.
    pub(crate) fn reach(&mut self, index: usize) -> Result<(), Error> {
        self.cgroups.reach(index)
    }

    /// Bytes that are mapped.
    pub(crate) fn mapped_bytes(&self) -> usize {
        self.cgroups.mapped_bytes() + self.interfaces.mapped_bytes()
    }

    /// Numbers of packets that change whenever something is counted at this place without an interface of its own.
    pub(crate) fn pulse(&self, index: usize) -> [u64; 2] {
        let loopback = offset_of!(CgroupTraffic, loopback);
        let elsewhere = offset_of!(CgroupTraffic, elsewhere);
        let packets = |at: usize| {
            let word = |offset| self.cgroups.word(index, at + offset).unwrap_or(0);
            word(offset_of!(galileo_ebpf_abi::Traffic, rx_packets))
                + word(offset_of!(galileo_ebpf_abi::Traffic, tx_packets))
        };
        [packets(loopback), packets(elsewhere)]
    }

    /// Reads all entries of interfaces; `moved` is told the slot of each in which something was counted since the last time.
    pub(crate) fn read_interfaces(&mut self, mut moved: impl FnMut(u32)) -> Result<(), Error> {
        let mut entry = 0;
        while entry < self.interfaces.len().min(self.seen.len() + FREE_RUN) {
            self.interfaces.reach(entry)?;
            let Some(counters) = self.interfaces.read(entry) else {
                break;
            };
            let now = Seen {
                owner: counters.owner,
                traffic: counters.traffic.into(),
            };
            if entry >= self.seen.len() && now.owner != 0 {
                self.seen.resize(entry + 1, Seen::default());
            }
            if let Some(seen) = self.seen.get_mut(entry)
                && *seen != now
            {
                let before = std::mem::replace(seen, now);
                if let Some((slot, _)) = InterfaceTraffic::owner(now.owner) {
                    if before.owner != now.owner
                        && let Some(entries) = self.entries_of.get_mut(slot_index(slot) as usize)
                    {
                        entries.push(entry as u32);
                    }
                    moved(slot);
                }
            }
            entry += 1;
        }
        Ok(())
    }

    /// What the cgroup with this slot sent and received, its interfaces as they were last read.
    pub(crate) fn read(&self, slot: u32) -> CgroupNetwork {
        let mut network = CgroupNetwork::default();
        if let Some(counters) = self.cgroups.read(slot_index(slot) as usize) {
            network.total = counters.elsewhere.into();
            network.add(Interface::LOOPBACK, counters.loopback.into());
        }
        let entries = self.entries_of.get(slot_index(slot) as usize);
        for entry in entries.into_iter().flatten() {
            if let Some(seen) = self.seen.get(*entry as usize)
                && let Some((owner, interface)) = InterfaceTraffic::owner(seen.owner)
                && owner == slot
            {
                network.add(Interface(interface), seen.traffic);
            }
        }
        network
    }

    /// Sets the generation of a place.
    pub(crate) fn retire(&self, index: usize, generation: u32) {
        self.cgroups
            .set_half(index, offset_of!(CgroupTraffic, generation), generation);
    }

    /// Sets what was counted at places to 0 and makes the entries free that they have, or had, under any generation. `stuck` is told
    /// the places of which an entry could not be freed.
    pub(crate) fn free(
        &mut self,
        places: &BTreeSet<usize>,
        stuck: &mut BTreeSet<usize>,
    ) -> Result<(), Error> {
        let mut outcome = Ok(());
        for index in places {
            self.cgroups
                .clear(*index, Some(offset_of!(CgroupTraffic, generation)));
            self.entries_of[*index].clear();
        }
        for entry in 0..self.interfaces.len().min(self.seen.len() + FREE_RUN) {
            let Some(owner) = self
                .interfaces
                .word(entry, offset_of!(InterfaceTraffic, owner))
            else {
                break;
            };
            let Some((slot, interface)) = InterfaceTraffic::owner(owner) else {
                continue;
            };
            let index = slot_index(slot) as usize;
            if !places.contains(&index) {
                continue;
            }
            let freed = self.free_entry(entry, InterfaceKey { slot, interface });
            if freed.is_err() {
                stuck.insert(index);
            }
            outcome = outcome.and(freed);
        }
        outcome
    }

    fn free_entry(&mut self, entry: usize, key: InterfaceKey) -> Result<(), Error> {
        match self.entry_of.remove(&Key(key)) {
            Ok(()) | Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(mismatch(&error)),
        }
        self.interfaces.clear(entry, None);
        if let Some(seen) = self.seen.get_mut(entry) {
            *seen = Seen::default();
        }
        self.free
            .push(entry as u32, 0)
            .map_err(|error| mismatch(&error))
    }
}

impl CgroupNetwork {
    fn add(&mut self, interface: Interface, traffic: Traffic) {
        if !traffic.is_empty() {
            self.total += traffic;
            *self.interfaces.entry(interface).or_default() += traffic;
        }
    }
}
