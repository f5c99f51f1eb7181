//! Who kept whom off a CPU.

use std::collections::BTreeMap;

use galileo_wire::Capture;

use crate::result::InterferenceResult;
use crate::seconds;
use crate::services::per_request_ms;

/// All pairs, longest wait first.
#[must_use]
pub fn interference(capture: &Capture) -> Vec<InterferenceResult> {
    let mut pairs: Vec<_> = capture
        .interference
        .iter()
        .map(|pair| InterferenceResult {
            victim: pair.victim.clone(),
            aggressor: pair.aggressor.clone(),
            wait_seconds: seconds(pair.wait_ns),
            limit_known: pair.limit_known,
        })
        .collect();
    pairs.sort_by(|a, b| {
        b.wait_seconds
            .total_cmp(&a.wait_seconds)
            .then_with(|| (&a.victim, &a.aggressor).cmp(&(&b.victim, &b.aggressor)))
    });
    pairs
}

/// Someone who waited for CPUs that others held.
#[derive(Debug, Clone, PartialEq)]
pub struct Disturbance {
    /// Who waited.
    pub victim: String,
    /// Whether it is a replica of a service of this run.
    pub is_replica: bool,
    /// How long altogether.
    pub wait_seconds: f64,
    /// For each of its requests, if it is a replica that answered some.
    pub wait_ms_per_request: Option<f64>,
    /// Who held the CPU and how long, longest first.
    pub aggressors: Vec<(String, f64)>,
}

/// Everybody who waited for others: replicas first, then by the length of the wait.
#[must_use]
pub fn disturbances(capture: &Capture) -> Vec<Disturbance> {
    let exchanges: BTreeMap<String, Option<u64>> = capture
        .services
        .iter()
        .flat_map(|(service, deployed)| {
            deployed
                .replicas
                .iter()
                .map(move |replica| (service, replica))
        })
        .map(|(service, replica)| {
            let exchanges = replica.usage.as_ref().and_then(|usage| usage.exchanges);
            (format!("{service}/{}", replica.name), exchanges)
        })
        .collect();
    let mut by_victim: BTreeMap<&str, Vec<(String, u64)>> = BTreeMap::new();
    for pair in capture.interference.iter().filter(|pair| pair.wait_ns > 0) {
        by_victim
            .entry(&pair.victim)
            .or_default()
            .push((pair.aggressor.clone(), pair.wait_ns));
    }
    let mut all: Vec<_> = by_victim
        .into_iter()
        .map(|(victim, mut aggressors)| {
            aggressors.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            let total: u64 = aggressors.iter().map(|(_, wait_ns)| wait_ns).sum();
            let replica = exchanges.get(victim);
            Disturbance {
                victim: victim.to_owned(),
                is_replica: replica.is_some(),
                wait_seconds: seconds(total),
                wait_ms_per_request: replica
                    .and_then(|exchanges| per_request_ms(total, *exchanges)),
                aggressors: aggressors
                    .into_iter()
                    .map(|(name, ns)| (name, seconds(ns)))
                    .collect(),
            }
        })
        .collect();
    all.sort_by(|a, b| {
        b.is_replica
            .cmp(&a.is_replica)
            .then_with(|| b.wait_seconds.total_cmp(&a.wait_seconds))
    });
    all
}
