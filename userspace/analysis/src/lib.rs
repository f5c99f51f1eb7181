//! From the records of a run to its results: pure functions, no I/O, no clock.
//!
//! [`analyse`] gives the documented, stable results of a run ([`RunResult`], `schema` 1). [`insight()`] gives what the
//! report shows beside them: where the time of a request went, how nodes differ, and who disturbed whom.
//!
//! ```
//! use galileo_analysis::{analyse, insight};
//! # fn results(capture: &galileo_wire::Capture) -> galileo_analysis::RunResult {
//! let result = analyse(capture, &[], &[], &[]);
//! let beside = insight(capture, &[], &[], &[]);
//! assert!(beside.workloads.len() == result.workloads.len());
//! # result
//! # }
//! ```
//!
//! Reading order: [`result`] (what comes out), [`quantiles`], [`join`] (one request, one story), [`workloads`],
//! [`services`], [`cpus`], [`system`], [`ledger`] (sums that must hold), [`validity`]; then [`breakdown`], [`compare`], [`disturbance`],
//! put together in [`mod@insight`].

#![forbid(unsafe_code)]

pub mod breakdown;
pub mod compare;
pub mod cpus;
pub mod disturbance;
pub mod insight;
pub mod join;
pub mod ledger;
pub mod quantiles;
pub mod result;
pub mod services;
pub mod system;
pub mod validity;
pub mod workloads;

use galileo_wire::{Capture, Exchange, Hop, Trace};

pub use insight::{Insight, insight};
pub use quantiles::Quantiles;
pub use result::RunResult;

/// The results of a run, from what was counted (`capture`) and its single records.
///
/// Only what belongs to the measured phase counts; an exchange counts for the trace that it carries the id of, even
/// if it began in the drain.
#[must_use]
pub fn analyse(
    capture: &Capture,
    traces: &[Trace],
    hops: &[Hop],
    exchanges: &[Exchange],
) -> RunResult {
    let workloads = workloads::figures(capture, traces);
    let matched = join::join(traces, hops, exchanges);
    let (joined, uncertain) = (matched.joined(), matched.uncertain());
    let ledgers = ledger::ledgers(capture, &workloads, &matched);
    let invalid_reasons = validity::reasons(capture, &workloads, traces, &ledgers);
    RunResult {
        schema: result::SCHEMA,
        experiment: result::Experiment {
            id: capture.id.clone(),
            name: capture.name.clone(),
            started: result::rfc3339(capture.clock.unix_ns(capture.started_ns)),
            ended: result::rfc3339(capture.clock.unix_ns(capture.ended_ns)),
            partial: capture.partial,
            seed: capture.seed,
        },
        services: services::figures(capture),
        workloads,
        joined,
        uncertain,
        interference: disturbance::interference(capture),
        cpus: cpus::figures(capture),
        system: system::figures(capture),
        accounting: system::accounting(capture),
        losses: capture.losses.clone(),
        noticed: capture.noticed.clone(),
        not_stored: capture.not_stored,
        ledgers,
        unseen: capture.unseen.clone(),
        valid: invalid_reasons.is_empty(),
        invalid_reasons,
        own_cost: services::own_cost(&capture.own),
    }
}

/// Seconds of nanoseconds.
pub(crate) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Milliseconds of nanoseconds.
pub(crate) fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}
