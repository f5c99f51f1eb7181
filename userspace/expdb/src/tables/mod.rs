//! The tables of records: how each kind is written as rows and read back, the same.

mod event;
mod exchange;
mod hop;
mod insert;
mod read;
mod sample;
mod trace;

use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;

pub(crate) use insert::Inserts;
pub(crate) use read::{Columns, ReadError};
pub(crate) use trace::outcome_words;

/// A record that is one row of a table.
pub(crate) trait Stored: Sized + Send + Unpin {
    /// Its table.
    const TABLE: &'static str;
    /// `INSERT INTO table (columns) SELECT expressions`. In the expressions, `column1` … are the values of the record, `ID`
    /// is the experiment's id and `CLOCK_NS` what makes unix time of a boot time.
    const INSERT: &'static str;
    /// How many values the record has.
    const VALUES: usize;
    /// Reads the records of experiment `?1` in the order they were written.
    const SELECT: &'static str;

    /// Hands over `column1` …, in that order.
    fn bind(self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError>;

    /// Makes the record from the columns of [`Stored::SELECT`].
    fn read(columns: &mut Columns<'_>) -> Result<Self, ReadError>;
}
