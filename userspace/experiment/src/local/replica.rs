//! A replica: one process of a service, with all that it starts.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::Pid;
use tokio::sync::watch;

use super::accounting::{self, Accounted};
use super::cgroup::{self, Cgroup};
use super::error::{Error, Result};
use super::limits::Limited;
use super::output::Output;
use super::process::ExitInfo;
use super::procfs;

/// What a replica is to be.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReplicaSpec {
    /// `<service>-<n>`: names its cgroup and its output files.
    pub name: String,
    /// The command: a program, looked up in `PATH` unless it has a slash, and its arguments.
    pub argv: Vec<String>,
    /// Added to Galileo's own environment.
    pub env: BTreeMap<String, String>,
    /// Folder to start in, which a relative program is relative to; none for Galileo's own.
    pub cwd: Option<PathBuf>,
    /// CPUs to pin it to; empty for no pinning.
    pub cpus: Vec<u32>,
    /// The port it is to listen on.
    pub port: Port,
    /// CPUs it may use, e.g. 0.5; none for no limit.
    pub cpu_limit: Option<f64>,
    /// Main memory it may use; none for no limit.
    pub memory_limit_bytes: Option<u64>,
}

/// The port of a replica. It is told in the variable `PORT`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Port {
    /// It has none.
    #[default]
    None,
    /// This one, which must be free.
    Fixed(u16),
    /// Any that is free.
    Free,
}

/// A replica that was started. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct Replica {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub name: String,
    pub pid: u32,
    pub port: Option<u16>,
    pub cgroup: Option<Cgroup>,
    pub limited: Limited,
    pub output: Output,
    pub exit: watch::Receiver<Option<ExitInfo>>,
    /// Process id of the supervisor and the channel to it, where there are no cgroups.
    pub supervisor: Option<(u32, UnixStream)>,
    /// The largest CPU time ever read: what is read from /proc may fall back by a tick.
    pub highest_cpu_ns: AtomicU64,
}

impl Replica {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The process that is (or was) the command.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.inner.pid
    }

    /// Its port, if it has one.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.inner.port
    }

    /// Where it is to be asked, if it has a port.
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        self.inner
            .port
            .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    }

    /// Its cgroup; none where there are none to be had.
    #[must_use]
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.inner.cgroup.as_ref()
    }

    /// Where its output is.
    #[must_use]
    pub fn output(&self) -> &Output {
        &self.inner.output
    }

    /// How its process ended, if it has. What that process started may live on.
    #[must_use]
    pub fn exited(&self) -> Option<ExitInfo> {
        *self.inner.exit.borrow()
    }

    /// Waits for the end of its process.
    pub async fn wait(&self) -> ExitInfo {
        let mut exit = self.inner.exit.clone();
        let unseen = ExitInfo {
            code: None,
            signal: None,
            oom_killed: false,
            at_ns: 0,
        };
        // The thread that tells does so before it ends.
        exit.wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|exit| *exit)
            .unwrap_or(unseen)
    }

    /// The processes that belong to it: those in its cgroup and below, or those descended from its command.
    #[must_use]
    pub fn members(&self) -> Vec<u32> {
        self.inner
            .members()
            .iter()
            .map(|pid| pid.as_raw_nonzero().get().cast_unsigned())
            .collect()
    }

    /// What it used since its start, by the kernel's accounting.
    ///
    /// # Errors
    /// If the platform was stopped, which removes the account.
    pub fn usage(&self) -> Result<Accounted> {
        self.inner.usage()
    }
}

impl Inner {
    pub(crate) fn members(&self) -> Vec<Pid> {
        match (&self.cgroup, &self.supervisor) {
            (Some(cgroup), _) => cgroup::members(&cgroup.folder),
            (None, Some((supervisor, _))) => procfs::descendants(*supervisor)
                .iter()
                .filter(|stat| stat.state != 'Z')
                .filter_map(|stat| Pid::from_raw(stat.pid))
                .collect(),
            (None, None) => Vec::new(),
        }
    }

    pub(crate) fn usage(&self) -> Result<Accounted> {
        match (&self.cgroup, &self.supervisor) {
            (Some(cgroup), _) => accounting::of_cgroup(&cgroup.folder, self.limited.cpu.as_deref())
                .map_err(|source| Error::at("read the CPU time of", &cgroup.folder, source)),
            (None, supervisor) => {
                let read = accounting::of_descendants(
                    supervisor.as_ref().map_or(self.pid, |(pid, _)| *pid),
                );
                let highest = self
                    .highest_cpu_ns
                    .fetch_max(read.cpu_ns, Ordering::Relaxed);
                Ok(Accounted {
                    cpu_ns: read.cpu_ns.max(highest),
                    ..read
                })
            }
        }
    }
}
