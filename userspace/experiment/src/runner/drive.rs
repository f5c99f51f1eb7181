//! Load and balancer of a run.

use std::{net::SocketAddr, time::Duration};

use galileo_balancer::{Config, HopReceiver, InProcessWeights, hop_channel};
use galileo_expdb::{Record, RecordSender};
use galileo_load::{Report, Running, Target, Workload};
use galileo_wire::Trace;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{Error, Live, deploy::Deployed, machine};
use crate::{
    file::spec::Through,
    plan::{Plan, WorkloadPlan},
};

/// Hops that may wait to be recorded.
const HOPS: usize = 65_536;
/// Traces that may wait to be recorded.
const TRACES: usize = 65_536;
/// Records taken from a channel at once.
const BATCH: usize = 1_024;

/// The balancer of a run and the way of its hops into the database.
pub(crate) struct Balancing {
    running: galileo_balancer::Running,
    // Held for the run: the source ends with its last handle.
    _weights: InProcessWeights,
    hops: JoinHandle<u64>,
}

impl Balancing {
    /// Starts a balancer in front of all replicas that have a port.
    pub(crate) fn start(deployed: &[Deployed], records: RecordSender) -> Result<Self, Error> {
        let weights = InProcessWeights::new();
        let mut services: Vec<&str> = deployed
            .iter()
            .map(|replica| replica.service.as_str())
            .collect();
        services.dedup();
        for service in services {
            let hosts: Vec<(SocketAddr, u32)> = deployed
                .iter()
                .filter(|replica| replica.service == service)
                .filter_map(|replica| Some((replica.replica.addr()?, replica.plan.weight)))
                .collect();
            if !hosts.is_empty() {
                weights.set(service, hosts)?;
            }
        }
        let (sender, receiver) = hop_channel(HOPS);
        let config = Config::new(SocketAddr::from(([127, 0, 0, 1], 0)), node_name());
        let running = galileo_balancer::start(config, weights.source(), sender)?;
        Ok(Self {
            running,
            _weights: weights,
            hops: tokio::spawn(record_hops(receiver, records)),
        })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.running.addr()
    }

    /// Stops it. Returns how many hops were dropped and how many requests were cut off.
    pub(crate) async fn stop(self, deadline: Duration) -> (u64, usize) {
        let drained = self.running.stop(deadline).await;
        // The channel ends with the balancer; a panic of the task was printed when it happened.
        (self.hops.await.unwrap_or(0), drained.left_in_flight)
    }
}

/// The host's name as a header may carry it.
fn node_name() -> String {
    let name: String = machine::hostname()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect();
    if name.is_empty() {
        "local".to_owned()
    } else {
        name
    }
}

async fn record_hops(mut receiver: HopReceiver, records: RecordSender) -> u64 {
    let mut batch = Vec::with_capacity(BATCH);
    while receiver.recv_many(&mut batch, BATCH).await > 0 {
        for hop in batch.drain(..) {
            // What the recorder cannot take it counts.
            records.record(Record::Hop(hop));
        }
    }
    receiver.dropped()
}

/// The load of a run.
pub(crate) struct Driving {
    workloads: Vec<Running>,
    traces: JoinHandle<()>,
}

impl Driving {
    /// Starts all workloads so that warm-up begins at `begin_ns`.
    pub(crate) fn start(
        plan: &Plan,
        deployed: &[Deployed],
        balancer: Option<SocketAddr>,
        begin_ns: u64,
        live: &Live,
        records: RecordSender,
        cancel: &CancellationToken,
    ) -> Result<Self, Error> {
        let (sender, receiver) = mpsc::channel(TRACES);
        let traces = tokio::spawn(record_traces(receiver, records));
        let mut workloads = Vec::new();
        for (index, (workload, (_, progress))) in
            plan.workloads.iter().zip(live.workloads()).enumerate()
        {
            let load = load(plan, workload, index, deployed, balancer, begin_ns);
            workloads.push(galileo_load::start(
                load,
                begin_ns,
                sender.clone(),
                progress.clone(),
                cancel,
            )?);
        }
        Ok(Self { workloads, traces })
    }

    /// Waits for the end of all workloads and of their traces' way into the database.
    pub(crate) async fn join(self) -> Result<Vec<Report>, Error> {
        let mut reports = Vec::with_capacity(self.workloads.len());
        for workload in self.workloads {
            reports.push(workload.join().await);
        }
        // Ends with the last sender. A panic of the task was printed when it happened; the ledgers of the load show what
        // has no trace.
        let _ = self.traces.await;
        Ok(reports.into_iter().collect::<Result<_, _>>()?)
    }
}

async fn record_traces(mut receiver: mpsc::Receiver<Trace>, records: RecordSender) {
    let mut batch = Vec::with_capacity(BATCH);
    while receiver.recv_many(&mut batch, BATCH).await > 0 {
        for trace in batch.drain(..) {
            // What the recorder cannot take it counts.
            records.record(Record::Trace(trace));
        }
    }
}

fn load(
    plan: &Plan,
    workload: &WorkloadPlan,
    index: usize,
    deployed: &[Deployed],
    balancer: Option<SocketAddr>,
    begin_ns: u64,
) -> Workload {
    let direct = || -> Vec<Target> {
        deployed
            .iter()
            .filter(|replica| replica.service == workload.service)
            .filter_map(|replica| replica.replica.addr())
            .map(Target::new)
            .collect()
    };
    let targets = match (workload.through, balancer) {
        (Through::Balancer, Some(addr)) => vec![Target::new(addr)],
        // The load engine refuses a workload without a target.
        (Through::Balancer, None) => Vec::new(),
        (Through::Direct, _) => direct(),
    };
    Workload {
        // An experiment file of at most 1 MiB has fewer than 2^16 workloads.
        index: index as u16,
        service: workload.service.clone(),
        clients: workload.clients,
        arrival: workload.arrival,
        warmup: plan.warmup,
        extent: workload.extent,
        seed: workload.seed,
        // The boot time at which load begins differs between any two runs of a machine.
        run_nonce: begin_ns,
        targets,
        request: workload.load_request(),
        in_flight: workload.in_flight as usize,
        timeout: workload.timeout,
        drain: DRAIN.min(workload.timeout),
    }
}

/// How long answers are waited for after the last request was due.
pub(crate) const DRAIN: Duration = Duration::from_secs(5);
