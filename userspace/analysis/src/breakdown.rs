//! Where the time of a workload's requests was spent.

use crate::join::{Parts, Story};
use crate::quantiles::Quantiles;

/// A part of a request's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Waiting at the client to be sent.
    Client,
    /// From the client to the balancer.
    ToBalancer,
    /// In the balancer and the network, there and back; without a balancer the network alone.
    Between,
    /// In the replica.
    Replica,
}

impl Part {
    /// All, in the order of the way there.
    pub const ALL: [Self; 4] = [Self::Client, Self::ToBalancer, Self::Between, Self::Replica];

    fn of(self, parts: &Parts) -> u64 {
        match self {
            Self::Client => parts.client_ns,
            Self::ToBalancer => parts.to_balancer_ns,
            Self::Between => parts.between_ns,
            Self::Replica => parts.replica_ns,
        }
    }
}

/// The time that requests spent in one part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PartTime {
    /// Which part.
    pub part: Part,
    /// Its share of the whole response time of all requests, 0 to 1.
    pub share: f64,
    /// Its distribution over the requests.
    pub ms: Quantiles,
}

/// The response time of joined requests, split.
#[derive(Debug, Clone, PartialEq)]
pub struct Breakdown {
    /// How many requests it is about.
    pub requests: u64,
    /// The whole response time.
    pub response_ms: Quantiles,
    /// Its parts; their means add up to the mean of the whole. Without a balancer, the way to it is absent.
    pub parts: Vec<PartTime>,
}

/// The breakdown of some stories; none if there are none.
#[must_use]
pub fn breakdown(stories: &[Story<'_>]) -> Option<Breakdown> {
    let mut totals: Vec<u64> = stories.iter().map(|story| story.parts.total_ns()).collect();
    let whole: u128 = totals.iter().copied().map(u128::from).sum();
    let response_ms = Quantiles::of(&mut totals)?;
    let through_balancer = stories.iter().any(|story| story.hop.is_some());
    let parts = Part::ALL
        .into_iter()
        .filter(|part| through_balancer || *part != Part::ToBalancer)
        .filter_map(|part| {
            let mut times: Vec<u64> = stories.iter().map(|story| part.of(&story.parts)).collect();
            let sum: u128 = times.iter().copied().map(u128::from).sum();
            let share = if whole == 0 {
                0.0
            } else {
                sum as f64 / whole as f64
            };
            Quantiles::of(&mut times).map(|ms| PartTime { part, share, ms })
        })
        .collect();
    Some(Breakdown {
        requests: stories.len() as u64,
        response_ms,
        parts,
    })
}
