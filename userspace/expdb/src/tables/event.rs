//! Table `events`.

use sqlx::Arguments;
use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;

use super::{Columns, ReadError, Stored};
use crate::Event;

impl Stored for Event {
    const TABLE: &'static str = "events";
    const INSERT: &'static str = "INSERT INTO events (EXP_ID, TIMESTAMP, AT_NS, NAME, VALUE) SELECT ID, (column1 + CLOCK_NS) / 1e9, \
        column1, column2, column3";
    const VALUES: usize = 3;
    const SELECT: &'static str =
        "SELECT AT_NS, NAME, VALUE FROM events WHERE EXP_ID = ?1 ORDER BY rowid";

    fn bind(self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        arguments.add(self.at_ns.cast_signed())?;
        arguments.add(self.name)?;
        arguments.add(self.value)
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            at_ns: columns.u64()?,
            name: columns.next()?,
            value: columns.next()?,
        })
    }
}
