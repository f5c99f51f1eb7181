//! A request on its way.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use galileo_wire::{Outcome, Phase, Trace};

use crate::{
    http::{answer::Seen, client::Ended},
    ledger::LATE_NS,
};

/// Who a request is, apart from what becomes of it.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) request_id: String,
    pub(super) client: u32,
    pub(super) phase: Phase,
    /// Intended time.
    pub(super) created_ns: u64,
    /// When the engine turned to it.
    pub(super) dispatched_ns: u64,
}

/// A request being carried out. Unlike a bare future it can be asked who it is when it is given up.
pub(super) struct Flight {
    /// Taken when it ends.
    ticket: Option<Ticket>,
    seen: Rc<Seen>,
    exchange: Pin<Box<dyn Future<Output = Ended>>>,
}

/// A request that came to its end by itself.
pub(super) struct Landed {
    pub(super) ticket: Ticket,
    pub(super) seen: Rc<Seen>,
    pub(super) ended: Ended,
}

impl Flight {
    pub(super) fn new(
        ticket: Ticket,
        seen: Rc<Seen>,
        exchange: impl Future<Output = Ended> + 'static,
    ) -> Self {
        Self {
            ticket: Some(ticket),
            seen,
            exchange: Box::pin(exchange),
        }
    }

    /// Breaks it off and tells what was seen of it; none if it had ended already.
    pub(super) fn give_up(self) -> Option<(Ticket, Rc<Seen>)> {
        Some((self.ticket?, self.seen))
    }
}

impl Future for Flight {
    type Output = Landed;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Landed> {
        let ended = ready!(self.exchange.as_mut().poll(context));
        let ticket = self
            .ticket
            .take()
            .expect("a future is not polled again after it was ready");
        Poll::Ready(Landed {
            ticket,
            seen: Rc::clone(&self.seen),
            ended,
        })
    }
}

impl Ticket {
    /// Whether the request was sent late.
    pub(super) fn is_late(&self, seen: &Seen) -> bool {
        seen.sent_ns.get().unwrap_or(self.dispatched_ns) > self.created_ns.saturating_add(LATE_NS)
    }

    /// The record of the request.
    pub(super) fn trace(
        self,
        workload: u16,
        service: &str,
        seen: &Seen,
        outcome: Outcome,
        done_ns: Option<u64>,
    ) -> Trace {
        Trace {
            request_id: self.request_id,
            client: format!("{workload}:{service}:{}", self.client),
            service: service.to_owned(),
            workload: workload.into(),
            phase: self.phase,
            created_ns: self.created_ns,
            sent_ns: seen.sent_ns.get(),
            first_byte_ns: seen.first_byte_ns.get(),
            done_ns,
            outcome,
            status: seen.status.get(),
            server: seen.server.take(),
            response_bytes: seen.body_bytes.get(),
        }
    }
}
