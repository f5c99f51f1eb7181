//! Addresses of this process at which parts of BPF maps are made visible.
//!
//! aya maps a whole ring and no array at all. Here addresses are set aside for as much as may be needed, which costs nothing,
//! and the kernel's memory is mapped there part by part: the kernel gives a process all pages of a mapping at once
//! (`remap_vmalloc_range`), so that each counts as the process' memory from then on, looked at or not.

use std::{
    ffi::c_void,
    os::fd::{AsFd, BorrowedFd},
    ptr::{self, NonNull},
};

use aya::maps::MapData;
use rustix::{
    io::Errno,
    mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap},
};

/// A stretch of addresses, in whole pages; nobody else uses it as long as this lives.
pub(crate) struct Addresses {
    start: NonNull<c_void>,
    bytes: usize,
    /// Whether mapping a part has failed: the kernel unmaps what was there before it finds out (`mmap_region` in mm/mmap.c, which
    /// newer kernels undo), so that those addresses may be anybody's.
    lost: bool,
}

// SAFETY: it is the only owner of its addresses, and they mean the same in every thread.
unsafe impl Send for Addresses {}
// SAFETY: as above; through a shared reference only pointers are made, which those that follow them answer for.
unsafe impl Sync for Addresses {}

impl Addresses {
    /// Sets so many bytes aside: a multiple of the page size. What is not mapped yet may not be touched.
    pub(crate) fn set_aside(bytes: usize) -> Result<Self, Errno> {
        // SAFETY: a new mapping at an address of the kernel's choice; it touches no memory of ours.
        let start = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                bytes,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        Self::owning(start, bytes)
    }

    /// Maps `bytes` of a map from `from` on, to be read, at addresses of their own; both are multiples of the page size. Unlike
    /// [`Addresses::map`] it takes nothing away where it fails.
    pub(crate) fn showing(bytes: usize, map: BorrowedFd<'_>, from: usize) -> Result<Self, Errno> {
        // SAFETY: a new mapping at an address of the kernel's choice; pointers into it (`Addresses::pointer`) are followed with in mind
        // that the pages change.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                bytes,
                ProtFlags::READ,
                MapFlags::SHARED,
                map,
                from as u64,
            )
        }?;
        Self::owning(start, bytes)
    }

    /// Of a new mapping.
    fn owning(start: *mut c_void, bytes: usize) -> Result<Self, Errno> {
        Ok(Self {
            start: NonNull::new(start).ok_or(Errno::NOMEM)?,
            bytes,
            lost: false,
        })
    }

    /// How many bytes these are.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Maps `bytes` of a map from `from` on to the addresses from `at` on, in place of what was mapped there; all three are
    /// multiples of the page size. Once that has failed it always does.
    ///
    /// # Panics
    ///
    /// If that goes beyond the end.
    pub(crate) fn map(
        &mut self,
        at: usize,
        bytes: usize,
        protection: ProtFlags,
        map: BorrowedFd<'_>,
        from: usize,
    ) -> Result<(), Errno> {
        assert!(at.checked_add(bytes).is_some_and(|end| end <= self.bytes));
        if self.lost {
            return Err(Errno::NOMEM);
        }
        // SAFETY: a part of the addresses that were set aside and are still ours, as nothing of them was lost, and nobody does the same
        // at this moment, as `self` is borrowed for it alone; pointers into it (`Addresses::pointer`) are followed with in mind that
        // the pages change.
        let mapped = unsafe {
            mmap(
                self.start.as_ptr().byte_add(at),
                bytes,
                protection,
                MapFlags::SHARED | MapFlags::FIXED,
                map,
                from as u64,
            )
        };
        self.lost = mapped.is_err();
        mapped.map(drop)
    }

    /// The address of something of type `T` that begins so many bytes after the first. What is not mapped may not be touched, and
    /// what is mapped changes at any time.
    ///
    /// # Panics
    ///
    /// If it goes beyond the end, or is not aligned as `T` is.
    #[inline]
    pub(crate) fn pointer<T>(&self, at: usize) -> NonNull<T> {
        assert!(
            at.checked_add(size_of::<T>())
                .is_some_and(|end| end <= self.bytes)
        );
        assert!(at.is_multiple_of(align_of::<T>()));
        // SAFETY: within the addresses that were set aside, which do not wrap around; the first is that of a page.
        unsafe { self.start.byte_add(at).cast() }
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        if self.lost {
            return;
        }
        // SAFETY: mapped in `set_aside` or `showing` with this length, and still ours; who keeps a pointer into it keeps this as well.
        if let Err(error) = unsafe { munmap(self.start.as_ptr(), self.bytes) } {
            tracing::warn!(%error, "cannot unmap a BPF map");
        }
    }
}

/// The descriptor of a map.
pub(crate) fn descriptor(map: &MapData) -> BorrowedFd<'_> {
    map.fd().as_fd()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use rustix::param::page_size;

    use super::*;

    fn is_mapped(address: usize) -> bool {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mut stretches = maps.lines().filter_map(|line| {
            let (begin, end) = line.split_once(' ')?.0.split_once('-')?;
            let number = |text| usize::from_str_radix(text, 16).unwrap();
            Some(number(begin)..number(end))
        });
        stretches.any(|stretch| stretch.contains(&address))
    }

    #[test]
    fn what_may_have_been_lost_by_a_mapping_that_failed_is_neither_mapped_again_nor_unmapped() {
        let page = page_size();
        let (program, null) = (
            File::open("/proc/self/exe").unwrap(),
            File::open("/dev/null").unwrap(),
        );
        let mut addresses = Addresses::set_aside(2 * page).unwrap();
        let mut map = |file: &File, at| addresses.map(at, page, ProtFlags::READ, file.as_fd(), 0);
        map(&program, 0).unwrap();
        assert_eq!(map(&null, page), Err(Errno::NODEV));
        assert_eq!(map(&program, page), Err(Errno::NOMEM));

        let first = addresses.pointer::<u8>(0).as_ptr().addr();
        drop(addresses);
        assert!(is_mapped(first));
    }
}
