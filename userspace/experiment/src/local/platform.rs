//! The platform: opens a run on this machine, starts its replicas, ends them all.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Duration;

use galileo_wire::clock::boot_ns;
use rustix::time::{ClockId, clock_gettime};

use super::accounting::{self, Accounted};
use super::cgroup::Cgroup;
use super::clean::MARK;
use super::error::{Error, Result};
use super::exec::Request;
use super::guard::{Charge, Guard};
use super::limits::{Limited, Limits};
use super::output::Output;
use super::owner::Owner;
use super::ports;
use super::process::Launch;
use super::replica::{Inner, Port, Replica, ReplicaSpec};
use super::stop::{self, StopReport};
use super::tree::{GUARD, SELF, Standing, Tree};

/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a run is called and where it keeps its things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Names the run: its cgroup and its folder.
    pub run_id: String,
    /// Folder that has a folder `<run_id>` per run, for its owner file and the output of its replicas.
    pub state_dir: PathBuf,
    /// Cgroup to make the run's cgroups in, as a path below the cgroup2 mount. It must exist. None for the root of
    /// the hierarchy, or the own cgroup if only that may be written.
    pub cgroup_parent: Option<PathBuf>,
    /// Program whose `main` calls [`super::helper_main`] first.
    pub helper: PathBuf,
}

impl Options {
    /// With the running program as helper and no particular cgroup parent.
    #[must_use]
    pub fn new(run_id: impl Into<String>, state_dir: impl Into<PathBuf>) -> Self {
        let helper = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
        Self {
            run_id: run_id.into(),
            state_dir: state_dir.into(),
            cgroup_parent: None,
            helper,
        }
    }
}

/// A run on this machine.
///
/// Dropping it kills its replicas; [`LocalPlatform::stop`] gives them time to end by themselves.
#[derive(Debug)]
pub struct LocalPlatform {
    options: Options,
    folder: PathBuf,
    place: Place,
    replicas: Vec<(Arc<Inner>, JoinHandle<()>)>,
    owner: Option<Owner>,
}

#[derive(Debug)]
enum Place {
    Cgroups(Box<Grounds>),
    Processes { why: String },
}

/// What a run with cgroups stands on.
#[derive(Debug)]
struct Grounds {
    tree: Tree,
    own: Cgroup,
    /// None once it was dismissed.
    guard: Option<Guard>,
}

impl LocalPlatform {
    /// Opens a run: makes its folder and its cgroups, sets a guard, and moves this process into the run's `self`.
    ///
    /// # Errors
    /// If the run is in progress or has left something, if `cgroup_parent` cannot be used, if the helper is none.
    pub fn open(options: Options) -> Result<Self> {
        check_name("run", &options.run_id)?;
        let folder = options.state_dir.join(&options.run_id);
        let owner = Owner::take(&folder, &options.run_id)?;
        let place = match Self::place(&options, &folder, &owner) {
            Ok(place) => place,
            Err(error) => {
                // The reason counts; an owner file without a lock is a dead run's.
                let _ = owner.release();
                return Err(error);
            }
        };
        Ok(Self {
            options,
            folder,
            place,
            replicas: Vec::new(),
            owner: Some(owner),
        })
    }

    fn place(options: &Options, folder: &Path, owner: &Owner) -> Result<Place> {
        let tree = match Tree::open(options.cgroup_parent.as_deref(), &options.run_id)? {
            Standing::Cgroups(tree) => tree,
            Standing::Processes(why) => return Ok(Place::Processes { why }),
        };
        owner.name_in(&tree.run());
        let charge = Charge {
            run_id: options.run_id.clone(),
            base: tree.base.clone(),
            home: tree.home.clone(),
            owner: owner.path().to_owned(),
            log: folder.join("guard.log"),
        };
        let guarded = tree
            .cgroup(SELF)
            .and_then(|own| Ok((own, Guard::start(&options.helper, &charge)?)));
        match guarded {
            Ok((own, guard)) => Ok(Place::Cgroups(Box::new(Grounds {
                tree,
                own,
                guard: Some(guard),
            }))),
            Err(error) => {
                tree.dissolve(Some(SELF), PATIENCE);
                Err(error)
            }
        }
    }

    /// The folder of the run, which output files and the owner file are in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The cgroup that Galileo itself is in during the run; none where there are none to be had.
    #[must_use]
    pub fn own_cgroup(&self) -> Option<&Cgroup> {
        match &self.place {
            Place::Cgroups(grounds) => Some(&grounds.own),
            Place::Processes { .. } => None,
        }
    }

    /// What Galileo itself used: since the opening what all its processes in `self` did, or, without cgroups, this
    /// process since its start.
    ///
    /// # Errors
    /// If the account cannot be read.
    pub fn own_usage(&self) -> Result<Accounted> {
        if let Some(own) = self.own_cgroup() {
            return accounting::of_cgroup(&own.folder, None)
                .map_err(|source| Error::at("read the CPU time of", &own.folder, source));
        }
        let begin_ns = boot_ns();
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let cpu_ns = used.tv_sec.unsigned_abs() * 1_000_000_000 + used.tv_nsec.unsigned_abs();
        Ok(Accounted {
            cpu_ns,
            throttled_ns: None,
            begin_ns,
            end_ns: boot_ns(),
        })
    }

    /// What cannot be seen of the replicas here, one sentence each with the reason; empty where they have cgroups.
    #[must_use]
    pub fn visibility(&self) -> Vec<String> {
        let Place::Processes { why } = &self.place else {
            return Vec::new();
        };
        vec![
            format!("Replicas have no cgroups of their own: {why}."),
            "Their CPU time is read from /proc, in steps of the clock tick (10 ms as a rule) per process.".to_owned(),
            "The kernel's probes cannot tell them apart: no network bytes, exchanges, waits or interference per replica."
                .to_owned(),
            "CPU and memory limits cannot be set.".to_owned(),
        ]
    }

    /// The replicas started so far.
    pub fn replicas(&self) -> impl Iterator<Item = Replica> + '_ {
        self.replicas.iter().map(|(inner, _)| Replica {
            inner: Arc::clone(inner),
        })
    }

    /// Starts a replica. It is its command when this returns, and not necessarily ready. Blocks for the milliseconds
    /// that this takes.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::PortTaken`], [`Error::Limit`], [`Error::Start`] (no such command, no such CPU, …),
    /// [`Error::Io`]. Nothing of the replica is left then.
    pub fn start(&mut self, spec: ReplicaSpec) -> Result<Replica> {
        check_name("replica", &spec.name)?;
        let port = self.port(&spec)?;
        let limits = Limits {
            cpu: spec.cpu_limit,
            memory_bytes: spec.memory_limit_bytes,
        };
        let (cgroup, limited) = match &self.place {
            Place::Cgroups(grounds) => {
                let tree = &grounds.tree;
                let cgroup = tree.create(&spec.name)?;
                match limits.apply(tree, &spec.name) {
                    Ok(limited) => (Some(cgroup), limited),
                    Err(error) => return Err(self.undo(&spec.name, error)),
                }
            }
            Place::Processes { why } if !limits.none() => {
                let what = if limits.cpu.is_some() {
                    "CPU"
                } else {
                    "memory"
                };
                let why = format!("{why}; run galileo as root, or in a delegated cgroup");
                return Err(Error::Limit {
                    replica: spec.name,
                    what,
                    why,
                });
            }
            Place::Processes { .. } => (None, Limited::default()),
        };
        match self.launch(&spec, port, cgroup, limited) {
            Ok(replica) => Ok(replica),
            Err(error) => Err(self.undo(&spec.name, error)),
        }
    }

    fn launch(
        &mut self,
        spec: &ReplicaSpec,
        port: Option<u16>,
        cgroup: Option<Cgroup>,
        limited: Limited,
    ) -> Result<Replica> {
        let output = Output::of(&self.folder, &spec.name);
        let mut join: Vec<PathBuf> = Vec::new();
        if let Some(cgroup) = &cgroup {
            join.push(cgroup.folder.clone());
            join.extend(limited.twins(&cgroup.folder));
        }
        let request = Request {
            join,
            cpus: spec.cpus.clone(),
            cwd: spec.cwd.clone(),
            parent: std::process::id(),
            supervise: cgroup.is_none(),
        };
        let mut env: std::collections::BTreeMap<OsString, OsString> = spec
            .env
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        env.insert(
            MARK.into(),
            format!("{}/{}", self.options.run_id, spec.name).into(),
        );
        env.extend(port.map(|port| ("PORT".into(), port.to_string().into())));
        let launch = Launch {
            helper: &self.options.helper,
            request,
            argv: &spec.argv,
            env,
            output: &output,
        };
        let launched = launch.start().map_err(|reason| Error::Start {
            replica: spec.name.clone(),
            reason,
        })?;
        let pid = launched.pid;
        let watch = launched
            .watch(limited.clone())
            .map_err(|source| Error::Io {
                doing: format!("watch over {}", spec.name),
                source,
            })?;
        let inner = Arc::new(Inner {
            name: spec.name.clone(),
            pid,
            port,
            cgroup,
            limited,
            output,
            exit: watch.exit,
            supervisor: watch.supervisor,
            highest_cpu_ns: AtomicU64::new(0),
        });
        self.replicas.push((Arc::clone(&inner), watch.thread));
        Ok(Replica { inner })
    }

    /// Takes back what was made for a replica that cannot be started.
    fn undo(&self, name: &str, error: Error) -> Error {
        if let Place::Cgroups(grounds) = &self.place {
            // If this does not work now, the end of the run does it.
            let _ = grounds.tree.remove_replica(name, PATIENCE);
        }
        error
    }

    fn port(&self, spec: &ReplicaSpec) -> Result<Option<u16>> {
        let ours: Vec<u16> = self
            .replicas
            .iter()
            .filter_map(|(replica, _)| replica.port)
            .collect();
        match spec.port {
            Port::None => Ok(None),
            Port::Free => ports::find_free(&ours)
                .map(Some)
                .ok_or_else(|| Error::Start {
                    replica: spec.name.clone(),
                    reason: "no port is free".to_owned(),
                }),
            Port::Fixed(port) => {
                let holder = self
                    .replicas
                    .iter()
                    .find(|(replica, _)| {
                        replica.port == Some(port) && replica.exit.borrow().is_none()
                    })
                    .map(|(replica, _)| ports::Holder {
                        pid: replica.pid,
                        program: replica.name.clone(),
                    });
                if holder.is_none() && ports::is_free(port) {
                    return Ok(Some(port));
                }
                let holder = holder.or_else(|| ports::holder(port));
                Err(Error::PortTaken {
                    replica: spec.name.clone(),
                    port,
                    holder,
                })
            }
        }
    }

    /// Ends the run: SIGTERM to every process of every replica, SIGKILL to those that are still there after `grace`.
    /// Then no process and no cgroup of the run is left; its output files are.
    ///
    /// If the future is dropped the stop goes on in the background.
    pub async fn stop(mut self, grace: Duration) -> StopReport {
        let stopping = tokio::task::spawn_blocking(move || self.close(grace));
        stopping.await.unwrap_or_else(|error| StopReport {
            replicas: Vec::new(),
            problems: vec![format!("stopping failed: {error}")],
        })
    }

    fn close(&mut self, grace: Duration) -> StopReport {
        let mut report = stop::end_all(std::mem::take(&mut self.replicas), grace);
        if let Place::Cgroups(grounds) = &mut self.place
            && let Some(guard) = grounds.guard.take()
        {
            // The guard stays on duty to the last: this process may be killed at any moment.
            let (_, left) = grounds.tree.vacate(Some(SELF), Some(GUARD), PATIENCE);
            if let Err(error) = guard.dismiss(left.is_empty()) {
                report
                    .problems
                    .push(format!("the guard cannot be dismissed: {error}"));
            }
            // Finds nothing as a rule; what is in the way is tried again, and told if it stays.
            let (_, problems) = grounds.tree.dissolve(Some(SELF), PATIENCE);
            report.problems.extend(problems);
        }
        if let Some(owner) = self.owner.take()
            && let Err(error) = owner.release()
        {
            report
                .problems
                .push(format!("the owner file cannot be removed: {error}"));
        }
        for problem in &report.problems {
            tracing::warn!(run = %self.options.run_id, "{problem}");
        }
        report
    }
}

impl Drop for LocalPlatform {
    fn drop(&mut self) {
        if self.owner.is_some() {
            self.close(Duration::ZERO);
        }
    }
}

/// Names become folders, on cgroupfs too.
fn check_name(what: &'static str, name: &str) -> Result<()> {
    let fits = (1..=100).contains(&name.len())
        && !name.starts_with('.')
        && ![SELF, GUARD].contains(&name)
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if fits {
        Ok(())
    } else {
        Err(Error::Name {
            what,
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_their_folder_are_refused() {
        for name in [
            "",
            ".",
            "..",
            "a/b",
            ".hidden",
            "self",
            "guard",
            "a b",
            "ü",
            &"x".repeat(101),
        ] {
            assert!(check_name("run", name).is_err(), "{name}");
        }
        for name in ["web-0", "202611250242-1f3a", "a.b_c"] {
            assert!(check_name("run", name).is_ok(), "{name}");
        }
    }
}
