//! Array maps mapped into memory, so that reading them needs no system call. aya has no call for that.
//!
//! The kernel gives a process all pages of a mapping at once (`remap_vmalloc_range`), so they count as the process'
//! memory whether they are looked at or not. Therefore addresses are set aside for a whole array, and it is mapped piece
//! by piece, as far as it is used.

use std::{
    marker::PhantomData,
    os::fd::AsFd,
    ptr,
    sync::atomic::{AtomicBool, Ordering},
};

use aya::maps::MapData;
use rustix::{
    mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap},
    param::page_size,
};

use crate::Error;

/// Types whose every bit pattern is a value and that consist of 64-bit (or pairs of 32-bit) counters, written by the
/// kernel side with single stores or atomic additions.
///
/// # Safety
///
/// Implement it for `#[repr(C)]` types of integers only, with a size and alignment that are multiples of eight.
pub(crate) unsafe trait Counters: Copy {}

// SAFETY: `#[repr(C)]`, integers only, sizes asserted in galileo-ebpf-abi; this and all below.
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
// SAFETY: as above.
unsafe impl Counters for galileo_ebpf_abi::TcpCounters {}
// SAFETY: as above.
unsafe impl Counters for galileo_ebpf_abi::Owner {}
// SAFETY: as above.
unsafe impl Counters for galileo_ebpf_abi::SlotLedger {}
// SAFETY: eight 64-bit integers.
unsafe impl Counters for [u64; 8] {}

/// What is mapped at once, unless a page is larger.
const PIECE: usize = 16 << 10;

/// An array map in memory.
pub(crate) struct Mapped<T> {
    address: *mut core::ffi::c_void,
    bytes: usize,
    entries: usize,
    piece: usize,
    /// Which pieces are mapped.
    pieces: Box<[AtomicBool]>,
    protection: ProtFlags,
    name: &'static str,
    map: MapData,
    kind: PhantomData<T>,
}

// SAFETY: the memory is only read and written by volatile accesses of whole words; it is valid in every thread until
// dropped.
unsafe impl<T: Counters> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T: Counters> Sync for Mapped<T> {}

impl<T: Counters> Mapped<T> {
    /// Sets aside addresses for all `entries` of an array made with `BPF_F_MMAPABLE`. [`Mapped::reach`] maps them.
    pub(crate) fn new(map: MapData, entries: u32, name: &'static str) -> Result<Self, Error> {
        Self::with(map, entries, name, ProtFlags::READ)
    }

    /// The same, so that what sets something works.
    pub(crate) fn writable(map: MapData, entries: u32, name: &'static str) -> Result<Self, Error> {
        Self::with(map, entries, name, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// As [`Mapped::writable`], all of it mapped.
    pub(crate) fn whole(map: MapData, entries: u32, name: &'static str) -> Result<Self, Error> {
        let mapped = Self::writable(map, entries, name)?;
        for entry in 0..mapped.entries {
            mapped.reach(entry)?;
        }
        Ok(mapped)
    }

    fn with(
        map: MapData,
        entries: u32,
        name: &'static str,
        protection: ProtFlags,
    ) -> Result<Self, Error> {
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        let entries = entries as usize;
        let bytes = (entries * size_of::<T>()).next_multiple_of(page_size());
        let piece = PIECE.next_multiple_of(page_size());
        // SAFETY: a new mapping at an address of the kernel's choice; it touches no memory of ours.
        let address = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                bytes,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }
        .map_err(|error| Error::io(format!("set addresses aside for the array {name}"), error))?;
        Ok(Self {
            address,
            bytes,
            entries,
            piece,
            pieces: (0..bytes.div_ceil(piece))
                .map(|_| AtomicBool::new(false))
                .collect(),
            protection,
            name,
            map,
            kind: PhantomData,
        })
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    /// Bytes that are mapped.
    pub(crate) fn mapped_bytes(&self) -> usize {
        let pieces = self
            .pieces
            .iter()
            .filter(|mapped| mapped.load(Ordering::Relaxed));
        (pieces.count() * self.piece).min(self.bytes)
    }

    /// Makes an entry readable. Beyond the end there is nothing to do.
    pub(crate) fn reach(&self, index: usize) -> Result<(), Error> {
        if index >= self.entries {
            return Ok(());
        }
        for piece in self.pieces_of(index) {
            if self.pieces[piece].load(Ordering::Acquire) {
                continue;
            }
            let offset = piece * self.piece;
            // SAFETY: a part of the addresses that were set aside, in which nothing is mapped yet, or the same by another
            // thread, whose pages this replaces by themselves.
            unsafe {
                mmap(
                    self.address.byte_add(offset),
                    self.piece.min(self.bytes - offset),
                    self.protection,
                    MapFlags::SHARED | MapFlags::FIXED,
                    self.map.fd().as_fd(),
                    offset as u64,
                )
            }
            .map_err(|error| {
                Error::io(format!("map the array {} into memory", self.name), error)
            })?;
            self.pieces[piece].store(true, Ordering::Release);
        }
        Ok(())
    }

    fn pieces_of(&self, index: usize) -> std::ops::RangeInclusive<usize> {
        let begin = index * size_of::<T>();
        begin / self.piece..=(begin + size_of::<T>() - 1) / self.piece
    }

    /// A pointer to an entry; none beyond the end, or if it was not reached for. What it points to changes at any time.
    fn entry(&self, index: usize) -> Option<*mut T> {
        if index >= self.entries {
            return None;
        }
        let mapped = self
            .pieces_of(index)
            .all(|piece| self.pieces[piece].load(Ordering::Acquire));
        // SAFETY: index < entries, so the address lies within what was set aside.
        mapped.then(|| unsafe { self.address.cast::<T>().add(index) })
    }

    /// One counter of an entry, by its offset in bytes; none where [`Mapped::reach`] did not go.
    pub(crate) fn word(&self, index: usize, offset: usize) -> Option<u64> {
        self.words::<1>(index, offset).map(|[word]| word)
    }

    /// Some counters of an entry that follow one another, by the offset of the first in bytes; none where
    /// [`Mapped::reach`] did not go.
    pub(crate) fn words<const N: usize>(&self, index: usize, offset: usize) -> Option<[u64; N]> {
        assert!(offset.is_multiple_of(8) && offset + N * 8 <= size_of::<T>());
        let source = self.entry(index)?.cast::<u64>();
        let mut words = [0; N];
        for (at, word) in words.iter_mut().enumerate() {
            // SAFETY: all lie within `T` and are aligned to eight, as the entry is.
            *word = unsafe { source.byte_add(offset).add(at).read_volatile() };
        }
        Some(words)
    }

    /// Sets one counter of an entry, by its offset in bytes, in a mapping that is writable. Nothing happens where
    /// [`Mapped::reach`] did not go.
    pub(crate) fn set_word(&self, index: usize, offset: usize, value: u64) {
        assert!(offset.is_multiple_of(8) && offset < size_of::<T>());
        assert!(self.protection.contains(ProtFlags::WRITE));
        if let Some(entry) = self.entry(index) {
            // SAFETY: the offset lies within `T` and is aligned to eight, as the entry is; nobody has a reference into it.
            unsafe {
                entry.cast::<u64>().byte_add(offset).write_volatile(value);
            }
        }
    }

    /// The same for a counter of 32 bits.
    pub(crate) fn set_half(&self, index: usize, offset: usize, value: u32) {
        assert!(offset.is_multiple_of(4) && offset < size_of::<T>());
        assert!(self.protection.contains(ProtFlags::WRITE));
        if let Some(entry) = self.entry(index) {
            // SAFETY: as in `set_word`, with four.
            unsafe {
                entry.cast::<u32>().byte_add(offset).write_volatile(value);
            }
        }
    }

    /// Sets all counters of an entry to 0 but the one at this offset, as [`Mapped::set_word`] does.
    pub(crate) fn clear(&self, index: usize, but: Option<usize>) {
        for offset in (0..size_of::<T>()).step_by(8) {
            if Some(offset) != but {
                self.set_word(index, offset, 0);
            }
        }
    }

    /// A copy of an entry; none where [`Mapped::reach`] did not go. Each counter is read whole, one after the other.
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
        // SAFETY: set aside in `with` with this length, and nobody has a reference into it.
        if let Err(error) = unsafe { munmap(self.address, self.bytes) } {
            tracing::warn!(%error, "cannot unmap a BPF array");
        }
    }
}
