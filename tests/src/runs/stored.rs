//! What a run left in the database.

use std::{collections::BTreeMap, path::Path};

use galileo_expdb::{Counts, Database, Status};
use galileo_wire::{Capture, Exchange, Hop, Phase, Role, Trace, capture::PhaseWindow};

/// All of a run that is looked at here.
#[derive(Debug)]
pub struct Stored {
    /// How it ended.
    pub status: Status,
    /// What was counted; none if nothing was measured.
    pub capture: Option<Capture>,
    /// What the clients saw.
    pub traces: Vec<Trace>,
    /// What the balancer did.
    pub hops: Vec<Hop>,
    /// What the kernel saw.
    pub exchanges: Vec<Exchange>,
}

impl Stored {
    /// Reads it.
    ///
    /// # Panics
    ///
    /// If the database cannot be read.
    #[must_use]
    pub fn of(database: &Path, id: &str) -> Self {
        read(database, async |database| {
            Ok(Self {
                status: database.experiment(id).await?.status,
                capture: database.get_metadata(id).await?,
                traces: database.traces(id).await?,
                hops: database.hops(id).await?,
                exchanges: database.exchanges(id).await?,
            })
        })
    }

    /// What was counted.
    ///
    /// # Panics
    ///
    /// If nothing was measured.
    #[must_use]
    pub fn capture(&self) -> &Capture {
        self.capture.as_ref().expect("the run has measured")
    }

    /// When the measured phase began and ended.
    ///
    /// # Panics
    ///
    /// If it did not take place.
    #[must_use]
    pub fn measured(&self) -> PhaseWindow {
        let window = self.capture().window(Phase::Measured);
        window.expect("the run has measured")
    }

    /// When the requests of the measured phase were due, counted from its begin, by workload.
    #[must_use]
    pub fn due(&self) -> Vec<(u32, u64)> {
        let begin = self.measured().start_ns;
        let mut due: Vec<_> = self
            .traces
            .iter()
            .filter(|trace| trace.phase == Phase::Measured)
            .map(|trace| (trace.workload, trace.created_ns - begin))
            .collect();
        due.sort_unstable();
        due
    }

    /// How many requests that were due in the measured phase a replica answered.
    ///
    /// Traces belong to the phase in which a request was due, exchanges to that in which it came to the replica. On a machine that
    /// is busy at that moment an edge may lie between the two.
    ///
    /// # Panics
    ///
    /// If an exchange belongs to another phase than that in which it began, or to another than its request and no edge lies between when
    /// that was due and its answer.
    #[must_use]
    pub fn answered_as_due(&self, replica: &str) -> usize {
        let window = self.measured();
        let traces = self.traces.iter();
        let traces: BTreeMap<&str, &Trace> = traces.map(|it| (&*it.request_id, it)).collect();
        let answered = self.served(replica).filter_map(|exchange| {
            let trace = traces.get(exchange.request_id.as_deref()?)?;
            Some((exchange, trace))
        });
        let due = answered.filter(|(exchange, trace)| {
            let began = (window.start_ns..window.end_ns).contains(&exchange.start_ns);
            assert_eq!(exchange.phase == Phase::Measured, began, "{exchange:?}");
            let is_due = trace.phase == Phase::Measured;
            if is_due != (exchange.phase == Phase::Measured) {
                let edge_ns = if is_due {
                    window.end_ns
                } else {
                    window.start_ns
                };
                let answer_ns = trace.first_byte_ns.or(trace.done_ns);
                let between = trace.created_ns..=answer_ns.unwrap_or(u64::MAX);
                assert!(between.contains(&edge_ns), "{exchange:?} of {trace:?}");
            }
            is_due
        });
        due.count()
    }

    /// What a replica answered, as the kernel saw it.
    pub fn served<'s>(&'s self, replica: &'s str) -> impl Iterator<Item = &'s Exchange> {
        self.exchanges.iter().filter(move |exchange| {
            exchange.role == Role::Server && exchange.replica.as_deref() == Some(replica)
        })
    }
}

/// How many records of a run are stored so far; none while it has not begun.
#[must_use]
pub fn counts(database: &Path, id: &str) -> Option<Counts> {
    if !database.exists() {
        return None;
    }
    Some(read(database, async |database| database.counts(id).await))
}

fn read<T>(path: &Path, work: impl AsyncFnOnce(&Database) -> Result<T, galileo_expdb::Error>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    runtime.block_on(async {
        let database = Database::open(path).await.expect("it is a database");
        let result = work(&database).await.expect("it can be read");
        database.close().await;
        result
    })
}
