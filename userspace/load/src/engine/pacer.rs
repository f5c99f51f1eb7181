//! The engine's loop: sends what is due, settles what has ended. It owns all of a run's state; nothing is shared but the
//! atomics of [`Progress`].

use std::{io, pin::pin, rc::Rc, sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use galileo_wire::{FailureKind, Outcome, Phase, Trace, clock::boot_ns};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Report,
    flight::{Flight, Landed, Ticket},
    plan::{Intended, Plan},
    timer::BootTimer,
};
use crate::{
    http::{answer::Seen, client::Client, message::Template},
    ids::Names,
    ledger::Ledger,
    progress::{Progress, Stage},
    workload::Workload,
};

/// Requests sent in a row before answers get their turn, when the engine is behind.
const BURST: usize = 256;

/// How long to wait for answers after a cancellation, at most.
const CANCELLED_DRAIN: Duration = Duration::from_secs(1);

pub(super) struct Pacer {
    workload: Workload,
    plan: Plan,
    /// Taken out of the plan and not yet sent.
    next: Option<Intended>,
    timer: BootTimer,
    template: Template,
    client: Client,
    flights: FuturesUnordered<Flight>,
    /// Requests of each client so far, over all phases.
    counters: Vec<u64>,
    warmup: Ledger,
    measured: Ledger,
    connections: u64,
    traces: mpsc::Sender<Trace>,
    progress: Arc<Progress>,
    cancel: CancellationToken,
}

/// Why the sending stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    Planned,
    Cancelled,
}

impl Pacer {
    pub(super) fn new(
        workload: Workload,
        begin_ns: u64,
        timer: BootTimer,
        traces: mpsc::Sender<Trace>,
        progress: Arc<Progress>,
        cancel: CancellationToken,
    ) -> Self {
        let mut plan = Plan::new(&workload, begin_ns);
        Self {
            next: plan.next(),
            plan,
            timer,
            template: Template::new(&workload, Names::new(workload.run_nonce, workload.index)),
            client: Client::new(&workload),
            flights: FuturesUnordered::new(),
            counters: vec![0; workload.clients as usize],
            warmup: Ledger::default(),
            measured: Ledger::default(),
            connections: 0,
            workload,
            traces,
            progress,
            cancel,
        }
    }

    pub(super) async fn run(mut self) -> io::Result<Report> {
        let stop = self.send_all().await?;
        let now_ns = boot_ns();
        let planned_end_ns = self.plan.measured_end_ns().unwrap_or(u64::MAX);
        let measured_end_ns = match stop {
            Stop::Planned => planned_end_ns,
            // Cut at the first request that was not sent, so that the phase holds exactly what it counts.
            Stop::Cancelled => self
                .next
                .map_or(planned_end_ns, |due| due.at_ns)
                .min(now_ns),
        };
        self.progress.enter(Stage::Drain);
        let cancelled = self.drain(stop).await == Stop::Cancelled;
        self.give_up_the_rest();
        self.progress.enter(Stage::Ended);
        Ok(Report {
            measured_start_ns: self.plan.measured_start_ns().min(measured_end_ns),
            measured_end_ns,
            ended_ns: boot_ns(),
            cancelled,
            connections: self.connections,
            warmup: self.warmup,
            measured: self.measured,
        })
    }

    /// Sends until the measured phase is over or the run is cancelled.
    async fn send_all(&mut self) -> io::Result<Stop> {
        let cancel = self.cancel.clone();
        let mut cancelled = pin!(cancel.cancelled());
        loop {
            // An exhausted plan knows its end.
            let wake_ns = self
                .next
                .map(|due| due.at_ns)
                .or_else(|| self.plan.measured_end_ns())
                .unwrap_or_default();
            tokio::select! {
                biased;
                fired = self.timer.until(wake_ns) => {
                    fired?;
                    if self.next.is_none() {
                        return Ok(Stop::Planned);
                    }
                    self.send_what_is_due();
                    self.settle_what_has_ended();
                    if self.next.is_some_and(|due| due.at_ns <= boot_ns()) {
                        // Behind: let the runtime look at the sockets before the next burst, or no answer would ever be seen.
                        tokio::task::yield_now().await;
                    }
                }
                Some(landed) = self.flights.next() => self.settle(landed),
                () = &mut cancelled => return Ok(Stop::Cancelled),
            }
        }
    }

    fn send_what_is_due(&mut self) {
        let now_ns = boot_ns();
        for _ in 0..BURST {
            let Some(due) = self.next.filter(|due| due.at_ns <= now_ns) else {
                return;
            };
            self.next = self.plan.next();
            self.send(due);
        }
    }

    fn send(&mut self, due: Intended) {
        self.progress.enter(if due.phase == Phase::Warmup {
            Stage::Warmup
        } else {
            Stage::Measured
        });
        self.progress.intended.fetch_add(1, Relaxed);
        self.ledger(due.phase).intended += 1;

        let targets = self.workload.targets.len() as u64;
        // A remainder below the number of targets, which is a usize.
        let target = (u64::from(due.client).wrapping_add(due.nth) % targets) as usize;
        let counter = &mut self.counters[due.client as usize];
        *counter += 1;
        let (request_id, message) = self.template.compose(target, due.client, *counter);
        let ticket = Ticket {
            request_id,
            client: due.client,
            phase: due.phase,
            created_ns: due.at_ns,
            dispatched_ns: boot_ns(),
        };
        let seen = Rc::new(Seen::default());
        if self.flights.len() >= self.workload.in_flight {
            self.progress.dropped.fetch_add(1, Relaxed);
            self.conclude(ticket, &seen, Outcome::Dropped, None);
            return;
        }
        self.progress.sent.fetch_add(1, Relaxed);
        self.ledger(due.phase).sent += 1;
        let exchange = self.client.send(target, message, Rc::clone(&seen));
        self.flights.push(Flight::new(ticket, seen, exchange));
        self.progress
            .in_flight
            .store(self.flights.len() as u64, Relaxed);
    }

    fn settle_what_has_ended(&mut self) {
        while let Some(Some(landed)) = self.flights.next().now_or_never() {
            self.settle(landed);
        }
    }

    fn settle(
        &mut self,
        Landed {
            ticket,
            seen,
            mut ended,
        }: Landed,
    ) {
        self.client.take_back(&mut ended);
        self.connections += ended.connections;
        self.ledger(ticket.phase).retried += u64::from(ended.retried);
        let outcome = match (ended.answer, seen.status.get()) {
            (Err(kind), _) => Outcome::Failed(kind),
            (Ok(()), Some(500..)) => Outcome::Failed(FailureKind::Http5xx),
            (Ok(()), Some(400..)) => Outcome::Failed(FailureKind::Http4xx),
            (Ok(()), _) => Outcome::Completed,
        };
        if outcome == Outcome::Completed {
            self.progress.completed.fetch_add(1, Relaxed);
            self.progress
                .saw_response(ended.done_ns.saturating_sub(ticket.created_ns));
        } else {
            self.progress.failed.fetch_add(1, Relaxed);
        }
        self.conclude(ticket, &seen, outcome, Some(ended.done_ns));
        self.progress
            .in_flight
            .store(self.flights.len() as u64, Relaxed);
    }

    /// Waits for answers until the deadline.
    async fn drain(&mut self, mut stop: Stop) -> Stop {
        let cancel = self.cancel.clone();
        let mut cancelled = pin!(cancel.cancelled());
        let planned = match stop {
            Stop::Planned => self.workload.drain,
            Stop::Cancelled => self.workload.drain.min(CANCELLED_DRAIN),
        };
        let mut deadline = pin!(tokio::time::sleep(planned));
        loop {
            tokio::select! {
                biased;
                landed = self.flights.next() => match landed {
                    Some(landed) => self.settle(landed),
                    None => return stop,
                },
                () = &mut deadline => return stop,
                () = &mut cancelled, if stop == Stop::Planned => {
                    stop = Stop::Cancelled;
                    let sooner = deadline.deadline().min(Instant::now() + CANCELLED_DRAIN);
                    deadline.as_mut().reset(sooner);
                }
            }
        }
    }

    fn give_up_the_rest(&mut self) {
        let now_ns = boot_ns();
        for (ticket, seen) in std::mem::take(&mut self.flights)
            .into_iter()
            .filter_map(Flight::give_up)
        {
            self.conclude(ticket, &seen, Outcome::Unfinished, Some(now_ns));
        }
        self.progress.in_flight.store(0, Relaxed);
    }

    /// Counts what became of a request and hands its record on. The channel is never waited for.
    fn conclude(&mut self, ticket: Ticket, seen: &Seen, outcome: Outcome, done_ns: Option<u64>) {
        let late = outcome != Outcome::Dropped && ticket.is_late(seen);
        self.progress.late.fetch_add(u64::from(late), Relaxed);
        let trace = ticket.trace(
            self.workload.index,
            &self.workload.service,
            seen,
            outcome,
            done_ns,
        );
        let phase = trace.phase;
        self.ledger(phase).settle(&trace, late);
        if self.traces.try_send(trace).is_err() {
            self.ledger(phase).traces_lost += 1;
        }
    }

    fn ledger(&mut self, phase: Phase) -> &mut Ledger {
        if phase == Phase::Warmup {
            &mut self.warmup
        } else {
            &mut self.measured
        }
    }
}
