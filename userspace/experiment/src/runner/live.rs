//! What a watcher sees of a run while it goes on.

use std::sync::{Arc, Mutex, PoisonError};

use galileo_load::Progress;

use crate::plan::Plan;

/// How far a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Cgroups are made and probes loaded.
    Preparing,
    /// A replica starts and is waited for.
    Starting {
        /// Which.
        replica: String,
    },
    /// Load runs that is not counted yet.
    WarmingUp {
        /// When it began, `CLOCK_BOOTTIME`.
        begin_ns: u64,
        /// When it ends.
        end_ns: u64,
    },
    /// What is measured happens now.
    Measuring {
        /// When it began.
        begin_ns: u64,
        /// When it ends, if that is known.
        end_ns: Option<u64>,
    },
    /// The last answers are waited for.
    Draining,
    /// Replicas end, and what is left is written.
    Storing,
    /// All is done.
    Done,
}

/// Cheap handles to what happens; clones see the same run.
#[derive(Clone)]
pub struct Live {
    stage: Arc<Mutex<Stage>>,
    workloads: Arc<[(String, Arc<Progress>)]>,
}

impl Live {
    pub(crate) fn new(plan: &Plan) -> Self {
        let workloads = plan
            .workloads
            .iter()
            .map(|workload| (workload.name.clone(), Arc::default()))
            .collect();
        Self {
            stage: Arc::new(Mutex::new(Stage::Preparing)),
            workloads,
        }
    }

    /// How far the run is.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The workloads by name, and what each has done so far.
    #[must_use]
    pub fn workloads(&self) -> &[(String, Arc<Progress>)] {
        &self.workloads
    }

    pub(crate) fn enter(&self, stage: Stage) {
        tracing::debug!(?stage, "next stage");
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }
}
