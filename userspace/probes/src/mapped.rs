//! Array maps mapped into memory, so that reading them needs no system call. aya has no call for that.

use std::{marker::PhantomData, os::fd::AsFd, ptr};

use aya::maps::MapData;
use rustix::{
    mm::{MapFlags, ProtFlags, mmap, munmap},
    param::page_size,
};

use crate::Error;

/// Types whose every bit pattern is a value and that consist of 64-bit (or pairs of 32-bit) counters, written by the kernel side with
/// single stores or atomic additions.
///
/// # Safety
///
/// Implement it for `#[repr(C)]` types of integers only, with a size and alignment that are multiples of eight.
pub(crate) unsafe trait Counters: Copy {}

// SAFETY: `#[repr(C)]`, integers only, sizes asserted in galileo-ebpf-abi.
unsafe impl Counters for galileo_ebpf_abi::CgroupCounters {}
// SAFETY: as above.
unsafe impl Counters for galileo_ebpf_abi::HttpCounters {}
// SAFETY: as above.
unsafe impl Counters for galileo_ebpf_abi::CpuState {}
// SAFETY: as above.
unsafe impl Counters for galileo_ebpf_abi::CpuLine {}
// SAFETY: as above.
unsafe impl Counters for galileo_ebpf_abi::PairSet {}
// SAFETY: as above.
unsafe impl Counters for galileo_ebpf_abi::CpuInterrupts {}
// SAFETY: as above.
unsafe impl Counters for galileo_ebpf_abi::CgroupTraffic {}
// SAFETY: as above.
unsafe impl Counters for galileo_ebpf_abi::InterfaceTraffic {}
// SAFETY: as above, with an even number of 32-bit integers at the end.
unsafe impl Counters for galileo_ebpf_abi::TcpCounters {}
// SAFETY: eight 64-bit integers.
unsafe impl Counters for [u64; 8] {}

/// An array map in memory.
pub(crate) struct Mapped<T> {
    address: *mut core::ffi::c_void,
    bytes: usize,
    entries: usize,
    // Keeps the map alive: a mapping holds it anyway, this holds the descriptor for those who ask.
    _map: MapData,
    kind: PhantomData<T>,
}

// SAFETY: the memory is only read and written by volatile accesses of whole words; it is valid in every thread until
// dropped.
unsafe impl<T: Counters> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T: Counters> Sync for Mapped<T> {}

impl<T: Counters> Mapped<T> {
    /// Maps all `entries` of an array made with `BPF_F_MMAPABLE`.
    pub(crate) fn new(map: MapData, entries: u32, name: &str) -> Result<Self, Error> {
        Self::with(map, entries, name, ProtFlags::READ)
    }

    /// The same, so that [`Mapped::set_word`] works.
    pub(crate) fn writable(map: MapData, entries: u32, name: &str) -> Result<Self, Error> {
        Self::with(map, entries, name, ProtFlags::READ | ProtFlags::WRITE)
    }

    fn with(map: MapData, entries: u32, name: &str, protection: ProtFlags) -> Result<Self, Error> {
        let entries = entries as usize;
        // The kernel wants exactly the array's size, rounded up to pages.
        let bytes = (entries * size_of::<T>()).next_multiple_of(page_size());
        // SAFETY: a new mapping at an address of the kernel's choice; it touches no memory of ours.
        let address = unsafe {
            mmap(
                ptr::null_mut(),
                bytes,
                protection,
                MapFlags::SHARED,
                map.fd().as_fd(),
                0,
            )
        }
        .map_err(|error| Error::io(format!("map the array {name} into memory"), error))?;
        Ok(Self {
            address,
            bytes,
            entries,
            _map: map,
            kind: PhantomData,
        })
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    /// A pointer to an entry; none beyond the end. What it points to changes at any time.
    pub(crate) fn entry(&self, index: usize) -> Option<*const T> {
        // SAFETY: index < entries, so the address lies within the mapping.
        (index < self.entries).then(|| unsafe { self.address.cast::<T>().cast_const().add(index) })
    }

    /// One counter of an entry, by its offset in bytes; none beyond the end.
    pub(crate) fn word(&self, index: usize, offset: usize) -> Option<u64> {
        debug_assert!(offset.is_multiple_of(8) && offset < size_of::<T>());
        let source = self.entry(index)?.cast::<u64>();
        // SAFETY: the offset lies within `T` and is aligned to eight, as the entry is.
        Some(unsafe { source.byte_add(offset).read_volatile() })
    }

    /// Sets one counter of an entry, by its offset in bytes, in a mapping made by [`Mapped::writable`].
    pub(crate) fn set_word(&self, index: usize, offset: usize, value: u64) {
        assert!(offset.is_multiple_of(8) && offset < size_of::<T>());
        if let Some(entry) = self.entry(index) {
            let target = entry.cast::<u64>().cast_mut();
            // SAFETY: the offset lies within `T` and is aligned to eight, as the entry is; nobody has a reference into it.
            unsafe { target.byte_add(offset).write_volatile(value) };
        }
    }

    /// A copy of an entry; none beyond the end. Each counter is read whole, one after the other.
    pub(crate) fn read(&self, index: usize) -> Option<T> {
        let source = self.entry(index)?.cast::<u64>();
        let mut copy = core::mem::MaybeUninit::<T>::uninit();
        for word in 0..size_of::<T>() / 8 {
            // SAFETY: both lie within `T`, whose size is a multiple of eight; the source is aligned to eight.
            unsafe {
                copy.as_mut_ptr()
                    .cast::<u64>()
                    .add(word)
                    .write(source.add(word).read_volatile());
            }
        }
        // SAFETY: every word was written, and every bit pattern is a value (`Counters`).
        Some(unsafe { copy.assume_init() })
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length, and nobody has a reference into it.
        if let Err(error) = unsafe { munmap(self.address, self.bytes) } {
            tracing::warn!(%error, "cannot unmap a BPF array");
        }
    }
}
