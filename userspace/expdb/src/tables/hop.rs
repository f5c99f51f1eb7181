//! Table `hops`.

use galileo_wire::Hop;
use sqlx::Arguments;
use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;

use super::{Columns, ReadError, Stored};

impl Stored for Hop {
    const TABLE: &'static str = "hops";
    const INSERT: &'static str = "INSERT INTO hops (EXP_ID, REQUEST_ID, SERVICE, REPLICA, ATTEMPT, START_NS, CONNECT_NS, FIRST_BYTE_NS, \
        END_NS, STATUS, CAUSE) SELECT ID, column1, column2, column3, column4, column5, column6, column7, \
        column8, column9, column10";
    const VALUES: usize = 10;
    const SELECT: &'static str = "SELECT REQUEST_ID, SERVICE, REPLICA, ATTEMPT, START_NS, CONNECT_NS, FIRST_BYTE_NS, END_NS, \
        STATUS, CAUSE FROM hops WHERE EXP_ID = ?1 ORDER BY rowid";

    fn bind(self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        arguments.add(self.request_id)?;
        arguments.add(self.service)?;
        arguments.add(self.replica)?;
        arguments.add(self.attempt)?;
        arguments.add(self.start_ns.cast_signed())?;
        arguments.add(self.connect_ns.map(u64::cast_signed))?;
        arguments.add(self.first_byte_ns.map(u64::cast_signed))?;
        arguments.add(self.end_ns.cast_signed())?;
        arguments.add(self.status)?;
        arguments.add(self.cause)
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            request_id: columns.next()?,
            service: columns.next()?,
            replica: columns.next()?,
            attempt: columns.next()?,
            start_ns: columns.u64()?,
            connect_ns: columns.optional_u64()?,
            first_byte_ns: columns.optional_u64()?,
            end_ns: columns.u64()?,
            status: columns.next()?,
            cause: columns.next()?,
        })
    }
}
