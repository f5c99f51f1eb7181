//! Bytes and packets by cgroup and interface, as the packet hooks count them.

use std::{
    collections::BTreeMap,
    ops::{AddAssign, SubAssign},
    sync::atomic::{AtomicUsize, Ordering},
};

use aya::{
    Ebpf,
    maps::{MapData, Queue},
};
use galileo_ebpf_abi::{CgroupTraffic, InterfaceTraffic, LOOPBACK};

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
    /// One more than the highest entry found in use so far.
    used: AtomicUsize,
    // Programs that are loaded later name it by its descriptor.
    _free: Queue<MapData, u32>,
}

impl TrafficMaps {
    /// Entries for pairs of a cgroup and an interface, for this number of cgroups.
    pub(crate) const fn entries(cgroups: u32) -> u32 {
        cgroups.saturating_mul(2)
    }

    /// Maps them and makes all entries free.
    pub(crate) fn new(ebpf: &mut Ebpf, cgroups: u32) -> Result<Self, Error> {
        let entries = Self::entries(cgroups);
        let mut free: Queue<_, u32> =
            Queue::try_from(take(ebpf, "FREE_INTERFACES")?).map_err(|error| mismatch(&error))?;
        for entry in 0..entries {
            free.push(entry, 0)
                .map_err(|error| Error::Load(chain(&error)))?;
        }
        Ok(Self {
            cgroups: Mapped::new(array(ebpf, "TRAFFIC")?, cgroups, "TRAFFIC")?,
            interfaces: Mapped::new(array(ebpf, "INTERFACES")?, entries, "INTERFACES")?,
            used: AtomicUsize::new(0),
            _free: free,
        })
    }

    /// What the cgroups with these slots sent and received.
    pub(crate) fn read(&self, slots: impl Iterator<Item = u32>) -> BTreeMap<u32, CgroupNetwork> {
        let mut found = BTreeMap::new();
        for slot in slots {
            let Some(counters) = self.cgroups.read(slot as usize) else {
                continue;
            };
            let mut network = CgroupNetwork {
                total: counters.elsewhere.into(),
                interfaces: BTreeMap::new(),
            };
            network.add(Interface::LOOPBACK, counters.loopback.into());
            found.insert(slot, network);
        }
        for (slot, interface, traffic) in self.entries_in_use() {
            if let Some(network) = found.get_mut(&slot) {
                network.add(interface, traffic);
            }
        }
        found
    }

    fn entries_in_use(&self) -> Vec<(u32, Interface, Traffic)> {
        let mut found = Vec::new();
        let mut entry = 0;
        while entry < self.used.load(Ordering::Relaxed) + FREE_RUN
            && let Some(counters) = self.interfaces.read(entry)
        {
            entry += 1;
            if let Some((slot, interface)) = InterfaceTraffic::owner(counters.owner) {
                self.used.fetch_max(entry, Ordering::Relaxed);
                found.push((slot, Interface(interface), counters.traffic.into()));
            }
        }
        found
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
