//! The task of a recorder.

use std::sync::Arc;
use std::time::{Duration, Instant};

use galileo_wire::{Exchange, Hop, Sample, Trace, WallClock};
use sqlx::{Connection, SqliteConnection};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::error::{Error, is_busy, is_constraint};
use crate::ledger::Ledger;
use crate::tables::Inserts;
use crate::{Database, Event, Kind, Record};

/// Records in one transaction at most.
const BATCH: usize = 1_000;
/// How long a record waits for others to be written with.
const FLUSH_AFTER: Duration = Duration::from_millis(500);
/// How often the queue is looked into meanwhile. To be woken by each record would cost the process under load a switch
/// of tasks per record.
const GATHER: Duration = Duration::from_millis(20);
/// How long the last records are kept for a database that others hold locked.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Writer {
    database: Database,
    experiment: String,
    clock: WallClock,
    records: mpsc::Receiver<Record>,
    ledger: Arc<Ledger>,
    stop: CancellationToken,
    /// None before the first batch and after an error: what state that left the connection in does not matter then.
    connection: Option<SqliteConnection>,
    inserts: AllInserts,
    error: Option<Error>,
}

struct AllInserts {
    traces: Inserts<Trace>,
    hops: Inserts<Hop>,
    exchanges: Inserts<Exchange>,
    samples: Inserts<Sample>,
    events: Inserts<Event>,
}

/// A batch, sorted by table.
#[derive(Default)]
struct Batch {
    traces: Vec<Trace>,
    hops: Vec<Hop>,
    exchanges: Vec<Exchange>,
    samples: Vec<Sample>,
    events: Vec<Event>,
}

impl Writer {
    pub(crate) fn new(
        database: Database,
        experiment: &str,
        clock: WallClock,
        records: mpsc::Receiver<Record>,
        ledger: Arc<Ledger>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            database,
            experiment: experiment.to_owned(),
            clock,
            records,
            ledger,
            stop,
            connection: None,
            inserts: AllInserts {
                traces: Inserts::new(),
                hops: Inserts::new(),
                exchanges: Inserts::new(),
                samples: Inserts::new(),
                events: Inserts::new(),
            },
            error: None,
        }
    }

    /// Writes until it is told to stop and the queue is empty. Returns the first error.
    pub(crate) async fn run(mut self) -> Option<Error> {
        let mut batch = Vec::with_capacity(BATCH);
        while self.gather(&mut batch).await {
            self.write(&mut batch).await;
        }
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.close().await
        {
            self.keep(error);
        }
        self.error
    }

    /// Fills the batch until it is full or old enough. False: there is nothing and nothing will come.
    async fn gather(&mut self, batch: &mut Vec<Record>) -> bool {
        tokio::select! {
            received = self.records.recv_many(batch, BATCH) => if received == 0 { return false },
            () = self.stop.cancelled(), if !self.records.is_closed() => self.records.close(),
        }
        let flush_at = Instant::now() + FLUSH_AFTER;
        while batch.len() < BATCH && Instant::now() < flush_at {
            tokio::select! {
                () = tokio::time::sleep(GATHER) => {}
                () = self.stop.cancelled() => {
                    self.records.close();
                    self.records.recv_many(batch, BATCH - batch.len()).await;
                    break;
                }
            }
            while batch.len() < BATCH
                && let Ok(record) = self.records.try_recv()
            {
                batch.push(record);
            }
        }
        true
    }

    /// Writes the batch or, after an error other than a lock, gives it up; it is empty afterwards.
    async fn write(&mut self, batch: &mut Vec<Record>) {
        let mut batch = Batch::of(batch);
        if batch.is_empty() {
            return;
        }
        let mut give_up_at = None;
        loop {
            match self.try_write(&mut batch).await {
                Ok(()) => return,
                // Nothing was taken out of the batch yet. While the run goes on, the queue bounds what this costs.
                Err(error) if is_busy(&error) && !batch.is_empty() => {
                    let now = Instant::now();
                    if self.stop.is_cancelled() && now >= *give_up_at.get_or_insert(now + PATIENCE)
                    {
                        return self.keep(error);
                    }
                    warn!(
                        experiment = self.experiment,
                        "the experiment database is in use by another program; waiting"
                    );
                }
                Err(error) => {
                    self.connection = None;
                    return self.keep(error);
                }
            }
        }
    }

    async fn try_write(&mut self, batch: &mut Batch) -> sqlx::Result<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.database.connect().await?),
        };
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let batch = std::mem::take(batch);
        let counts = batch.counts();
        let (id, offset, all) = (
            self.experiment.as_str(),
            self.clock.offset_ns,
            &self.inserts,
        );
        all.traces
            .insert(&mut transaction, id, offset, batch.traces)
            .await?;
        all.hops
            .insert(&mut transaction, id, offset, batch.hops)
            .await?;
        all.exchanges
            .insert(&mut transaction, id, offset, batch.exchanges)
            .await?;
        all.samples
            .insert(&mut transaction, id, offset, batch.samples)
            .await?;
        all.events
            .insert(&mut transaction, id, offset, batch.events)
            .await?;
        transaction.commit().await?;
        for (kind, count) in counts {
            self.ledger.store(kind, count);
        }
        Ok(())
    }

    fn keep(&mut self, error: sqlx::Error) {
        // The only key that a record refers to is that of its experiment.
        let error = if is_constraint(&error) {
            Error::NotFound(self.experiment.clone())
        } else {
            self.database.error(error)
        };
        warn!(experiment = self.experiment, %error, "records could not be written and are lost");
        self.error.get_or_insert(error);
    }
}

impl Batch {
    fn of(records: &mut Vec<Record>) -> Self {
        let mut batch = Self::default();
        for record in records.drain(..) {
            match record {
                Record::Trace(trace) => batch.traces.push(trace),
                Record::Hop(hop) => batch.hops.push(hop),
                Record::Exchange(exchange) => batch.exchanges.push(exchange),
                Record::Sample(sample) => batch.samples.push(sample),
                Record::Event(event) => batch.events.push(event),
            }
        }
        batch
    }

    fn counts(&self) -> [(Kind, usize); Kind::ALL.len()] {
        [
            (Kind::Trace, self.traces.len()),
            (Kind::Hop, self.hops.len()),
            (Kind::Exchange, self.exchanges.len()),
            (Kind::Sample, self.samples.len()),
            (Kind::Event, self.events.len()),
        ]
    }

    fn is_empty(&self) -> bool {
        self.counts().iter().all(|(_, count)| *count == 0)
    }
}
