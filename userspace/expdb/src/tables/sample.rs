//! Table `telemetry`.

use galileo_wire::Sample;
use sqlx::Arguments;
use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;

use super::{Columns, ReadError, Stored};

impl Stored for Sample {
    const TABLE: &'static str = "telemetry";
    const INSERT: &'static str = "INSERT INTO telemetry (EXP_ID, TIMESTAMP, AT_NS, METRIC, SUBSYSTEM, NODE, VALUE) SELECT ID, (column1 + \
        CLOCK_NS) / 1e9, column1, column2, column3, column4, column5";
    const VALUES: usize = 5;
    const SELECT: &'static str = "SELECT AT_NS, METRIC, SUBSYSTEM, NODE, VALUE FROM telemetry WHERE EXP_ID = ?1 ORDER BY rowid";

    fn bind(self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        arguments.add(self.at_ns.cast_signed())?;
        arguments.add(self.metric)?;
        arguments.add(self.subsystem)?;
        arguments.add(self.node)?;
        arguments.add(self.value)
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            at_ns: columns.u64()?,
            metric: columns.next()?,
            subsystem: columns.next()?,
            node: columns.next()?,
            // SQLite stores what is not a number as NULL.
            value: columns.next::<Option<f64>>()?.unwrap_or(f64::NAN),
        })
    }
}
