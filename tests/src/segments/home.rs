//! A cgroup for the test program itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use galileo_probes::cgroup::{self, CgroupId};

use crate::{leftovers, pod, wait};

/// While it lives, this process is in a cgroup of its own: the sockets that it makes belong to that.
///
/// Take the [`turn`](crate::turn) first, as all threads of the process move.
pub struct Home {
    folder: PathBuf,
    before: PathBuf,
    /// The kernel's id of the cgroup.
    pub id: CgroupId,
}

impl Home {
    /// Moves in.
    ///
    /// # Panics
    ///
    /// If there is no cgroup2 mount, or it may not be written to.
    #[must_use]
    pub fn enter() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        leftovers::sweep();
        let mount = cgroup::mount_point().expect("a cgroup2 mount");
        let before = pod::own_folder();
        let folder = mount.join(format!(
            "{}{}-{}-wire",
            leftovers::PREFIX,
            process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir(&folder)
            .unwrap_or_else(|error| panic!("cannot make {}: {error}", folder.display()));
        join(&folder).expect("this process may join its own cgroup");
        let id = cgroup::id(&folder).expect("the cgroup was just made");
        Self { folder, before, id }
    }

    /// Where it is: probes that are attached here see its sockets only.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

fn join(folder: &Path) -> std::io::Result<()> {
    fs::write(folder.join("cgroup.procs"), process::id().to_string())
}

impl Drop for Home {
    fn drop(&mut self) {
        let gone = wait::try_until(|| {
            join(&self.before).ok()?;
            fs::remove_dir(&self.folder).ok()
        });
        if gone.is_none() {
            eprintln!("cannot remove {}", self.folder.display());
        }
    }
}
