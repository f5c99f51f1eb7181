//! How the places that host the same service differ.

use galileo_wire::Histogram;
use galileo_wire::capture::{Replica, Service, Usage};

use crate::quantiles::{Quantiles, pool};
use crate::seconds;
use crate::services::{per_request_ms, waited_ns};

/// A service, place by place.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The service.
    pub service: String,
    /// What a place is: a node if the service runs on several, else a replica.
    pub by: Grouping,
    /// The places, in the order of their first replica.
    pub places: Vec<Place>,
    /// The two that differ most; none if fewer than two answered requests.
    pub difference: Option<Difference>,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouping {
    /// All replicas of a node together.
    Node,
    /// Replicas one by one.
    Replica,
}

/// What a service used at one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Name of the node or the replica.
    pub name: String,
    /// Replicas there.
    pub replicas: Vec<String>,
    /// Time on a CPU.
    pub cpu_seconds: Option<f64>,
    /// Requests answered.
    pub exchanges: Option<u64>,
    /// Time on a CPU per request.
    pub cpu_ms_per_request: Option<f64>,
    /// First byte of the request to last byte of the answer, all replicas of the place pooled.
    pub service_ms: Option<Quantiles>,
    /// Time waited for a CPU per request.
    pub wait_ms_per_request: Option<f64>,
    /// Of that, while another cgroup held the CPU.
    pub disturbed_ms_per_request: Option<f64>,
}

/// The slowest place against the fastest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// Index of the place with the longest mean service time.
    pub slower: usize,
    /// Index of the one with the shortest.
    pub faster: usize,
    /// Mean service time of the slower over that of the faster; at least 1.
    pub service_ratio: f64,
    /// The same of the 99th percentiles; may be below 1.
    pub p99_ratio: f64,
    /// CPU time per request of the slower over that of the faster.
    pub cpu_ratio: Option<f64>,
}

/// Compares the nodes of a service, or its replicas if they share one node.
#[must_use]
pub fn compare(name: &str, service: &Service) -> Comparison {
    let mut nodes: Vec<&str> = Vec::new();
    for replica in &service.replicas {
        if !nodes.contains(&replica.node.as_str()) {
            nodes.push(&replica.node);
        }
    }
    let (by, places) = if nodes.len() > 1 {
        let of_node = |node: &str| {
            service
                .replicas
                .iter()
                .filter(|replica| replica.node == node)
                .collect::<Vec<_>>()
        };
        (
            Grouping::Node,
            nodes
                .iter()
                .map(|node| place(node, &of_node(node)))
                .collect::<Vec<_>>(),
        )
    } else {
        (
            Grouping::Replica,
            service
                .replicas
                .iter()
                .map(|replica| place(&replica.name, &[replica]))
                .collect(),
        )
    };
    let difference = difference(&places);
    Comparison {
        service: name.to_owned(),
        by,
        places,
        difference,
    }
}

fn place(name: &str, replicas: &[&Replica]) -> Place {
    let usages: Vec<&Usage> = replicas
        .iter()
        .filter_map(|replica| replica.usage.as_ref())
        .collect();
    // A sum with a part that could not be seen would be too low without saying so.
    let sum = |figure: fn(&Usage) -> Option<u64>| -> Option<u64> {
        (usages.len() == replicas.len())
            .then(|| {
                usages
                    .iter()
                    .map(|usage| figure(usage))
                    .sum::<Option<u64>>()
            })
            .flatten()
    };
    let cpu_ns = sum(|usage| Some(usage.cpu_ns));
    let exchanges = sum(|usage| usage.exchanges);
    let service: Vec<&Histogram> = usages
        .iter()
        .filter_map(|usage| usage.service.as_ref())
        .collect();
    let per_request = |total: Option<u64>| total.and_then(|total| per_request_ms(total, exchanges));
    Place {
        name: name.to_owned(),
        replicas: replicas
            .iter()
            .map(|replica| replica.name.clone())
            .collect(),
        cpu_seconds: cpu_ns.map(seconds),
        exchanges,
        cpu_ms_per_request: per_request(cpu_ns),
        service_ms: Quantiles::of_histogram(&pool(service)),
        wait_ms_per_request: per_request(sum(waited_ns)),
        disturbed_ms_per_request: per_request(sum(|usage| {
            usage.waits.map(|waits| waits.other_cgroups_ns)
        })),
    }
}

fn difference(places: &[Place]) -> Option<Difference> {
    let timed = || {
        places
            .iter()
            .enumerate()
            .filter_map(|(index, place)| Some((index, place.service_ms?)))
    };
    let (slower, slow) = timed().max_by(|(_, a), (_, b)| a.mean.total_cmp(&b.mean))?;
    let (faster, fast) = timed().min_by(|(_, a), (_, b)| a.mean.total_cmp(&b.mean))?;
    if slower == faster || fast.mean <= 0.0 || fast.p99 <= 0.0 {
        return None;
    }
    let cpu_ratio = match (
        places[slower].cpu_ms_per_request,
        places[faster].cpu_ms_per_request,
    ) {
        (Some(slow), Some(fast)) if fast > 0.0 => Some(slow / fast),
        _ => None,
    };
    Some(Difference {
        slower,
        faster,
        service_ratio: slow.mean / fast.mean,
        p99_ratio: slow.p99 / fast.p99,
        cpu_ratio,
    })
}
