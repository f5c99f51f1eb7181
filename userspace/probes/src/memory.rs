//! What the probes take of the kernel's memory, and of the process'.
//!
//! Before 6.4 the kernel tells nearly nothing of what a map takes, and never what of it is whose; so it is computed from
//! type and size, as the kernel allocates it. What depends on the traffic stands beside it: a socket's storage is allocated
//! with the first packet that is seen of it, and freed with the socket.

use aya::{
    Ebpf,
    maps::{Map, MapData, MapInfo, MapType},
};
use galileo_ebpf_core::socket::STORAGE_HEAD;
use rustix::param::page_size;

use crate::{Error, capability::Feature, probes::mismatch};

/// What is known of a map when it is made.
#[derive(Debug, Clone)]
pub(crate) struct MapShape {
    id: u32,
    pub(crate) name: String,
    kind: MapType,
    key: usize,
    value: usize,
    entries: usize,
    flags: u32,
}

/// The kernel's memory that a map takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapMemory {
    /// The kernel's number of the map.
    pub id: u32,
    /// Name of the map.
    pub name: String,
    /// What it is for; none for what all features share.
    pub feature: Option<Feature>,
    /// Bytes, computed. 0 if it grows with the number of sockets.
    pub bytes: usize,
}

/// What the probes take of memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// The maps, largest first.
    pub maps: Vec<MapMemory>,
    /// Bytes that each TCP socket with traffic takes besides. One whose heads come in pieces, or that pipelines, takes more as long
    /// as it lives.
    pub per_socket_bytes: usize,
    /// Bytes of maps that are mapped into the process, which count as the process' memory, too. Rings that are read are not
    /// in it.
    pub mapped_bytes: usize,
    /// Memory of the whole process, of which these are a part (`/proc/self/statm`).
    pub rss_bytes: u64,
}

impl Memory {
    /// The kernel's memory of all maps together.
    #[must_use]
    pub fn kernel_bytes(&self) -> usize {
        self.maps.iter().map(|map| map.bytes).sum()
    }

    /// The kernel's memory of one feature's maps; none for those that all share.
    #[must_use]
    pub fn of_feature(&self, feature: Option<Feature>) -> usize {
        let of = self.maps.iter().filter(|map| map.feature == feature);
        of.map(|map| map.bytes).sum()
    }
}

/// Gives memory of the process back that is free: the object and what the loader made of it are some megabytes, which the
/// allocator would keep.
pub(crate) fn trim() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            /// `malloc_trim(3)` of the C library.
            fn malloc_trim(pad: usize) -> i32;
        }
        // SAFETY: it may be called at any time in any thread.
        unsafe { malloc_trim(0) };
    }
}

/// Looks at all maps, before any is taken out of the object.
pub(crate) fn shapes(ebpf: &Ebpf) -> Result<Vec<MapShape>, Error> {
    ebpf.maps()
        .filter_map(|(name, map)| Some((name, data(map)?)))
        .map(|(name, data)| {
            let info: MapInfo = data.info().map_err(|error| mismatch(&error))?;
            Ok(MapShape {
                id: info.id(),
                name: name.to_owned(),
                kind: info.map_type().map_err(|error| mismatch(&error))?,
                key: info.key_size() as usize,
                value: info.value_size() as usize,
                entries: info.max_entries() as usize,
                flags: info.map_flags(),
            })
        })
        .collect()
}

fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::ProgramArray(data)
        | Map::Queue(data)
        | Map::RingBuf(data)
        | Map::SkStorage(data)
        | Map::Stack(data) => Some(data),
        _ => None,
    }
}

pub(crate) fn of(shapes: &[MapShape], cpus: usize, mapped_bytes: usize) -> Memory {
    let mut maps: Vec<_> = shapes
        .iter()
        .map(|shape| MapMemory {
            id: shape.id,
            name: shape.name.clone(),
            feature: feature(&shape.name),
            bytes: shape.bytes(cpus, page_size()),
        })
        .collect();
    maps.sort_by_key(|map| std::cmp::Reverse(map.bytes));
    let storage = shapes
        .iter()
        .filter(|shape| shape.kind == MapType::SkStorage && shape.name == "SOCKETS");
    Memory {
        maps,
        per_socket_bytes: storage.map(|shape| per_socket(shape.value)).sum(),
        mapped_bytes,
        rss_bytes: crate::cost::rss_bytes(),
    }
}

/// The feature that a map is for.
fn feature(name: &str) -> Option<Feature> {
    match name {
        "CPUS" | "CPU_LINES" | "PAIRS" | "MATRIX" | "CGROUPS" | "TASKS" => Some(Feature::Cpu),
        "INTERRUPTS" => Some(Feature::Interrupts),
        "TRAFFIC" | "INTERFACES" | "INTERFACE_OF" | "FREE_INTERFACES" | "SOCKETS" => {
            Some(Feature::Network)
        }
        "TCP" | "CONNECTIONS" | "CONNECTIONS_READ" => Some(Feature::Tcp),
        "HTTP" | "EXCHANGES" | "CARRY_RECEIVED" | "CARRY_SENT" | "EARLY" | "PIPELINES"
        | "FIRSTS" | "FIRST_CARRIES" | "FIRST_PIPELINED" | "BLANK" | "SEGMENTS"
        | "STEPS_RECEIVED" | "STEPS_SENT" | "STEPS_FIRST" => Some(Feature::Http),
        _ => None,
    }
}

/// `BPF_F_MMAPABLE`.
const MMAPABLE: u32 = 1 << 10;

impl MapShape {
    /// What the `map_mem_usage` of each kind in kernel/bpf counts (6.4), but for the head of a map, some hundred bytes.
    fn bytes(&self, cpus: usize, page: usize) -> usize {
        let value = self.value.next_multiple_of(8);
        match self.kind {
            MapType::Array if self.flags & MMAPABLE != 0 => {
                (self.entries * value).next_multiple_of(page)
            }
            MapType::Array => self.entries * value,
            MapType::PerCpuArray => self.entries * (value * cpus + 8),
            MapType::ProgramArray => self.entries * 8,
            MapType::Queue | MapType::Stack => (self.entries + 1) * self.value,
            // Data, the page of each end's position, and the pages of the map's head.
            MapType::RingBuf => self.entries + 3 * page,
            MapType::Hash | MapType::LruHash => {
                // `struct htab_elem` is 48 bytes; a hash has some more elements than asked for, one for each CPU.
                let element = 48 + self.key.next_multiple_of(8) + value;
                let spare = if self.kind == MapType::Hash { cpus } else { 0 };
                self.entries.next_power_of_two() * 16 + (self.entries + spare) * element
            }
            _ => 0,
        }
    }
}

/// Bytes of a socket's storage: an element with its value, as the kernel's allocator rounds it up to a power of two, or
/// to 96, 192 or a power of two; from 8 KiB on to pages.
fn per_socket(value: usize) -> usize {
    // The socket's own list of what is kept of it takes 192.
    let element = value + STORAGE_HEAD;
    element.next_power_of_two() + 192
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(kind: MapType, key: usize, value: usize, entries: usize, flags: u32) -> MapShape {
        MapShape {
            id: 1,
            name: "ANY".to_owned(),
            kind,
            key,
            value,
            entries,
            flags,
        }
    }

    #[test]
    fn maps_take_what_the_kernel_allocates_for_them() {
        let page = 4096;
        let bytes = |shape: MapShape| shape.bytes(2, page);
        assert_eq!(bytes(shape(MapType::Array, 4, 100, 10, 0)), 1040);
        assert_eq!(bytes(shape(MapType::Array, 4, 100, 10, MMAPABLE)), page);
        assert_eq!(bytes(shape(MapType::PerCpuArray, 4, 100, 1, 0)), 216);
        assert_eq!(
            bytes(shape(MapType::RingBuf, 0, 0, 8192, 0)),
            8192 + 3 * page
        );
        assert_eq!(
            bytes(shape(MapType::Hash, 8, 4, 1024, 0)),
            1024 * 16 + 1026 * 64
        );
    }
}
