//! Array maps mapped into memory, so that reading them needs no system call: addresses are set aside for a whole array, and it
//! is mapped piece by piece, as far as it is used (see [`addresses`](crate::addresses)).

use std::{
    marker::PhantomData,
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
};

use aya::maps::MapData;
use rustix::{mm::ProtFlags, param::page_size};

use crate::{
    Error,
    addresses::{Addresses, descriptor},
    plain::{self, Plain},
};

/// What is mapped at once, unless a page is larger. Both are powers of two.
const PIECE: usize = 16 << 10;

/// An array map in memory. It consists of counters of 64 or 32 bits, which the kernel side writes with single stores or atomic
/// additions; here they are read and written as a whole, too, so that none is seen half written.
pub(crate) struct Mapped<T> {
    addresses: Addresses,
    entries: usize,
    /// Bytes of a piece, as a power of two: a division for each counter would take longer than reading it.
    piece: u32,
    /// Which pieces are mapped.
    pieces: Box<[bool]>,
    protection: ProtFlags,
    name: &'static str,
    map: MapData,
    kind: PhantomData<T>,
}

impl<T: Plain> Mapped<T> {
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
        let mut mapped = Self::writable(map, entries, name)?;
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
        // So all entries are aligned to eight, as the first is.
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        let entries = entries as usize;
        let bytes = (entries * size_of::<T>()).next_multiple_of(page_size());
        let addresses = Addresses::set_aside(bytes).map_err(|error| {
            Error::io(format!("set addresses aside for the array {name}"), error)
        })?;
        let piece = PIECE.max(page_size());
        Ok(Self {
            addresses,
            entries,
            piece: piece.ilog2(),
            pieces: vec![false; bytes.div_ceil(piece)].into(),
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
        let pieces = self.pieces.iter().filter(|mapped| **mapped);
        (pieces.count() << self.piece).min(self.addresses.bytes())
    }

    /// Makes an entry readable. Beyond the end there is nothing to do.
    #[inline]
    pub(crate) fn reach(&mut self, index: usize) -> Result<(), Error> {
        if index >= self.entries || self.is_mapped(index) {
            return Ok(());
        }
        self.map_pieces(index)
    }

    #[cold]
    fn map_pieces(&mut self, index: usize) -> Result<(), Error> {
        for piece in self.pieces_of(index) {
            if self.pieces[piece] {
                continue;
            }
            let begin = piece << self.piece;
            let bytes = (1 << self.piece).min(self.addresses.bytes() - begin);
            self.addresses
                .map(begin, bytes, self.protection, descriptor(&self.map), begin)
                .map_err(|error| {
                    Error::io(format!("map the array {} into memory", self.name), error)
                })?;
            self.pieces[piece] = true;
        }
        Ok(())
    }

    #[inline]
    fn pieces_of(&self, index: usize) -> std::ops::RangeInclusive<usize> {
        let begin = index * size_of::<T>();
        begin >> self.piece..=(begin + size_of::<T>() - 1) >> self.piece
    }

    #[inline]
    fn is_mapped(&self, index: usize) -> bool {
        index < self.entries && self.pieces_of(index).all(|piece| self.pieces[piece])
    }

    /// Where an entry begins; none beyond the end, or if it was not reached for.
    #[inline]
    fn entry(&self, index: usize) -> Option<NonNull<T>> {
        self.is_mapped(index)
            .then(|| self.addresses.pointer(index * size_of::<T>()))
    }

    /// Some counters of an entry that follow one another, by the offset of the first in bytes; none where
    /// [`Mapped::reach`] did not go. They are to be read only, unless the mapping is writable.
    #[inline]
    pub(crate) fn counters<const N: usize>(
        &self,
        index: usize,
        offset: usize,
    ) -> Option<&[AtomicU64; N]> {
        assert!(offset.is_multiple_of(8) && offset + N * 8 <= size_of::<T>());
        let entry = self.entry(index)?.cast::<[AtomicU64; N]>();
        // SAFETY: words of an entry that is mapped as long as `self` (`entry`), aligned to eight as all entries are (`with`). Nobody has
        // another reference to them, and the kernel side writes them with single stores and atomic additions.
        Some(unsafe { entry.byte_add(offset).as_ref() })
    }

    /// The same, as they are now.
    #[inline]
    pub(crate) fn words<const N: usize>(&self, index: usize, offset: usize) -> Option<[u64; N]> {
        let counters = self.counters(index, offset)?;
        Some(
            counters
                .each_ref()
                .map(|counter| counter.load(Ordering::Relaxed)),
        )
    }

    /// One counter of an entry.
    #[inline]
    pub(crate) fn word(&self, index: usize, offset: usize) -> Option<u64> {
        self.words::<1>(index, offset).map(|[word]| word)
    }

    /// Counters of an entry, by their offsets, that tell whether what is read belongs together, as the number of a seqlock does: what was
    /// read before them is not read after them, nor the other way round. x86 reads in order anyway; arm64 does so at barriers only.
    #[inline]
    pub(crate) fn guards<const N: usize>(
        &self,
        index: usize,
        offsets: [usize; N],
    ) -> Option<[u64; N]> {
        self.is_mapped(index).then(|| {
            fence(Ordering::Acquire);
            let guards = offsets.map(|offset| self.word(index, offset).unwrap_or(0));
            fence(Ordering::Acquire);
            guards
        })
    }

    /// Sets one counter of an entry, by its offset in bytes, in a mapping that is writable. Nothing happens where
    /// [`Mapped::reach`] did not go.
    pub(crate) fn set_word(&self, index: usize, offset: usize, value: u64) {
        assert!(self.protection.contains(ProtFlags::WRITE));
        if let Some([counter]) = self.counters(index, offset) {
            counter.store(value, Ordering::Relaxed);
        }
    }

    /// The same for a counter of 32 bits.
    pub(crate) fn set_half(&self, index: usize, offset: usize, value: u32) {
        assert!(offset.is_multiple_of(4) && offset + 4 <= size_of::<T>());
        assert!(self.protection.contains(ProtFlags::WRITE));
        if let Some(entry) = self.entry(index) {
            // SAFETY: as in `counters`, for half a word; nothing else is done to that word at the same time.
            let counter = unsafe { entry.cast::<AtomicU32>().byte_add(offset).as_ref() };
            counter.store(value, Ordering::Relaxed);
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
        let entry = self.entry(index)?.cast::<AtomicU64>();
        Some(plain::from_words(|at| {
            // SAFETY: as in `counters`; `from_words` asks for words of a value of this size only.
            unsafe { entry.add(at).as_ref() }.load(Ordering::Relaxed)
        }))
    }
}

/// Brings what was read of some counters up to date, and tells what it was if one had moved. They are compared one by one, without
/// a copy: reading together what was written in parts makes a processor wait for all of them.
#[inline]
pub(crate) fn catch_up<const N: usize>(
    seen: &mut [u64; N],
    counters: &[AtomicU64; N],
) -> Option<[u64; N]> {
    let mut difference = 0;
    for (seen, counter) in seen.iter().zip(counters) {
        difference |= *seen ^ counter.load(Ordering::Relaxed);
    }
    if difference == 0 {
        return None;
    }
    let before = *seen;
    for (seen, counter) in seen.iter_mut().zip(counters) {
        *seen = counter.load(Ordering::Relaxed);
    }
    Some(before)
}
