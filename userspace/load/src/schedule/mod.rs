//! When which client is due to send: pure, lazy, and the same for the same input wherever and however often it runs.
//!
//! A [`Schedule`] is an iterator of [`Due`] in time order. It knows nothing of clocks, threads or sockets, and needs memory
//! in proportion to the clients, not to the requests.

mod constant;
mod poisson;

use std::{fmt, time::Duration};

use galileo_wire::Phase;

use self::{constant::Constant, poisson::Poisson};
use crate::rate::Rate;

/// The arrival process of a workload. The rate is the workload's total, however many clients it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Evenly spaced: request k is due at k/rate and belongs to client k mod n.
    Constant(Rate),
    /// Each of the n clients has a Poisson stream of its own with rate/n; together they are one of the whole rate.
    Poisson(Rate),
}

impl Arrival {
    /// The workload's total rate.
    #[must_use]
    pub fn rate(self) -> Rate {
        match self {
            Self::Constant(rate) | Self::Poisson(rate) => rate,
        }
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(rate) => write!(f, "constant {rate}"),
            Self::Poisson(rate) => write!(f, "poisson {rate}"),
        }
    }
}

/// How far a schedule goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The half-open interval from 0 to this: 30/s for 30 s is 900 requests, the first at 0 and none at 30 s.
    Duration(Duration),
    /// So many requests. The schedule ends when the next one would have been due.
    Requests(u64),
}

/// One request that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Due {
    /// Nanoseconds from the schedule's start.
    pub offset_ns: u64,
    /// The client it belongs to, from 0.
    pub client: u32,
    /// Which of this client's requests it is, from 0.
    pub nth: u64,
}

/// The requests of one phase of a workload in time order; ties go to the lower client index.
#[derive(Debug)]
pub struct Schedule {
    stream: Stream,
    extent: Extent,
    issued: u64,
    end_ns: Option<u64>,
}

/// The process without an end.
#[derive(Debug)]
enum Stream {
    Constant(Constant),
    Poisson(Poisson),
}

impl Stream {
    fn next(&mut self) -> Due {
        match self {
            Self::Constant(stream) => stream.next(),
            Self::Poisson(stream) => stream.next(),
        }
    }
}

impl Schedule {
    /// The schedule of one phase. Phases draw from random streams of their own, so that the measured phase is the same with
    /// and without a warm-up. No clients count as one.
    #[must_use]
    pub fn new(arrival: Arrival, clients: u32, extent: Extent, seed: u64, phase: Phase) -> Self {
        let clients = clients.max(1);
        let stream = match arrival {
            Arrival::Constant(rate) => Stream::Constant(Constant::new(rate, clients)),
            Arrival::Poisson(rate) => Stream::Poisson(Poisson::new(rate, clients, seed, phase)),
        };
        Self {
            stream,
            extent,
            issued: 0,
            end_ns: None,
        }
    }

    /// Where the schedule ends, in nanoseconds from its start: known from the beginning if it is a duration, else once the
    /// last request was taken and [`next`](Iterator::next) has answered `None`.
    #[must_use]
    pub fn end_ns(&self) -> Option<u64> {
        match self.extent {
            Extent::Duration(duration) => Some(nanoseconds(duration)),
            Extent::Requests(_) => self.end_ns,
        }
    }
}

impl Iterator for Schedule {
    type Item = Due;

    fn next(&mut self) -> Option<Due> {
        if self.end_ns.is_some() {
            return None;
        }
        let due = self.stream.next();
        let over = match self.extent {
            Extent::Duration(duration) => due.offset_ns >= nanoseconds(duration),
            Extent::Requests(requests) => self.issued >= requests,
        };
        if over {
            self.end_ns = Some(due.offset_ns);
            return None;
        }
        self.issued += 1;
        Some(due)
    }
}

impl std::iter::FusedIterator for Schedule {}

/// Whole nanoseconds; 584 years stand for everything longer.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
