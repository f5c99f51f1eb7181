//! Network namespaces: each has interfaces, sockets and counters of its own, which only a thread inside can ask for.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
    thread,
};

use rustix::{
    net::{AddressFamily, SocketFlags, SocketType, netdevice::index_to_name, socket_with},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::{Error, traffic::Interface};

/// A network namespace; it stays as long as this does.
#[derive(Debug)]
pub struct NetworkNamespace {
    file: File,
    /// Its inode number, by which namespaces are told apart: the one in `/proc/PID/ns/net`.
    pub id: u64,
}

impl NetworkNamespace {
    /// That of a process.
    ///
    /// # Errors
    ///
    /// If the process is gone, or may not be looked at: that takes the right to trace it.
    pub fn of_process(pid: u32) -> Result<Self, Error> {
        Self::open(Path::new(&format!("/proc/{pid}/ns/net")))
    }

    /// That of the calling thread.
    ///
    /// # Errors
    ///
    /// If `/proc` is not mounted.
    pub fn own() -> Result<Self, Error> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// Those of all processes that may be looked at, by [`NetworkNamespace::id`]. A namespace that holds no process but is
    /// kept by a mount (`ip netns add`), or one that only a thread has entered, is not among them.
    ///
    /// # Errors
    ///
    /// If `/proc` cannot be read.
    pub fn all() -> Result<BTreeMap<u64, Self>, Error> {
        let mut found = BTreeMap::new();
        let processes =
            fs::read_dir("/proc").map_err(|error| Error::io("read the folder /proc", error))?;
        for process in processes.flatten() {
            let name = process.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // Processes go while this looks at them.
            let Ok(id) = fs::metadata(format!("/proc/{pid}/ns/net")).map(|file| file.ino()) else {
                continue;
            };
            if !found.contains_key(&id)
                && let Ok(namespace) = Self::of_process(pid)
            {
                found.insert(namespace.id, namespace);
            }
        }
        Ok(found)
    }

    fn open(path: &Path) -> Result<Self, Error> {
        let opened = File::open(path).and_then(|file| {
            let id = file.metadata()?.ino();
            Ok(Self { file, id })
        });
        opened.map_err(|error| Error::io(format!("open {}", path.display()), error))
    }

    /// The name that an interface has here at this moment; none if there is none of this number.
    ///
    /// # Errors
    ///
    /// As [`NetworkNamespace::inside`].
    pub fn interface_name(&self, interface: Interface) -> Result<Option<String>, Error> {
        self.inside(|| {
            let socket = socket_with(
                AddressFamily::INET,
                SocketType::DGRAM,
                SocketFlags::CLOEXEC,
                None,
            )?;
            match index_to_name(socket.as_fd(), interface.0) {
                Ok(name) => Ok(Some(name)),
                Err(rustix::io::Errno::NODEV) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })?
        .map_err(|error: io::Error| Error::io("ask for the name of an interface", error))
    }

    /// Runs `work` in a thread that is inside the namespace.
    ///
    /// # Errors
    ///
    /// If no thread can be started or it may not enter, which takes `CAP_SYS_ADMIN` unless it is the own namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let enter = || -> io::Result<()> {
            // The own one may be entered without any right.
            if Self::own().is_ok_and(|own| own.id == self.id) {
                return Ok(());
            }
            let kind = Some(LinkNameSpaceType::Network);
            Ok(move_into_link_name_space(self.file.as_fd(), kind)?)
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("network namespace".to_owned());
            let thread = thread
                .spawn_scoped(scope, || enter().map(|()| work()))
                .map_err(|error| Error::io("start a thread", error))?;
            match thread.join() {
                Ok(result) => {
                    result.map_err(|error| Error::io("enter the network namespace", error))
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}
