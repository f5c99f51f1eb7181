//! One request, one story: what the client, the balancer and the kernel saw of the same request, by its id.

use std::collections::HashMap;

use galileo_wire::{Exchange, Hop, Outcome, Phase, Role, Trace};

/// What all observers saw of one request.
#[derive(Debug, Clone, Copy)]
pub struct Story<'a> {
    /// What the client saw.
    pub trace: &'a Trace,
    /// The balancer's last attempt; none if the request went straight to the replica or the record is missing.
    pub hop: Option<&'a Hop>,
    /// What the kernel saw at the replica's socket.
    pub exchange: &'a Exchange,
    /// Where the time went.
    pub parts: Parts,
}

/// The response time of a request, split. The parts add up to the time from the intended start to the last byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    /// From the intended time to the first byte written: the load generator was behind.
    pub client_ns: u64,
    /// From the first byte written until the balancer had read the head; 0 without a balancer.
    pub to_balancer_ns: u64,
    /// The rest on the way there and back: the balancer's work, its connection, the kernel's network stack.
    pub between_ns: u64,
    /// From the first byte of the request at the replica's socket to the last byte of its answer there. A wait for a
    /// CPU on the replica is part of it.
    pub replica_ns: u64,
}

impl Parts {
    /// Splits at the stamps in their order. A stamp before the one that precedes it, or after the end, is moved there:
    /// two observers read the clock some microseconds around the same moment, and no part may become negative.
    fn split(
        created: u64,
        sent: u64,
        balancer: Option<u64>,
        start: u64,
        end: u64,
        done: u64,
    ) -> Self {
        let done = done.max(created);
        let sent = sent.clamp(created, done);
        let reached = balancer.map_or(sent, |at| at.clamp(sent, done));
        let start = start.clamp(reached, done);
        let end = end.clamp(start, done);
        Self {
            client_ns: sent - created,
            to_balancer_ns: reached - sent,
            between_ns: (start - reached) + (done - end),
            replica_ns: end - start,
        }
    }

    /// The whole.
    #[must_use]
    pub fn total_ns(&self) -> u64 {
        self.client_ns + self.to_balancer_ns + self.between_ns + self.replica_ns
    }
}

/// The completed requests of the measured phase, matched with what the kernel saw.
#[derive(Debug, Default)]
pub struct Joined<'a> {
    /// Those that match exactly one exchange, in the order of their traces.
    pub stories: Vec<Story<'a>>,
    /// Completed, but no exchange carries their id.
    pub unmatched: Vec<&'a Trace>,
    /// Completed, and more than one exchange of the service asked carries their id: an attempt was repeated.
    pub ambiguous: Vec<&'a Trace>,
    /// Completed, and the one exchange that carries their id may have another request's answer.
    pub uncertain: Vec<&'a Trace>,
}

impl Joined<'_> {
    /// How many match exactly one exchange.
    #[must_use]
    pub fn joined(&self) -> u64 {
        self.stories.len() as u64
    }

    /// How many match exactly one exchange whose answer may be another one's.
    #[must_use]
    pub fn uncertain(&self) -> u64 {
        self.uncertain.len() as u64
    }
}

/// Matches every completed trace of the measured phase with the exchanges as a server of the replicas of the service
/// that it asked, and with the balancer's hops, by request id.
#[must_use]
pub fn join<'a>(traces: &'a [Trace], hops: &'a [Hop], exchanges: &'a [Exchange]) -> Joined<'a> {
    let exchanges = exchanges_by_request(exchanges);
    let hops = hops_by_id(hops);
    let mut joined = Joined::default();
    for trace in traces
        .iter()
        .filter(|trace| trace.phase == Phase::Measured && trace.outcome == Outcome::Completed)
    {
        match exchanges.get(&(trace.request_id.as_str(), trace.service.as_str())) {
            None => joined.unmatched.push(trace),
            Some(Seen::Repeatedly) => joined.ambiguous.push(trace),
            Some(Seen::Once(exchange)) if exchange.answer_is_uncertain() => {
                joined.uncertain.push(trace);
            }
            Some(Seen::Once(exchange)) => {
                joined
                    .stories
                    .push(story(trace, hops.get(trace.request_id.as_str()), exchange));
            }
        }
    }
    joined
}

enum Seen<'a> {
    Once(&'a Exchange),
    Repeatedly,
}

struct Attempts<'a> {
    /// When the balancer first had the request.
    reached_ns: u64,
    last: &'a Hop,
}

/// By request id and service: a service that asks another one on a request's behalf may pass its id on.
fn exchanges_by_request(exchanges: &[Exchange]) -> HashMap<(&str, &str), Seen<'_>> {
    let mut by_request = HashMap::new();
    for exchange in exchanges
        .iter()
        .filter(|exchange| exchange.role == Role::Server && exchange.replica.is_some())
    {
        if let (Some(id), Some(service)) = (&exchange.request_id, &exchange.service) {
            by_request
                .entry((id.as_str(), service.as_str()))
                .and_modify(|seen| *seen = Seen::Repeatedly)
                .or_insert(Seen::Once(exchange));
        }
    }
    by_request
}

fn hops_by_id(hops: &[Hop]) -> HashMap<&str, Attempts<'_>> {
    let mut by_id: HashMap<&str, Attempts<'_>> = HashMap::new();
    for hop in hops {
        if let Some(id) = &hop.request_id {
            by_id
                .entry(id.as_str())
                .and_modify(|attempts| {
                    attempts.reached_ns = attempts.reached_ns.min(hop.start_ns);
                    if hop.attempt > attempts.last.attempt {
                        attempts.last = hop;
                    }
                })
                .or_insert(Attempts {
                    reached_ns: hop.start_ns,
                    last: hop,
                });
        }
    }
    by_id
}

fn story<'a>(
    trace: &'a Trace,
    attempts: Option<&Attempts<'a>>,
    exchange: &'a Exchange,
) -> Story<'a> {
    let sent = trace.sent_ns.unwrap_or(trace.created_ns);
    let done = trace.done_ns.unwrap_or(exchange.end_ns);
    let reached = attempts.map(|attempts| attempts.reached_ns);
    Story {
        trace,
        hop: attempts.map(|attempts| attempts.last),
        exchange,
        parts: Parts::split(
            trace.created_ns,
            sent,
            reached,
            exchange.start_ns,
            exchange.end_ns,
            done,
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_response_time_is_split_at_the_stamps() {
        let parts = Parts::split(100, 110, Some(130), 150, 450, 500);
        assert_eq!(
            parts,
            Parts {
                client_ns: 10,
                to_balancer_ns: 20,
                between_ns: 20 + 50,
                replica_ns: 300
            }
        );
        let direct = Parts::split(100, 110, None, 150, 450, 500);
        assert_eq!(
            direct,
            Parts {
                client_ns: 10,
                to_balancer_ns: 0,
                between_ns: 40 + 50,
                replica_ns: 300
            }
        );
    }

    #[test]
    fn a_stamp_taken_just_after_the_fact_makes_no_part_negative() {
        // The client stamps after its write returned; the kernel saw the segment arrive meanwhile.
        let parts = Parts::split(100, 112, None, 111, 200, 205);
        assert_eq!(
            parts,
            Parts {
                client_ns: 12,
                to_balancer_ns: 0,
                between_ns: 5,
                replica_ns: 88
            }
        );
    }

    proptest! {
        #[test]
        fn parts_add_up_whatever_the_stamps(
            created in 0u64..1_000, sent in 0u64..1_000, balancer in prop::option::of(0u64..1_000),
            start in 0u64..1_000, end in 0u64..1_000, done in 0u64..1_000,
        ) {
            let parts = Parts::split(created, sent, balancer, start, end, done);
            prop_assert_eq!(parts.total_ns(), done.saturating_sub(created));
        }
    }
}
