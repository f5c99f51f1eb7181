//! The recorder: many hands give records, one task writes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use galileo_wire::WallClock;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::{Error, Result};
use crate::ledger::Ledger;
use crate::writer::Writer;
use crate::{Database, Kind, Limits, Record};

/// Writes the records of one experiment, in batches, from a bounded queue.
///
/// Nobody who gives a record waits: if the queue is full the record (the newest) is dropped and counted. Exchanges
/// without a request id use no more than three quarters of the queue, so that a flood of foreign traffic does not
/// push out what the results are made from.
///
/// Dropping a recorder lets its task write what waits and end; only [`Recorder::finish`] tells what became of it.
#[derive(Debug)]
pub struct Recorder {
    sender: RecordSender,
    ledger: Arc<Ledger>,
    task: JoinHandle<Option<Error>>,
    stop: DropGuard,
}

/// Gives records to a [`Recorder`]. Clones are cheap.
#[derive(Debug, Clone)]
pub struct RecordSender {
    queue: mpsc::Sender<Record>,
    ledger: Arc<Ledger>,
    /// Exchanges without a request id that may still be stored.
    foreign_left: Arc<AtomicU64>,
}

/// What became of the records of a recorder: given = stored + not stored + dropped, of each kind.
#[derive(Debug)]
pub struct Written {
    /// Stored traces.
    pub traces: u64,
    /// Stored hops.
    pub hops: u64,
    /// Stored exchanges.
    pub exchanges: u64,
    /// Stored samples.
    pub samples: u64,
    /// Stored events.
    pub events: u64,
    /// Records that were lost, because the queue was full or the database could not be written; all kinds are listed.
    pub dropped_by_kind: BTreeMap<Kind, u64>,
    /// Exchanges without a request id beyond [`Limits::exchanges`]: no loss.
    pub not_stored: u64,
    /// The first error of writing, if there was one; the records of that batch are among the dropped.
    pub error: Option<Error>,
}

impl Written {
    /// All records that were lost.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped_by_kind.values().sum()
    }
}

impl Database {
    /// Starts a recorder for an experiment; `clock` converts its times. It has a connection of its own and ends with the
    /// runtime at the latest.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such experiment.
    pub async fn recorder(&self, id: &str, clock: WallClock, limits: Limits) -> Result<Recorder> {
        self.experiment(id).await?;
        let (queue, records) = mpsc::channel(limits.queue.max(1));
        let ledger = Arc::new(Ledger::default());
        let stop = CancellationToken::new();
        let writer = Writer::new(
            self.clone(),
            id,
            clock,
            records,
            Arc::clone(&ledger),
            stop.clone(),
        );
        Ok(Recorder {
            sender: RecordSender {
                queue,
                ledger: Arc::clone(&ledger),
                foreign_left: Arc::new(AtomicU64::new(limits.exchanges)),
            },
            ledger,
            task: tokio::spawn(writer.run()),
            stop: stop.drop_guard(),
        })
    }
}

impl Recorder {
    /// A hand to give records with.
    #[must_use]
    pub fn sender(&self) -> RecordSender {
        self.sender.clone()
    }

    /// Takes no more records, writes what waits and tells what became of all. If the database is in use by another
    /// program, it waits for that up to half a minute.
    pub async fn finish(self) -> Written {
        let Self {
            sender,
            ledger,
            task,
            stop,
        } = self;
        stop.disarm().cancel();
        let error = task
            .await
            .unwrap_or_else(|death| Some(Error::Recorder(death.to_string())));
        drop(sender);
        Written {
            traces: ledger.stored(Kind::Trace),
            hops: ledger.stored(Kind::Hop),
            exchanges: ledger.stored(Kind::Exchange),
            samples: ledger.stored(Kind::Sample),
            events: ledger.stored(Kind::Event),
            dropped_by_kind: ledger.dropped(),
            not_stored: ledger.not_stored(),
            error,
        }
    }
}

impl RecordSender {
    /// Gives a record; never waits. False: it was dropped, and counted as such. True: it will be written, or is an
    /// exchange beyond the limit, which is counted too.
    pub fn record(&self, record: Record) -> bool {
        let kind = record.kind();
        self.ledger.give(kind);
        if !matches!(&record, Record::Exchange(exchange) if exchange.request_id.is_none()) {
            return self.queue.try_send(record).is_ok();
        }

        if self
            .foreign_left
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
            .is_err()
        {
            self.ledger.leave_out();
            return true;
        }
        let has_room = self.queue.capacity() > self.queue.max_capacity() / 4;
        let given = has_room && self.queue.try_send(record).is_ok();
        if !given {
            self.foreign_left.fetch_add(1, Relaxed);
        }
        given
    }
}
