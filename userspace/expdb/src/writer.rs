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
        // What follows the first has its reason as a rule, comes with each batch, and is counted.
        if self.error.is_none() {
            warn!(experiment = self.experiment, %error, "records could not be written and are lost");
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use galileo_wire::{Sample, WallClock};

    use crate::{Database, Error, Kind, Limits, New, Record};

    const CLOCK: WallClock = WallClock { offset_ns: 0 };

    async fn database() -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(folder.path().join("galileo.db"))
            .await
            .unwrap();
        let (id, name, creator) = ("run".to_owned(), String::new(), String::new());
        let new = New {
            id,
            name,
            creator,
            created_ns: 0,
            clock: CLOCK,
        };
        database.create_experiment(&new).await.unwrap();
        (folder, database)
    }

    fn sample(at_ns: u64) -> Record {
        let (metric, subsystem, node) = ("m".repeat(100), String::new(), "a".to_owned());
        Record::Sample(Sample {
            at_ns,
            metric,
            subsystem,
            node,
            value: 0.5,
        })
    }

    #[tokio::test]
    async fn a_full_disk_is_told_at_the_end_and_what_was_written_before_is_kept() {
        let (_folder, database) = database().await;
        let mut full = database.clone();
        // SQLite reports a file that may not grow as it does a disk that is full.
        full.options = full.options.pragma("max_page_count", "100");

        let recorder = full
            .recorder("run", CLOCK, Limits::default())
            .await
            .unwrap();
        for at_ns in 0..10_000 {
            assert!(recorder.sender().record(sample(at_ns)));
        }
        let written = recorder.finish().await;

        assert!(
            matches!(&written.error, Some(Error::Full(path)) if path == database.path()),
            "{:?}",
            written.error
        );
        assert!(written.samples >= 1_000, "{written:?}");
        assert_eq!(
            written.samples + written.dropped_by_kind[&Kind::Sample],
            10_000
        );
        assert_eq!(
            database.counts("run").await.unwrap().samples,
            written.samples
        );

        let recorder = database
            .recorder("run", CLOCK, Limits::default())
            .await
            .unwrap();
        recorder.sender().record(sample(0));
        let again = recorder.finish().await;
        assert_eq!(
            (again.samples, again.dropped()),
            (1, 0),
            "with room it goes on"
        );
    }

    #[tokio::test]
    async fn a_batch_waits_for_a_lock_that_lasts_longer_than_the_timeout() {
        let (_folder, database) = database().await;
        let mut hasty = database.clone();
        hasty.options = hasty.options.busy_timeout(Duration::from_millis(1));
        let held = database.write().await.unwrap();

        let recorder = hasty
            .recorder("run", CLOCK, Limits::default())
            .await
            .unwrap();
        recorder.sender().record(sample(1));
        let finish = tokio::spawn(recorder.finish());
        // Time for many attempts; how many there are makes no difference to what is stored.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!finish.is_finished(), "it does not give up");
        held.rollback().await.unwrap();
        let written = finish.await.unwrap();

        assert!(written.error.is_none(), "{:?}", written.error);
        assert_eq!((written.samples, written.dropped()), (1, 0));
    }
}
