//! The reading end of a ring buffer map.
//!
//! aya maps all of a ring, its data twice, and all of that counts as the process' memory: 17 MB for a ring of 8 MiB. Here a
//! window of the data is mapped and moved on with what is read, by one system call for each 256 KiB of records.
//!
//! How the ring is laid out is said in kernel/bpf/ringbuf.c and by `struct bpf_ringbuf_hdr`: a page with the consumer's
//! position, one with the producers', and the data, which are there twice in a row, so that no record is split. Each record
//! begins with a word of its length and two marks, and a word for the kernel; the next one follows at a multiple of eight.

use std::{
    slice,
    sync::atomic::{AtomicU32, AtomicUsize, Ordering},
};

use aya::maps::MapData;
use rustix::{io::Errno, mm::ProtFlags, param::page_size};

use crate::{
    Error,
    addresses::{Addresses, descriptor},
};

/// `BPF_RINGBUF_BUSY_BIT`: it is still written.
const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: it is to be passed over.
const DISCARD: u32 = 1 << 30;
/// `BPF_RINGBUF_HDR_SZ`.
const HEAD: usize = 8;

/// Bytes of data that are mapped at a time, and a page more. Records must be shorter than this and than the ring.
const WINDOW: usize = 256 << 10;
/// After so many bytes of records the kernel is told that their place is free; at the latest when none are left. The word by
/// which it is told is read with every record that is written, so each change of it is paid for there, too.
const TELL: usize = 64 << 10;

/// Bytes of a cache line.
const LINE: usize = 64;

/// How many records ahead of the one that is read are fetched: reading one takes less time than fetching one.
const AHEAD: usize = 4;

/// Bytes that a record takes in the ring.
const fn whole(length: usize) -> usize {
    (HEAD + length).next_multiple_of(8)
}

/// Has the CPU fetch a line, where it is known how to say so.
#[inline]
fn prefetch(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: it does nothing that can be seen, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) };
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{line}]", line = in(reg) line, options(nostack, readonly, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = line;
}

/// The reading end. There must be one for a ring.
pub(crate) struct Consumer {
    map: MapData,
    /// Bytes of the ring's data: a power of two.
    size: usize,
    page: usize,
    /// The positions' pages.
    positions: Addresses,
    window: Addresses,
    /// Where in the data the window begins; none before the first record.
    begin: Option<usize>,
    /// Up to where records were read.
    read: usize,
    /// Up to where the kernel was told so.
    told: usize,
    /// Up to where records were written when it was last looked.
    written: usize,
}

impl Consumer {
    /// Begins where the last reader of this ring ended.
    pub(crate) fn new(map: MapData) -> Result<Self, Error> {
        let info = map
            .info()
            .map_err(|error| crate::probes::mismatch(&error))?;
        let (size, page) = (info.max_entries() as usize, page_size());
        let failed = |error| Error::io("map a ring buffer into memory", error);
        let positions = Addresses::set_aside(2 * page).map_err(failed)?;
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        positions
            .map(0, page, rights, descriptor(&map), 0)
            .and_then(|()| positions.map(page, page, ProtFlags::READ, descriptor(&map), page))
            .map_err(failed)?;
        let window = Addresses::set_aside(size.min(WINDOW) + page).map_err(failed)?;
        let mut consumer = Self {
            map,
            size,
            page,
            positions,
            window,
            begin: None,
            read: 0,
            told: 0,
            written: 0,
        };
        consumer.read = consumer.position(0).load(Ordering::Acquire);
        consumer.told = consumer.read;
        consumer.written = consumer.read;
        Ok(consumer)
    }

    /// The ring's map.
    pub(crate) fn map(&self) -> &MapData {
        &self.map
    }

    /// The position that stands at the beginning of a page: the consumer's in the first, the producers' in the second.
    fn position(&self, page: usize) -> &AtomicUsize {
        let position = self.positions.pointer::<AtomicUsize>(page * self.page);
        // SAFETY: it is mapped since `new` and as long as `self`, aligned, and a word that the kernel reads and writes
        // atomically. The producers' is only readable, and only read.
        unsafe { position.as_ref() }
    }

    /// Hands the next record to `read`; none if none is there that is finished.
    ///
    /// # Errors
    ///
    /// If the window cannot be moved; nothing is lost then.
    pub(crate) fn next<T>(&mut self, read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>, Error> {
        loop {
            if self.read == self.written {
                // What was written before this position is seen.
                self.written = self.position(1).load(Ordering::Acquire);
                if self.read == self.written {
                    return Ok(None);
                }
            }
            let head = self.reach(HEAD)?;
            let word = self.window.pointer::<AtomicU32>(head);
            // SAFETY: `reach` mapped it; records begin at multiples of eight. The kernel writes the word atomically, and what it
            // wrote of the record before that is seen.
            let word = unsafe { word.as_ref() }.load(Ordering::Acquire);
            if word & BUSY != 0 {
                return Ok(None);
            }
            let length = (word & !DISCARD) as usize;
            if word & DISCARD != 0 {
                self.pass(length)?;
                continue;
            }
            let head = self.reach(HEAD + length)?;
            let data = self.window.pointer::<u8>(head + HEAD);
            self.prefetch(head + AHEAD * whole(length), length);
            // SAFETY: `reach` mapped so many bytes. Nobody writes there before `pass` has told the kernel that they were read,
            // and the window stays where it is as long as the slice, which borrows `self`.
            let made = read(unsafe { slice::from_raw_parts(data.as_ptr(), length) });
            self.pass(length)?;
            return Ok(Some(made));
        }
    }

    /// Has the CPU fetch a record of this length which may lie there, before it is read: another CPU wrote it.
    #[inline]
    fn prefetch(&self, begin: usize, length: usize) {
        for at in (begin..begin + HEAD + length + LINE).step_by(LINE) {
            if at < self.window.bytes() {
                prefetch(self.window.pointer(at).as_ptr());
            }
        }
    }

    /// Tells the kernel which places are free.
    pub(crate) fn tell(&mut self) {
        if self.told != self.read {
            // After what was read of the records.
            self.position(0).store(self.read, Ordering::Release);
            self.told = self.read;
        }
    }

    /// Goes on behind a record.
    fn pass(&mut self, length: usize) -> Result<(), Error> {
        let whole = whole(length);
        if whole > self.size {
            return Err(Error::io("read a ring buffer", Errno::OVERFLOW));
        }
        self.read = self.read.wrapping_add(whole);
        if self.read.wrapping_sub(self.told) >= TELL.min(self.size / 8) {
            self.tell();
        }
        Ok(())
    }

    /// Where in the window that begins which is read next, so many bytes of which are mapped.
    fn reach(&mut self, bytes: usize) -> Result<usize, Error> {
        let at = self.read & (self.size - 1);
        if let Some(begin) = self.begin
            && at >= begin
            && at - begin + bytes <= self.window.bytes()
        {
            return Ok(at - begin);
        }
        let begin = at - at % self.page;
        if at - begin + bytes > self.window.bytes() {
            return Err(Error::io("read a ring buffer", Errno::OVERFLOW));
        }
        self.begin = None;
        // The window may go beyond the end by up to the whole data, which are there a second time.
        self.window
            .map(
                0,
                self.window.bytes(),
                ProtFlags::READ,
                descriptor(&self.map),
                2 * self.page + begin,
            )
            .map_err(|error| Error::io("map a ring buffer into memory", error))?;
        self.begin = Some(begin);
        Ok(at - begin)
    }
}
