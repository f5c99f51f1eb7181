//! The runner: carries out a [`Plan`] on this machine and keeps what it sees.
//!
//! ```text
//! platform ─ replicas ─────────────┐
//! probes ── exchanges ──┐          │
//! load ──── traces ─────┼─→ recorder ─→ database
//! balancer ─ hops ──────┘
//! probes, accounts ─ readings at the begin and the end of the measured phase ─→ Capture
//! ```
//!
//! Reading order: [`live`] (what a watcher sees), [`session`] (the parts of a run), [`loading`] (of the probes), [`course`] (its
//! course) in [`phases`], [`deploy`], [`drive`] (load and balancer), [`observe`] and [`answered`] (exchanges), [`sampling`]
//! (telemetry), [`names`] (whose a cgroup is, [`births`] as they come), [`reading`] (of the probes and the kernel's accounts),
//! [`usage`] and [`preemption`] (from two of these to what a replica used), [`mod@cpus`] and [`closures`] (to what the CPUs did),
//! [`counted`] (to what was lost), [`network`] and [`system`] (to traffic, and to what is in no cgroup), [`own`] (to what Galileo
//! did), [`machine`]; [`captured`] (all of it together), `error`.

mod answered;
mod births;
mod captured;
mod closures;
mod counted;
mod course;
mod cpus;
mod deploy;
mod drive;
mod error;
mod live;
mod loading;
mod machine;
mod names;
mod network;
mod observe;
mod own;
mod phases;
mod preemption;
mod reading;
mod sampling;
mod session;
mod system;
mod usage;

use std::path::PathBuf;

use galileo_expdb::{Database, New, Status, new_id};
use galileo_wire::{Capture, WallClock, clock::boot_ns};
use tokio_util::sync::CancellationToken;

pub use error::{Ended, Error};
pub use live::{Live, Stage};
pub use machine::host;

use crate::plan::Plan;
use session::Session;

/// How a plan is carried out.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder that has a folder `<id>` per run: the output of its replicas, its report.
    pub data_dir: PathBuf,
    /// Cgroup to make the run's cgroups in, below the cgroup2 mount; none for the default.
    pub cgroup_parent: Option<PathBuf>,
    /// Program whose `main` calls [`crate::local::helper_main`] first.
    pub helper: PathBuf,
    /// The command line that repeats the run, for its report.
    pub command: String,
    /// Version of the program with its commit, for its report.
    pub version: String,
}

/// One run of a plan.
pub struct Runner {
    id: String,
    plan: Plan,
    options: Options,
    live: Live,
}

impl Runner {
    /// A run that has not begun.
    #[must_use]
    pub fn new(plan: Plan, options: Options) -> Self {
        let live = Live::new(&plan);
        Self {
            id: new_id(),
            plan,
            options,
            live,
        }
    }

    /// Identifies the run.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What a watcher sees of the run.
    #[must_use]
    pub fn live(&self) -> Live {
        self.live.clone()
    }

    /// Carries the plan out. Whatever the end, no process and no cgroup of the run is left.
    ///
    /// A run that ends early but measured something is no error: its capture is partial and says why. What was recorded
    /// and the capture are in the database.
    ///
    /// # Errors
    ///
    /// If nothing could be measured: a replica does not start or does not become ready, a port is taken, the database
    /// cannot be written.
    pub async fn run(
        self,
        database: &Database,
        cancel: CancellationToken,
    ) -> Result<Capture, Error> {
        let clock = WallClock::now();
        let started_ns = boot_ns();
        let new = New {
            id: self.id.clone(),
            name: self.plan.name.clone(),
            creator: whoami(),
            created_ns: started_ns,
            clock,
        };
        database.create_experiment(&new).await?;
        database.set_running(&self.id, started_ns).await?;
        let live = self.live.clone();
        let session = Session {
            id: self.id.clone(),
            plan: self.plan,
            options: self.options,
            live: self.live,
            clock,
            started_ns,
        };
        let outcome = session.carry_out(database, &cancel).await;
        let status = match &outcome {
            Ok(capture) if capture.partial => Status::Aborted,
            Ok(_) => Status::Finished,
            Err(Error::Cancelled) => Status::Aborted,
            Err(_) => Status::Failed,
        };
        let stored = match &outcome {
            Ok(capture) => database.put_metadata(&self.id, capture).await,
            Err(_) => Ok(()),
        };
        let closed = stored.and(database.finish(&self.id, status, boot_ns()).await);
        live.enter(Stage::Done);
        match (outcome, closed) {
            (outcome, Ok(())) => outcome,
            // What was measured is worth more than where it should have been kept.
            (Ok(mut capture), Err(error)) => {
                capture
                    .problems
                    .push(format!("The run could not be stored whole: {error}."));
                Ok(capture)
            }
            (Err(run), Err(error)) => {
                tracing::error!(%error, "the end of the run could not be stored");
                Err(run)
            }
        }
    }
}

/// The user, as the environment names it.
fn whoami() -> String {
    std::env::var("USER")
        .or_else(|_| std::env::var("LOGNAME"))
        .unwrap_or_else(|_| format!("uid {}", rustix::process::getuid().as_raw()))
}
