//! What the report shows beside the stable results.

use galileo_wire::{Capture, Exchange, Hop, Outcome, Phase, Trace};

use crate::breakdown::{Breakdown, breakdown};
use crate::compare::{Comparison, compare};
use crate::disturbance::{Disturbance, disturbances};
use crate::join::{Joined, Story, join};
use crate::quantiles::{CurvePoint, Quantiles, curve, pool};
use crate::services::{per_request_ms, waited_ns};
use crate::workloads::{measured, response_ns, service_ns};
use crate::{milliseconds, seconds};

/// Points of a curve: enough that a figure of some hundred pixels is smooth.
const CURVE_POINTS: usize = 240;

/// What the report shows beside the stable results. Not a stable format.
#[derive(Debug, Clone, PartialEq)]
pub struct Insight {
    /// Length of the measured phase; none if it did not take place.
    pub measured_seconds: Option<f64>,
    /// Per service in the order of their names: the whole, and each replica.
    pub services: Vec<ServiceInsight>,
    /// Per workload in the file's order.
    pub workloads: Vec<WorkloadInsight>,
    /// How nodes (or replicas) of each service differ.
    pub comparisons: Vec<Comparison>,
    /// Who waited for whom.
    pub disturbances: Vec<Disturbance>,
}

/// A service as a whole. A sum is none if one of its replicas could not be seen.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceInsight {
    /// Its name.
    pub name: String,
    /// Time on a CPU of all replicas.
    pub cpu_seconds: Option<f64>,
    /// CPUs in use on average over the measured phase.
    pub cpus: Option<f64>,
    /// Requests answered.
    pub exchanges: Option<u64>,
    /// Time on a CPU per request.
    pub cpu_ms_per_request: Option<f64>,
    /// First byte of the request to last byte of the answer, all replicas pooled.
    pub service_ms: Option<Quantiles>,
    /// Its replicas in order.
    pub replicas: Vec<ReplicaInsight>,
}

/// A replica, beside its results.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaInsight {
    /// `<service>-<n>`.
    pub name: String,
    /// The node it ran on.
    pub node: String,
    /// CPUs in use on average over the measured phase.
    pub cpus: Option<f64>,
    /// CPUs that its limit allows, if limited.
    pub cpu_limit: Option<f64>,
    /// Time waited for a CPU per request.
    pub wait_ms_per_request: Option<f64>,
}

/// A workload, beside its results.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkloadInsight {
    /// Its name.
    pub name: String,
    /// The service asked.
    pub service: String,
    /// Whether its requests went through the balancer.
    pub through_balancer: bool,
    /// Response times (from the intended time) of the completed requests.
    pub response_curve: Vec<CurvePoint>,
    /// Service times (from the first byte written) of the same.
    pub service_curve: Vec<CurvePoint>,
    /// Where the time went, over all joined requests.
    pub breakdown: Option<Breakdown>,
    /// The same by the replica that answered, in the order of their names.
    pub by_replica: Vec<ReplicaBreakdown>,
    /// Age of the oldest unfinished request when it was given up: a lower bound of its latency.
    pub oldest_unfinished_ms: Option<f64>,
}

/// Where the time of the requests went that one replica answered.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplicaBreakdown {
    /// The replica.
    pub replica: String,
    /// Its node; empty if the replica is unknown.
    pub node: String,
    /// Where the time went.
    pub breakdown: Breakdown,
}

/// What the report shows beside the results, from the same records.
#[must_use]
pub fn insight(
    capture: &Capture,
    traces: &[Trace],
    hops: &[Hop],
    exchanges: &[Exchange],
) -> Insight {
    let joined = join(traces, hops, exchanges);
    let measured_ns = capture
        .window(Phase::Measured)
        .map(|window| window.end_ns.saturating_sub(window.start_ns))
        .filter(|length| *length > 0);
    Insight {
        measured_seconds: measured_ns.map(seconds),
        services: services(capture, measured_ns),
        workloads: workloads(capture, traces, &joined),
        comparisons: capture
            .services
            .iter()
            .map(|(name, service)| compare(name, service))
            .collect(),
        disturbances: disturbances(capture),
    }
}

fn services(capture: &Capture, measured_ns: Option<u64>) -> Vec<ServiceInsight> {
    let cpus = |cpu_ns: Option<u64>| Some(cpu_ns? as f64 / measured_ns? as f64);
    capture
        .services
        .iter()
        .map(|(name, service)| {
            let usages = || {
                service
                    .replicas
                    .iter()
                    .map(|replica| replica.usage.as_ref())
            };
            let cpu_ns: Option<u64> = usages().map(|usage| usage.map(|usage| usage.cpu_ns)).sum();
            let exchanges: Option<u64> = usages()
                .map(|usage| usage.and_then(|usage| usage.exchanges))
                .sum();
            let replicas = service.replicas.iter().map(|replica| {
                let usage = replica.usage.as_ref();
                ReplicaInsight {
                    name: replica.name.clone(),
                    node: replica.node.clone(),
                    cpus: cpus(usage.map(|usage| usage.cpu_ns)),
                    cpu_limit: replica.cpu_limit,
                    wait_ms_per_request: usage
                        .and_then(|usage| per_request_ms(waited_ns(usage)?, usage.exchanges)),
                }
            });
            ServiceInsight {
                name: name.clone(),
                cpu_seconds: cpu_ns.map(seconds),
                cpus: cpus(cpu_ns),
                exchanges,
                cpu_ms_per_request: cpu_ns.and_then(|cpu_ns| per_request_ms(cpu_ns, exchanges)),
                service_ms: Quantiles::of_histogram(&pool(
                    usages()
                        .flatten()
                        .filter_map(|usage| usage.service.as_ref()),
                )),
                replicas: replicas.collect(),
            }
        })
        .collect()
}

fn workloads(capture: &Capture, traces: &[Trace], joined: &Joined<'_>) -> Vec<WorkloadInsight> {
    capture
        .workloads
        .iter()
        .enumerate()
        .map(|(index, workload)| {
            let completed =
                || measured(traces, index).filter(|trace| trace.outcome == Outcome::Completed);
            let unfinished =
                measured(traces, index).filter(|trace| trace.outcome == Outcome::Unfinished);
            let stories: Vec<Story<'_>> = joined
                .stories
                .iter()
                .filter(|story| story.trace.workload as usize == index)
                .copied()
                .collect();
            WorkloadInsight {
                name: workload.name.clone(),
                service: workload.service.clone(),
                through_balancer: workload.through == "balancer",
                response_curve: sorted_curve(completed().filter_map(response_ns)),
                service_curve: sorted_curve(completed().filter_map(service_ns)),
                breakdown: breakdown(&stories),
                by_replica: by_replica(capture, &stories),
                oldest_unfinished_ms: unfinished.filter_map(response_ns).max().map(milliseconds),
            }
        })
        .collect()
}

fn sorted_curve(values: impl Iterator<Item = u64>) -> Vec<CurvePoint> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    curve(&values, CURVE_POINTS)
}

fn by_replica(capture: &Capture, stories: &[Story<'_>]) -> Vec<ReplicaBreakdown> {
    let mut names: Vec<&str> = stories
        .iter()
        .filter_map(|story| story.exchange.replica.as_deref())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter_map(|name| {
            let answered: Vec<Story<'_>> = stories
                .iter()
                .filter(|story| story.exchange.replica.as_deref() == Some(name))
                .copied()
                .collect();
            let replicas = capture
                .services
                .values()
                .flat_map(|service| &service.replicas);
            let node = replicas
                .into_iter()
                .find(|replica| replica.name == name)
                .map(|replica| replica.node.clone());
            let breakdown = breakdown(&answered)?;
            Some(ReplicaBreakdown {
                replica: name.to_owned(),
                node: node.unwrap_or_default(),
                breakdown,
            })
        })
        .collect()
}
