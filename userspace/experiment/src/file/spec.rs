//! What an experiment file says: its types, with defaults filled in.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use galileo_load::schedule::{Arrival, Extent};

use super::{Memory, Secret};
use crate::local::Health;

/// A checked experiment file. Names refer to what exists, counts and ports are in range.
#[derive(Debug, Clone)]
pub struct ExperimentFile {
    /// Where it was read from, as the caller named it.
    pub path: PathBuf,
    /// The folder of the file, absolute: relative paths of commands count from here.
    pub folder: PathBuf,
    /// `name`, or the stem of the file.
    pub name: String,
    /// Nodes in the order of the file.
    pub nodes: Vec<Node>,
    /// Services in the order of the file; at least one.
    pub services: Vec<Service>,
    /// Workloads in the order of the file; none if the experiment only observes.
    pub workloads: Vec<Workload>,
    /// Load before the measured phase.
    pub warmup: Duration,
    /// Length of the measured phase of an experiment without workloads; none with workloads.
    pub duration: Option<Duration>,
    /// How instruments are read.
    pub telemetry: Telemetry,
    /// Exchanges that are stored one by one.
    pub stored_exchanges: u64,
    pub(super) masked_source: String,
    /// The text, for problems that are found later (a CPU that this machine lacks).
    pub(super) source: Secret,
    pub(super) hidden: Vec<Range<usize>>,
}

/// Exchanges that are stored one by one unless another number is given.
pub const DEFAULT_STORED_EXCHANGES: u64 = 1_000_000;
/// The most that may be given.
pub const MOST_STORED_EXCHANGES: u64 = 1_000_000_000;

/// How instruments are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Telemetry {
    /// Time from one reading to the next.
    pub period: Duration,
    /// Measure what interrupts and softirqs take of each CPU.
    pub interrupts: bool,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            period: Duration::from_secs(1),
            // Its hooks run twice for each interrupt.
            interrupts: false,
        }
    }
}

/// A part of the machine that replicas are pinned to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Numbers of its CPUs, ascending; at least one.
    pub cpus: Vec<u32>,
    /// Where its CPUs stand in the text.
    pub(crate) cpus_span: Range<usize>,
}

/// A program that runs in one or more replicas.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The program and its arguments as written; at least the program.
    pub command: Vec<String>,
    /// Its port. With one replica the program binds it; with more each replica gets a port of its own.
    pub port: Option<u16>,
    /// Number of replicas.
    pub replicas: u32,
    /// Names of nodes: replica i is pinned to that at i mod their number. Empty: replicas run on any CPU.
    pub nodes: Vec<String>,
    /// Environment variables beside those Galileo was started with.
    pub env: BTreeMap<String, Secret>,
    /// When a replica counts as ready; without a port it is ready as soon as it runs.
    pub health: Health,
    /// How long it may take to become ready.
    pub ready_timeout: Duration,
    /// What a replica may use.
    pub limits: Limits,
    /// Shares of the replicas in what the balancer passes on, one per replica.
    pub weights: Vec<u32>,
    /// Working directory as written; the folder of the experiment file if not given.
    pub cwd: Option<PathBuf>,
}

/// What a replica may use; none is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// CPUs: 0.5 is half of one.
    pub cpu: Option<f64>,
    /// Memory.
    pub memory: Option<Memory>,
}

/// Load on a service.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// The service that is asked; it has a port.
    pub service: String,
    /// Which way requests take.
    pub through: Through,
    /// Clients that share the arrival process.
    pub clients: u32,
    /// What is asked.
    pub request: Request,
    /// When requests are due; its rate is the workload's total.
    pub arrival: Arrival,
    /// How long the measured phase of it is.
    pub extent: Extent,
    /// Seed of the arrival process.
    pub seed: u64,
    /// Requests under way at most; those due beyond it are dropped and counted.
    pub in_flight: u32,
    /// When a request without a whole answer is given up.
    pub timeout: Duration,
}

/// Which way the requests of a workload take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Through {
    /// By the balancer, by the replicas' weights.
    #[default]
    Balancer,
    /// Straight to the replicas in turn.
    Direct,
}

impl Through {
    pub(super) const ALL: [Self; 2] = [Self::Balancer, Self::Direct];

    /// The word in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Balancer => "balancer",
            Self::Direct => "direct",
        }
    }
}

impl fmt::Display for Through {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One HTTP request, sent over and over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Method in capitals.
    pub method: String,
    /// Path with the query, from the `/` on.
    pub path: String,
    /// Headers in the order of the file. Their values may be credentials, so they do not print.
    pub headers: Vec<(String, Secret)>,
    /// Body; empty if there is none.
    pub body: String,
}
