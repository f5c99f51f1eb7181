//! The reading end of a ring buffer map.
//!
//! aya maps all of a ring, its data twice, and all of that counts as the process' memory: 17 MB for a ring of 8 MiB. Here a
//! window of the data is mapped and moved on with what is read, by two system calls for each 256 KiB of records.
//!
//! How the ring is laid out is said in kernel/bpf/ringbuf.c and by `struct bpf_ringbuf_hdr`: a page with the consumer's
//! position, one with the producers', and the data, which are there twice in a row, so that no record is split. Each record
//! begins with a word of its length and two marks, and a word for the kernel; the next one follows at a multiple of eight.

use std::{
    os::fd::BorrowedFd,
    ptr::NonNull,
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

/// Has the CPU fetch a record of this length which may lie there, before it is read: another CPU wrote it.
#[inline]
fn prefetch(record: *const u8, length: usize) {
    for at in (0..HEAD + length + LINE).step_by(LINE) {
        prefetch_line(record.wrapping_add(at));
    }
}

/// Has the CPU fetch a line, where it is known how to say so.
#[inline]
fn prefetch_line(line: *const u8) {
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
    window: Window,
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
        let mut positions = Addresses::set_aside(2 * page).map_err(failed)?;
        let rights = ProtFlags::READ | ProtFlags::WRITE;
        positions
            .map(0, page, rights, descriptor(&map), 0)
            .and_then(|()| positions.map(page, page, ProtFlags::READ, descriptor(&map), page))
            .map_err(failed)?;
        let mut consumer = Self {
            map,
            size,
            page,
            positions,
            window: Window::new(size, page),
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
    /// If the window cannot be moved. Nothing is lost then: it stays where it is, and the next call tries again.
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
            // SAFETY: `reach` mapped it. The kernel writes the word atomically, and what it wrote of the record before that is seen.
            let word = unsafe { head.as_ref() }.load(Ordering::Acquire);
            if word & BUSY != 0 {
                return Ok(None);
            }
            let length = (word & !DISCARD) as usize;
            if word & DISCARD != 0 {
                self.pass(length)?;
                continue;
            }
            let head = self.reach(HEAD + length)?.cast::<u8>().as_ptr();
            prefetch(head.wrapping_add(AHEAD * whole(length)), length);
            // SAFETY: `reach` mapped so many bytes. Nobody writes there before `pass` has told the kernel that they were read, and the
            // window stays where it is until the next `reach`.
            let made = read(unsafe { slice::from_raw_parts(head.add(HEAD), length) });
            self.pass(length)?;
            return Ok(Some(made));
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

    /// What is read next, so many bytes of which are mapped.
    fn reach(&mut self, bytes: usize) -> Result<NonNull<AtomicU32>, Error> {
        let at = self.read & (self.size - 1);
        self.window
            .reach(descriptor(&self.map), at, bytes)
            .map_err(|error| Error::io("read a ring buffer", error))
    }
}

/// The part of a ring's data that is mapped.
struct Window {
    page: usize,
    bytes: usize,
    /// Where in the data it begins, and its addresses; none before the first record.
    shown: Option<(usize, Addresses)>,
}

impl Window {
    /// Of a ring with data of this size.
    fn new(size: usize, page: usize) -> Self {
        Self {
            page,
            bytes: size.min(WINDOW) + page,
            shown: None,
        }
    }

    /// The record that begins at `at` in the data of this ring, so many bytes of which are mapped. The window is moved there unless
    /// it has them all, and stays where it is if that fails.
    #[inline]
    fn reach(
        &mut self,
        ring: BorrowedFd<'_>,
        at: usize,
        bytes: usize,
    ) -> Result<NonNull<AtomicU32>, Errno> {
        if let Some((begin, shown)) = &self.shown
            && at >= *begin
            && at - begin + bytes <= self.bytes
        {
            return Ok(shown.pointer(at - begin));
        }
        self.go(ring, at, bytes)
    }

    #[cold]
    fn go(
        &mut self,
        ring: BorrowedFd<'_>,
        at: usize,
        bytes: usize,
    ) -> Result<NonNull<AtomicU32>, Errno> {
        let begin = at - at % self.page;
        if at - begin + bytes > self.bytes {
            return Err(Errno::OVERFLOW);
        }
        // Elsewhere, as what is in the way of a mapping may be gone if that fails. It may go beyond the end by up to the whole data,
        // which are there a second time.
        let shown = Addresses::showing(self.bytes, ring, 2 * self.page + begin)?;
        let (_, shown) = self.shown.insert((begin, shown));
        Ok(shown.pointer(at - begin))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Seek, SeekFrom, Write},
        os::fd::AsFd,
    };

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    #[test]
    fn a_window_that_cannot_be_moved_stays_where_it_is_until_it_can() {
        let page = page_size();
        // Each word of it says where in the data it lies.
        let size = 2 * WINDOW;
        let mut ring = File::from(memfd_create("ring", MemfdFlags::CLOEXEC).unwrap());
        let words = (0..2 * size).step_by(4);
        let data: Vec<u8> = words.flat_map(|at| (at as u32).to_ne_bytes()).collect();
        ring.seek(SeekFrom::Start(2 * page as u64)).unwrap();
        ring.write_all(&data).unwrap();
        let refused = File::open("/dev/null").unwrap();

        let mut window = Window::new(size, page);
        let mut read = |from: &File, at| {
            let word = window.reach(from.as_fd(), at, HEAD)?;
            // SAFETY: `reach` mapped it.
            Ok(unsafe { word.as_ref() }.load(Ordering::Relaxed))
        };
        assert_eq!(read(&refused, 8), Err(Errno::NODEV));
        assert_eq!(read(&ring, 8), Ok(8));
        // In a window that begins with the first page.
        let beyond = WINDOW + page;
        for _ in 0..2 {
            assert_eq!(read(&refused, beyond), Err(Errno::NODEV));
            assert_eq!(read(&refused, beyond - HEAD), Ok((beyond - HEAD) as u32));
        }
        assert_eq!(read(&ring, beyond), Ok(beyond as u32));
        assert_eq!(read(&ring, size - HEAD), Ok((size - HEAD) as u32));
        assert_eq!(read(&ring, 0), Ok(0));
    }
}
