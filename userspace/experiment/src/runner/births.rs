//! Cgroups that replicas make below their own, named as they come: one that is gone before the next reading could not be named any more, and
//! what it used would be nobody's.
//!
//! The kernel tells of new folders by inotify, on cgroup file systems as on others. It tells later than it happens, so a cgroup that
//! lives for less than it takes to look at its folder is still missed.

use std::{
    collections::HashMap,
    ffi::OsStr,
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};

use super::names::Names;

/// Some hundred events at once.
const BUFFER: usize = 16 << 10;
/// After so many it is looked whether this is to end, however fast others come.
const MOST_EVENTS: usize = 1_000;

/// Names cgroups as they come until it is dropped.
pub(super) struct Births {
    /// Its other end tells the thread that this is gone.
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Births {
    /// Watches the folders of all replicas.
    pub(super) fn watch(names: Arc<Names>) -> io::Result<Self> {
        let watched = Watched {
            kernel: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            roots: names.folders(),
            folders: HashMap::new(),
            numbers: HashMap::new(),
            names,
        };
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC)?;
        let thread = thread::Builder::new()
            .name("cgroups".to_owned())
            .spawn(move || watched.run(&stopped))?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Births {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic was printed when it happened.
            let _ = thread.join();
        }
    }
}

struct Watched {
    kernel: OwnedFd,
    names: Arc<Names>,
    roots: Vec<PathBuf>,
    /// The folders by the kernel's numbers of watches, and the other way round.
    folders: HashMap<i32, PathBuf>,
    numbers: HashMap<PathBuf, i32>,
}

impl Watched {
    fn run(mut self, stopped: &OwnedFd) {
        for root in self.roots.clone() {
            self.add(&root);
        }
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        loop {
            let mut ready = [
                PollFd::new(&self.kernel, PollFlags::IN),
                PollFd::new(stopped, PollFlags::IN),
            ];
            match poll(&mut ready, None) {
                Err(Errno::INTR) => continue,
                Err(error) => {
                    tracing::warn!(%error, "new cgroups are named with readings only");
                    return;
                }
                Ok(_) => {}
            }
            if !ready[1].revents().is_empty() {
                return;
            }
            self.take(&mut buffer);
        }
    }

    /// Names what came.
    fn take(&mut self, buffer: &mut [MaybeUninit<u8>]) {
        let mut came = Vec::new();
        let mut overflowed = false;
        {
            let mut events = Reader::new(self.kernel.as_fd(), buffer);
            let mut left = MOST_EVENTS;
            // What was taken from the kernel is looked at in any case. It ends with "would block".
            while (left > 0 || !events.is_buffer_empty())
                && let Ok(event) = events.next()
            {
                left = left.saturating_sub(1);
                overflowed |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
                if event.events().contains(ReadFlags::IGNORED) {
                    // The folder is gone, and the watch with it.
                    if let Some(folder) = self.folders.remove(&event.wd())
                        && self.numbers.get(&folder) == Some(&event.wd())
                    {
                        self.numbers.remove(&folder);
                    }
                    continue;
                }
                let Some(folder) = self.folders.get(&event.wd()) else {
                    continue;
                };
                let Some(name) = event
                    .file_name()
                    .filter(|_| event.events().contains(ReadFlags::ISDIR))
                else {
                    continue;
                };
                let path = folder.join(OsStr::from_bytes(name.to_bytes()));
                if event.events().contains(ReadFlags::CREATE) {
                    // At once: it may not be there for long.
                    self.names.enter(&path);
                }
                came.push((path, event.events().contains(ReadFlags::CREATE)));
            }
        }
        for (path, is_there) in came {
            if is_there {
                self.add(&path);
            } else {
                self.forget(&path);
            }
        }
        if overflowed {
            for root in self.roots.clone() {
                self.add(&root);
            }
        }
    }

    /// Watches a folder and names it and those below it, which may have come before they could be watched.
    fn add(&mut self, folder: &Path) {
        let wanted = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::ONLYDIR;
        let number = match inotify::add_watch(&self.kernel, folder, wanted) {
            Ok(number) => number,
            // It is gone already.
            Err(Errno::NOENT) => return,
            Err(error) => {
                tracing::warn!(%error, folder = %folder.display(), "cgroups below it are named with readings only");
                return;
            }
        };
        self.names.enter(folder);
        self.folders.insert(number, folder.to_owned());
        self.numbers.insert(folder.to_owned(), number);
        for child in crate::local::cgroup::children(folder) {
            self.add(&child);
        }
    }

    fn forget(&mut self, folder: &Path) {
        if let Some(number) = self.numbers.remove(folder) {
            self.folders.remove(&number);
            // The kernel may have ended it with the folder.
            let _ = inotify::remove_watch(&self.kernel, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration, time::Instant};

    use galileo_probes::cgroup;

    use super::*;
    use crate::runner::names::{Named, Owner};

    #[test]
    fn a_folder_that_came_and_went_between_readings_has_its_name() {
        let tree = tempfile::tempdir().unwrap();
        let made = |path: &str| {
            let folder = tree.path().join(path);
            fs::create_dir(&folder).unwrap();
            cgroup::id(&folder).unwrap()
        };
        made("web-0");
        let early = made("web-0/early");
        let replica = Named {
            service: "web".to_owned(),
            replica: "web-0".to_owned(),
            path: Some("/web-0".to_owned()),
        };
        let names = Arc::new(Names::new(tree.path(), None, vec![replica]));
        let births = Births::watch(Arc::clone(&names)).unwrap();
        // Such folders' numbers are given again, unlike cgroups'.
        let named = |id, path: &str| {
            let began = Instant::now();
            while names.path(id) != path {
                assert!(began.elapsed() < Duration::from_secs(10), "{path}");
                thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(names.owner(id), Owner::Replica(0));
        };
        named(early, "/web-0/early");
        for turn in 0..100 {
            let (outer, inner) = (format!("web-0/{turn}"), format!("web-0/{turn}/inner"));
            named(made(&outer), &format!("/{outer}"));
            named(made(&inner), &format!("/{inner}"));
            fs::remove_dir(tree.path().join(&inner)).unwrap();
            fs::remove_dir(tree.path().join(&outer)).unwrap();
        }
        drop(births);
    }
}
