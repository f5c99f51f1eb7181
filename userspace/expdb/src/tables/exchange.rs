//! Table `exchanges`.

use galileo_wire::{Exchange, Role};
use sqlx::Arguments;
use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;

use super::trace::phase;
use super::{Columns, ReadError, Stored};

impl Stored for Exchange {
    const TABLE: &'static str = "exchanges";
    const INSERT: &'static str = "INSERT INTO exchanges (EXP_ID, ROLE, SERVICE, REPLICA, CGROUP, PHASE, METHOD, PATH, STATUS, LOCAL_ADDR, \
        LOCAL_PORT, REMOTE_ADDR, REMOTE_PORT, START_NS, REQUEST_END_NS, FIRST_BYTE_NS, END_NS, REQUEST_BYTES, \
        REQUEST_HEAD_BYTES, RESPONSE_BYTES, RESPONSE_HEAD_BYTES, REQUEST_ID, FLAGS) SELECT ID, column1, column2, \
        column3, column4, column5, column6, column7, column8, column9, column10, column11, column12, column13, \
        column14, column15, column16, column17, column18, column19, column20, column21, column22";
    const VALUES: usize = 22;
    const SELECT: &'static str = "SELECT ROLE, SERVICE, REPLICA, CGROUP, PHASE, METHOD, PATH, STATUS, LOCAL_ADDR, LOCAL_PORT, \
        REMOTE_ADDR, REMOTE_PORT, START_NS, REQUEST_END_NS, FIRST_BYTE_NS, END_NS, REQUEST_BYTES, REQUEST_HEAD_BYTES, \
        RESPONSE_BYTES, RESPONSE_HEAD_BYTES, REQUEST_ID, FLAGS \
        FROM exchanges WHERE EXP_ID = ?1 ORDER BY rowid";

    fn bind(self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        let flags = if self.flags.is_empty() {
            None
        } else {
            Some(serde_json::to_string(&self.flags)?)
        };
        arguments.add(self.role.as_str())?;
        arguments.add(self.service)?;
        arguments.add(self.replica)?;
        arguments.add(self.cgroup)?;
        arguments.add(self.phase.as_str())?;
        arguments.add(self.method)?;
        arguments.add(self.path)?;
        arguments.add(self.status)?;
        arguments.add(self.local_addr.to_string())?;
        arguments.add(self.local_port)?;
        arguments.add(self.remote_addr.to_string())?;
        arguments.add(self.remote_port)?;
        arguments.add(self.start_ns.cast_signed())?;
        arguments.add(self.request_end_ns.map(u64::cast_signed))?;
        arguments.add(self.first_byte_ns.cast_signed())?;
        arguments.add(self.end_ns.cast_signed())?;
        arguments.add(self.request_bytes.cast_signed())?;
        arguments.add(self.request_head_bytes.map(u64::cast_signed))?;
        arguments.add(self.response_bytes.cast_signed())?;
        arguments.add(self.response_head_bytes.map(u64::cast_signed))?;
        arguments.add(self.request_id)?;
        arguments.add(flags)
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            role: columns.parse("ROLE", role)?,
            service: columns.next()?,
            replica: columns.next()?,
            cgroup: columns.next()?,
            phase: columns.parse("PHASE", phase)?,
            method: columns.next()?,
            path: columns.next()?,
            status: columns.next()?,
            local_addr: columns.parse("LOCAL_ADDR", |text| text.parse().ok())?,
            local_port: columns.next()?,
            remote_addr: columns.parse("REMOTE_ADDR", |text| text.parse().ok())?,
            remote_port: columns.next()?,
            start_ns: columns.u64()?,
            request_end_ns: columns.optional_u64()?,
            first_byte_ns: columns.u64()?,
            end_ns: columns.u64()?,
            request_bytes: columns.u64()?,
            request_head_bytes: columns.optional_u64()?,
            response_bytes: columns.u64()?,
            response_head_bytes: columns.optional_u64()?,
            request_id: columns.next()?,
            flags: columns
                .optional_parse("FLAGS", |text| serde_json::from_str(text).ok())?
                .unwrap_or_default(),
        })
    }
}

fn role(word: &str) -> Option<Role> {
    [Role::Server, Role::Client]
        .into_iter()
        .find(|role| role.as_str() == word)
}
