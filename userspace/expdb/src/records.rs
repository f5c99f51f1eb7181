//! Reading the records of an experiment: all at once, or one after another so that memory stays bounded.

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt};
use galileo_wire::{Exchange, Hop, Sample, Trace};
use sqlx::sqlite::SqliteRow;
use sqlx::{Sqlite, SqliteExecutor};

use crate::error::Result;
use crate::tables::{Columns, ReadError, Stored};
use crate::{Database, Event};

/// Each pair gives the records in the order in which they were written, which is about that in which they ended. An
/// experiment that does not exist has none. A stream sees the database as it was when it was first polled; while it
/// lives, the write-ahead log grows by what others write.
///
/// Errors of all: [`Error::Content`](crate::Error::Content) if a row is not what this program writes;
/// [`Error::Damaged`](crate::Error::Damaged).
impl Database {
    /// What the clients saw.
    ///
    /// # Errors
    /// See above.
    pub async fn traces(&self, id: &str) -> Result<Vec<Trace>> {
        self.stream_traces(id).try_collect().await
    }

    /// [`Database::traces`], one after another.
    pub fn stream_traces<'e>(
        &'e self,
        id: &str,
    ) -> impl Stream<Item = Result<Trace>> + Send + Unpin + use<'e> {
        self.stream(id)
    }

    /// What the balancer saw.
    ///
    /// # Errors
    /// See above.
    pub async fn hops(&self, id: &str) -> Result<Vec<Hop>> {
        self.stream_hops(id).try_collect().await
    }

    /// [`Database::hops`], one after another.
    pub fn stream_hops<'e>(
        &'e self,
        id: &str,
    ) -> impl Stream<Item = Result<Hop>> + Send + Unpin + use<'e> {
        self.stream(id)
    }

    /// What the kernel saw.
    ///
    /// # Errors
    /// See above.
    pub async fn exchanges(&self, id: &str) -> Result<Vec<Exchange>> {
        self.stream_exchanges(id).try_collect().await
    }

    /// [`Database::exchanges`], one after another.
    pub fn stream_exchanges<'e>(
        &'e self,
        id: &str,
    ) -> impl Stream<Item = Result<Exchange>> + Send + Unpin + use<'e> {
        self.stream(id)
    }

    /// The telemetry.
    ///
    /// # Errors
    /// See above.
    pub async fn samples(&self, id: &str) -> Result<Vec<Sample>> {
        self.stream(id).try_collect().await
    }

    /// The events.
    ///
    /// # Errors
    /// See above.
    pub async fn events(&self, id: &str) -> Result<Vec<Event>> {
        self.stream(id).try_collect().await
    }

    fn stream<'e, T: Stored + 'e>(&'e self, id: &str) -> BoxStream<'e, Result<T>> {
        self.stream_on(&self.pool, id)
    }

    /// The records of a kind on a given connection.
    pub(crate) fn stream_on<'e, T: Stored + 'e>(
        &'e self,
        executor: impl SqliteExecutor<'e> + 'e,
        id: &str,
    ) -> BoxStream<'e, Result<T>> {
        let rows = sqlx::query::<Sqlite>(T::SELECT)
            .bind(id.to_owned())
            .fetch(executor);
        let read = |row: sqlx::Result<SqliteRow>| {
            let row = row.map_err(|error| self.error(error))?;
            T::read(&mut Columns::new(T::TABLE, &row)).map_err(|error| match error {
                ReadError::Sqlite(error) => self.error(error),
                ReadError::Content(error) => error,
            })
        };
        rows.map(read).boxed()
    }
}
