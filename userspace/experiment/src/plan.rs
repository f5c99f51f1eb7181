//! What a runner carries out: an experiment file (or a command to watch) settled for one machine.
//!
//! In a plan nothing is left to look up: each replica has its CPUs, each workload its service, and relative paths are
//! absolute. Only the ports of services with more than one replica are chosen when they start.

mod line;
mod record;

pub use record::{RecordError, record_plan};

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use galileo_load::schedule::{Arrival, Extent};

use crate::file::spec::{
    ExperimentFile, Limits, Node, Request, Service, Telemetry, Through, Workload,
};
use crate::file::{FileError, Secret};
use crate::local::{Health, Port, ReplicaSpec};

/// The machine that a plan is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name; it is the node of replicas that are not pinned.
    pub name: String,
    /// Numbers of the CPUs that are online.
    pub cpus: BTreeSet<u32>,
}

/// A checked experiment, settled for one machine.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The experiment's name.
    pub name: String,
    /// The nodes and their CPUs; among them the host with all of its CPUs, if a replica is not pinned.
    pub nodes: BTreeMap<String, Vec<u32>>,
    /// Services in the order in which they start.
    pub services: Vec<ServicePlan>,
    /// Workloads, all at once; none if the plan only observes.
    pub workloads: Vec<WorkloadPlan>,
    /// Load before the measured phase.
    pub warmup: Duration,
    /// Length of the measured phase if there are no workloads; none then: until the services end.
    pub observe: Option<Duration>,
    /// How instruments are read.
    pub telemetry: Telemetry,
    /// Exchanges that are stored one by one.
    pub stored_exchanges: u64,
    /// The experiment file with secrets masked; empty for a recorded command.
    pub file: String,
}

/// A service and its replicas.
#[derive(Debug, Clone, PartialEq)]
pub struct ServicePlan {
    /// Its name.
    pub name: String,
    /// Its replicas in order; at least one.
    pub replicas: Vec<ReplicaPlan>,
    /// The program and its arguments. The program is a bare name (looked for in PATH) or an absolute path.
    pub argv: Vec<String>,
    /// Absolute working directory.
    pub cwd: PathBuf,
    /// Environment variables to set, without PORT.
    pub env: BTreeMap<String, Secret>,
    /// When a replica counts as ready; without a port it is ready as soon as it runs.
    pub health: Health,
    /// How long it may take to become ready.
    pub ready_timeout: Duration,
    /// What each replica may use.
    pub limits: Limits,
}

/// One replica of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaPlan {
    /// `<service>-<n>`, n from 0.
    pub name: String,
    /// The node it is pinned to, or the host's name.
    pub node: String,
    /// The CPUs it is pinned to; none: it may run on any.
    pub cpus: Option<Vec<u32>>,
    /// Where it listens: with several replicas of a service, on a port that is chosen when it starts.
    pub port: Port,
    /// Its share in what the balancer passes on.
    pub weight: u32,
}

/// A workload and its name.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadPlan {
    /// `<service>`, or `<service>#<n>` with n from 1 in the file's order if there are several for the service.
    pub name: String,
    /// The service that is asked; it is in the plan and has a port.
    pub service: String,
    /// Which way requests take.
    pub through: Through,
    /// Clients that share the arrival process.
    pub clients: u32,
    /// What is asked.
    pub request: Request,
    /// When requests are due.
    pub arrival: Arrival,
    /// How long the measured phase of it is.
    pub extent: Extent,
    /// Seed of the arrival process.
    pub seed: u64,
    /// Requests under way at most.
    pub in_flight: u32,
    /// When a request without a whole answer is given up.
    pub timeout: Duration,
}

impl ServicePlan {
    /// What the local platform starts for one of the replicas, secrets revealed.
    #[must_use]
    pub fn spec(&self, replica: &ReplicaPlan) -> ReplicaSpec {
        ReplicaSpec {
            name: replica.name.clone(),
            argv: self.argv.clone(),
            env: self
                .env
                .iter()
                .map(|(name, value)| (name.clone(), value.reveal().to_owned()))
                .collect(),
            cwd: Some(self.cwd.clone()),
            cpus: replica.cpus.clone().unwrap_or_default(),
            port: replica.port,
            cpu_limit: self.limits.cpu,
            memory_limit_bytes: self.limits.memory.map(|memory| memory.0),
        }
    }
}

impl WorkloadPlan {
    /// What the load engine sends, secrets revealed. Through the balancer the path begins with `/function/<service>`.
    #[must_use]
    pub fn load_request(&self) -> galileo_load::Request {
        let Request {
            method,
            path,
            headers,
            body,
        } = &self.request;
        galileo_load::Request {
            method: method.clone(),
            path: match self.through {
                Through::Balancer => format!("/function/{}{path}", self.service),
                Through::Direct => path.clone(),
            },
            headers: headers
                .iter()
                .map(|(name, value)| (name.clone(), value.reveal().to_owned()))
                .collect(),
            body: body.clone().into_bytes(),
        }
    }

    /// How the workload is stored with a run.
    #[must_use]
    pub fn captured(&self) -> galileo_wire::capture::Workload {
        let (duration_ns, requests) = match self.extent {
            Extent::Duration(duration) => (
                Some(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
                None,
            ),
            Extent::Requests(requests) => (None, Some(requests)),
        };
        galileo_wire::capture::Workload {
            name: self.name.clone(),
            service: self.service.clone(),
            through: self.through.to_string(),
            clients: self.clients,
            arrival: self.arrival.to_string(),
            seed: self.seed,
            duration_ns,
            requests,
            sent: None,
        }
    }

    /// Length of its measured phase. For a number of requests that arrive at random it is the expected one.
    #[must_use]
    pub fn planned(&self) -> Duration {
        match self.extent {
            Extent::Duration(duration) => duration,
            Extent::Requests(requests) => match self.arrival {
                Arrival::Constant(rate) => Duration::from_nanos(rate.offset_ns(requests)),
                Arrival::Poisson(rate) => {
                    Duration::try_from_secs_f64(requests as f64 / rate.per_second())
                        .unwrap_or(Duration::MAX)
                }
            },
        }
    }

    /// Requests of its measured phase, and whether that is exact (else it is the mean of a random number).
    #[must_use]
    pub fn requests(&self) -> (u64, bool) {
        match (self.extent, self.arrival) {
            (Extent::Requests(requests), _) => (requests, true),
            (Extent::Duration(duration), Arrival::Constant(rate)) => {
                // Due are the k with offset(k) < duration: as many as the first k that is not. The product is near it;
                // the exact one is within a step or two.
                let end = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
                let mut count = (duration.as_secs_f64() * rate.per_second()) as u64;
                while count > 0 && rate.offset_ns(count - 1) >= end {
                    count -= 1;
                }
                while rate.offset_ns(count) < end {
                    count += 1;
                }
                (count, true)
            }
            (Extent::Duration(duration), Arrival::Poisson(rate)) => (
                (duration.as_secs_f64() * rate.per_second()).round() as u64,
                false,
            ),
        }
    }
}

impl Plan {
    /// Settles an experiment file for a machine.
    ///
    /// # Errors
    ///
    /// A node has CPUs that the machine lacks; the path of the file's folder is not UTF-8 and a program counts from it.
    pub fn of_file(file: &ExperimentFile, host: &Host) -> Result<Self, FileError> {
        file.check_cpus(&host.cpus)?;
        let services = file
            .services
            .iter()
            .map(|service| service_plan(file, service, host))
            .collect::<Result<Vec<_>, _>>()?;
        let mut nodes: BTreeMap<_, _> = file
            .nodes
            .iter()
            .map(|node| (node.name.clone(), node.cpus.clone()))
            .collect();
        let unpinned = |service: &ServicePlan| {
            service
                .replicas
                .iter()
                .any(|replica| replica.cpus.is_none())
        };
        if services.iter().any(unpinned) {
            nodes.insert(host.name.clone(), host.cpus.iter().copied().collect());
        }
        Ok(Self {
            name: file.name.clone(),
            nodes,
            services,
            workloads: workload_plans(&file.workloads),
            warmup: file.warmup,
            observe: file.duration,
            telemetry: file.telemetry,
            stored_exchanges: file.stored_exchanges,
            file: file.masked_source().to_owned(),
        })
    }

    /// Length of the measured phase: that of the longest workload, or for how long is observed. None: until the
    /// services end.
    #[must_use]
    pub fn measured(&self) -> Option<Duration> {
        self.workloads
            .iter()
            .map(WorkloadPlan::planned)
            .max()
            .or(self.observe)
    }

    /// From the first load to the end of the measured phase; none if it lasts until the services end.
    #[must_use]
    pub fn planned(&self) -> Option<Duration> {
        self.measured()
            .map(|measured| measured.saturating_add(self.warmup))
    }

    /// Whether the measured phase begins when the commands start: nothing is asked of them, so there is nothing that they
    /// had to be ready for.
    #[must_use]
    pub fn begins_with_its_commands(&self) -> bool {
        let mut replicas = self.services.iter().flat_map(|service| &service.replicas);
        self.workloads.is_empty()
            && self.warmup.is_zero()
            && replicas.all(|replica| replica.port == Port::None)
    }

    /// The seed that stands for the run: that of the first workload, 1 without any.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.workloads.first().map_or(1, |workload| workload.seed)
    }
}

fn service_plan(
    file: &ExperimentFile,
    service: &Service,
    host: &Host,
) -> Result<ServicePlan, FileError> {
    let mut argv = service.command.clone();
    if let Some(program) = argv.first_mut() {
        let not_text = || FileError::FolderNotText {
            path: file.path.clone(),
        };
        *program = resolved(program, &file.folder).ok_or_else(not_text)?;
    }
    let replicas = (0..service.replicas as usize)
        .map(|n| {
            let node = pinned_to(&file.nodes, &service.nodes, n);
            ReplicaPlan {
                name: format!("{}-{n}", service.name),
                node: node.map_or(&host.name, |node| &node.name).clone(),
                cpus: node.map(|node| node.cpus.clone()),
                port: match service.port {
                    None => Port::None,
                    Some(port) if service.replicas == 1 => Port::Fixed(port),
                    Some(_) => Port::Free,
                },
                weight: service.weights.get(n).copied().unwrap_or(1),
            }
        })
        .collect();
    Ok(ServicePlan {
        name: service.name.clone(),
        replicas,
        argv,
        cwd: service
            .cwd
            .as_ref()
            .map_or(file.folder.clone(), |cwd| file.folder.join(cwd)),
        env: service.env.clone(),
        health: service.health.clone(),
        ready_timeout: service.ready_timeout,
        limits: service.limits,
    })
}

fn pinned_to<'n>(nodes: &'n [Node], names: &[String], replica: usize) -> Option<&'n Node> {
    let name = names.get(replica.checked_rem(names.len())?)?;
    nodes.iter().find(|node| node.name == *name)
}

/// A program as it can be executed from any folder: relative paths count from `folder`, bare names are left for PATH. None
/// if the folder's path is not UTF-8.
fn resolved(program: &str, folder: &Path) -> Option<String> {
    if !program.contains('/') {
        return Some(program.to_owned());
    }
    // `components` drops the `.` of `./server`; joining an absolute path gives that path.
    folder
        .join(program)
        .components()
        .collect::<PathBuf>()
        .into_os_string()
        .into_string()
        .ok()
}

fn workload_plans(workloads: &[Workload]) -> Vec<WorkloadPlan> {
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    workloads
        .iter()
        .map(|workload| {
            let service = workload.service.as_str();
            let nth = seen.entry(service).and_modify(|nth| *nth += 1).or_insert(1);
            let several = workloads
                .iter()
                .filter(|other| other.service == service)
                .count()
                > 1;
            WorkloadPlan {
                name: if several {
                    format!("{service}#{nth}")
                } else {
                    service.to_owned()
                },
                service: workload.service.clone(),
                through: workload.through,
                clients: workload.clients,
                request: workload.request.clone(),
                arrival: workload.arrival,
                extent: workload.extent,
                seed: workload.seed,
                in_flight: workload.in_flight,
                timeout: workload.timeout,
            }
        })
        .collect()
}
