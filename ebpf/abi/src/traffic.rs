//! Bytes and packets of a cgroup, by network interface.

/// Bytes and packets of both directions. Totals since the probes were loaded.
///
/// Bytes count from the IP header on. Packets count as the hook sees them: after merging (GRO) and before segmentation
/// (GSO), so that a merged packet is one, with one header.
///
/// The directions lie a cache line apart: what a server sends is counted on its CPU, what it is sent on that of the sender
/// or of the interface, and a line that both write moves from one to the other with each packet.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Traffic {
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets received.
    pub rx_packets: u64,
    /// Always 0.
    pub apart: [u64; 6],
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets sent.
    pub tx_packets: u64,
}

/// Traffic of one cgroup that needs no look-up, at its slot of the array map `TRAFFIC`. The first cache line is read for every
/// packet and written rarely.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct CgroupTraffic {
    /// Generation of the slot that is counted. Written by user space only.
    pub generation: u32,
    /// Always 0.
    pub reserved: u32,
    /// The interface looked up last, as [`recent`] makes it; 0 for none. Written with one store.
    pub recent: u64,
    /// Always 0.
    pub spare: [u64; 6],
    /// Over the loopback interface, which has the number [`LOOPBACK`] in every network namespace.
    pub loopback: Traffic,
    /// Always 0.
    pub between: [u64; 6],
    /// Over interfaces that found no free place in the array map `INTERFACES`.
    pub elsewhere: Traffic,
    /// Always 0.
    pub rest: [u64; 6],
}

/// Traffic of one cgroup over one interface: an entry of the array map `INTERFACES`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct InterfaceTraffic {
    /// Slot of the cgroup in the lower half and number of the interface in the upper one, plus 1 each; 0 while the entry
    /// is free. One word, so that it is read whole.
    pub owner: u64,
    /// What was counted.
    pub traffic: Traffic,
    /// Always 0.
    pub reserved: [u64; 5],
}

impl InterfaceTraffic {
    /// Slot and interface of an entry in use.
    #[must_use]
    pub const fn owner(owner: u64) -> Option<(u32, u32)> {
        if owner == 0 {
            return None;
        }
        Some((
            (owner as u32).wrapping_sub(1),
            ((owner >> 32) as u32).wrapping_sub(1),
        ))
    }
}

/// The number of the loopback interface (`LOOPBACK_IFINDEX`, include/net/flow.h).
pub const LOOPBACK: u32 = 1;

/// Key of the hash map `INTERFACE_OF`; its value is an index into `INTERFACES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct InterfaceKey {
    /// Slot of the cgroup.
    pub slot: u32,
    /// The interface's number in the network namespace that the packet was in.
    pub interface: u32,
}

impl InterfaceKey {
    /// As [`InterfaceTraffic::owner`] reads it.
    #[must_use]
    pub const fn owner(self) -> u64 {
        ((self.interface as u64 + 1) << 32) | (self.slot as u64 + 1)
    }
}

/// Interface and entry as one word.
#[must_use]
pub const fn recent(interface: u32, entry: u32) -> u64 {
    (interface as u64) << 32 | entry as u64
}

const _: () = assert!(size_of::<CgroupTraffic>() == 320);
const _: () = assert!(size_of::<InterfaceTraffic>() == 128);
const _: () = assert!(size_of::<InterfaceKey>() == 8);
