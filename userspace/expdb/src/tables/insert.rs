//! Inserts of many rows by one statement.

use std::marker::PhantomData;
use std::sync::Arc;

use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments, AssertSqlSafe, SqliteConnection};

use super::Stored;

/// The largest statement has 2 to this power rows.
const LARGEST: usize = 9;
/// As many parameters as SQLite takes in a statement (`SQLITE_MAX_VARIABLE_NUMBER`).
const MOST_PARAMETERS: usize = 32_766;

/// Statements that insert 1, 2, 4, … 512 records. Any number is a sum of these, so that a handful of statements serves all
/// batches and the connection keeps them prepared.
#[derive(Debug)]
pub(crate) struct Inserts<T> {
    statements: [Arc<str>; LARGEST + 1],
    of: PhantomData<fn(T)>,
}

impl<T: Stored> Inserts<T> {
    pub(crate) fn new() -> Self {
        const { assert!(2 + (T::VALUES << LARGEST) <= MOST_PARAMETERS) };
        Self {
            statements: std::array::from_fn(|power| statement::<T>(1 << power).into()),
            of: PhantomData,
        }
    }

    /// Writes the records on a connection that is in a transaction.
    pub(crate) async fn insert(
        &self,
        connection: &mut SqliteConnection,
        experiment: &str,
        clock_offset_ns: u64,
        records: Vec<T>,
    ) -> sqlx::Result<()> {
        let mut records = records.into_iter();
        while let Some(power) = records.len().checked_ilog2() {
            let power = LARGEST.min(power as usize);
            let mut arguments = SqliteArguments::default();
            arguments.reserve(2 + (T::VALUES << power), 0);
            arguments.add(experiment).map_err(sqlx::Error::Encode)?;
            arguments
                .add(clock_offset_ns.cast_signed())
                .map_err(sqlx::Error::Encode)?;
            for record in records.by_ref().take(1 << power) {
                record.bind(&mut arguments).map_err(sqlx::Error::Encode)?;
            }
            let sql = AssertSqlSafe(Arc::clone(&self.statements[power]));
            sqlx::query_with(sql, arguments)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}

/// The parameters have no numbers (`?1`), by which the run's own could be named in every row: SQLite finds the name of a
/// parameter by looking through all of them, the driver asks for each, and so the time grows with the square of the rows
/// (seen: 40 µs a record instead of 5).
fn statement<T: Stored>(rows: usize) -> String {
    let row = format!("({})", vec!["?"; T::VALUES].join(", "));
    let rows = vec![row; rows].join(", ");
    format!(
        "WITH run (ID, CLOCK_NS) AS (VALUES (?, ?)) {} FROM run CROSS JOIN (VALUES {rows})",
        T::INSERT
    )
}
