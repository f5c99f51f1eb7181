//! Whether a cgroup still exists, by its id alone.
//!
//! The kernel opens a cgroup's folder by its id as it does for NFS servers (`open_by_handle_at`, kernfs since 5.5): some
//! microseconds for each. That takes `CAP_DAC_READ_SEARCH`; without it the tree of folders is walked, which takes longer.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{Access, AtFlags, accessat};

use crate::cgroup::{self, CgroupId};

/// `FILEID_KERNFS`: the handle is the 64-bit id.
const FILEID_KERNFS: i32 = 0xfe;

/// `struct file_handle` of fcntl.h with such an id.
#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    id: [u8; 8],
}

unsafe extern "C" {
    /// `open_by_handle_at(2)`, of the C library that the standard library is linked with.
    fn open_by_handle_at(mount_fd: i32, handle: *mut Handle, flags: i32) -> i32;
}

/// `O_PATH | O_DIRECTORY | O_CLOEXEC` of the machine.
const FLAGS: rustix::fs::OFlags = rustix::fs::OFlags::PATH
    .union(rustix::fs::OFlags::DIRECTORY)
    .union(rustix::fs::OFlags::CLOEXEC);

/// Asks for cgroups below one mount.
pub(crate) struct Presence {
    mount: PathBuf,
    /// None where cgroups cannot be asked for by id.
    root: Option<File>,
    /// What a walk found, for as long as it holds, and whether that is all there is.
    walked: Option<(HashMap<CgroupId, String>, bool)>,
}

impl Presence {
    /// For a cgroup2 mount.
    pub(crate) fn new(mount: &Path) -> Self {
        let root = File::open(mount).ok().filter(|root| {
            cgroup::id(mount).is_ok_and(|id| matches!(opened(root, id), Ok(Some(_))))
        });
        Self {
            mount: mount.to_path_buf(),
            root,
            walked: None,
        }
    }

    /// Whether one question costs no more than a few microseconds.
    pub(crate) fn is_cheap(&self) -> bool {
        self.root.is_some()
    }

    /// Begins a round of questions: what was found by walking is looked for again.
    pub(crate) fn begin(&mut self) {
        self.walked = None;
    }

    /// Whether the cgroup is gone. What cannot be found out is not gone.
    pub(crate) fn is_gone(&mut self, id: CgroupId) -> bool {
        if let Some(root) = &self.root {
            return match opened(root, id) {
                Ok(None) => true,
                // Kernels before 5.13 open a folder that was removed while something still refers to it: such a one is
                // empty.
                Ok(Some(folder)) => {
                    accessat(&folder, "cgroup.procs", Access::EXISTS, AtFlags::empty()).is_err()
                        && cgroup::id(&self.mount).ok() != Some(id)
                }
                Err(_) => false,
            };
        }
        let mount = &self.mount;
        let (walked, is_whole) = self
            .walked
            .get_or_insert_with(|| cgroup::walk(mount, mount));
        *is_whole && !walked.contains_key(&id)
    }
}

/// The folder of a cgroup; none if there is none.
fn opened(root: &File, id: CgroupId) -> io::Result<Option<OwnedFd>> {
    let mut handle = Handle {
        bytes: 8,
        kind: FILEID_KERNFS,
        id: id.0.to_ne_bytes(),
    };
    // SAFETY: the descriptor is open, and the handle is as long as it says.
    let fd = unsafe {
        open_by_handle_at(
            root.as_fd().as_raw_fd(),
            &raw mut handle,
            FLAGS.bits().cast_signed(),
        )
    };
    if fd >= 0 {
        // SAFETY: the kernel gave this descriptor to us alone.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }));
    }
    let error = io::Error::last_os_error();
    if error.kind() == io::ErrorKind::StaleNetworkFileHandle {
        return Ok(None);
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_as_the_kernel_reads_it() {
        assert_eq!(size_of::<Handle>(), 16);
        assert_eq!(std::mem::offset_of!(Handle, id), 8);
    }
}
