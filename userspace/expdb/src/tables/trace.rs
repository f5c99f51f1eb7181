//! Table `traces`.

use galileo_wire::{FailureKind, Outcome, Phase, Trace};
use sqlx::Arguments;
use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteArguments;

use super::{Columns, ReadError, Stored};

impl Stored for Trace {
    const TABLE: &'static str = "traces";
    const INSERT: &'static str = "INSERT INTO traces (EXP_ID, REQUEST_ID, CLIENT, SERVICE, WORKLOAD, PHASE, CREATED, CREATED_NS, SENT, \
        SENT_NS, FIRST_BYTE_NS, DONE, DONE_NS, OUTCOME, FAILURE, STATUS, HTTP_STATUS, SERVER, RESPONSE_BYTES) \
        SELECT ID, column1, column2, column3, column4, column5, (column6 + CLOCK_NS) / 1e9, column6, \
        coalesce((column7 + CLOCK_NS) / 1e9, -1), column7, column8, (column9 + CLOCK_NS) / 1e9, column9, \
        column10, column11, column12, column13, column14, column15";
    const VALUES: usize = 15;
    const SELECT: &'static str = "SELECT REQUEST_ID, CLIENT, SERVICE, WORKLOAD, PHASE, CREATED_NS, SENT_NS, FIRST_BYTE_NS, \
        DONE_NS, OUTCOME, FAILURE, HTTP_STATUS, SERVER, RESPONSE_BYTES FROM traces WHERE EXP_ID = ?1 ORDER BY rowid";

    fn bind(self, arguments: &mut SqliteArguments) -> Result<(), BoxDynError> {
        let status = original_status(&self);
        let (outcome, failure) = outcome_words(self.outcome);
        arguments.add(self.request_id)?;
        arguments.add(self.client)?;
        arguments.add(self.service)?;
        arguments.add(self.workload)?;
        arguments.add(self.phase.as_str())?;
        arguments.add(self.created_ns.cast_signed())?;
        arguments.add(self.sent_ns.map(u64::cast_signed))?;
        arguments.add(self.first_byte_ns.map(u64::cast_signed))?;
        arguments.add(self.done_ns.map(u64::cast_signed))?;
        arguments.add(outcome)?;
        arguments.add(failure)?;
        arguments.add(status)?;
        arguments.add(self.status)?;
        arguments.add(self.server)?;
        arguments.add(self.response_bytes.cast_signed())
    }

    fn read(columns: &mut Columns<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            request_id: columns.next()?,
            client: columns.next()?,
            service: columns.next()?,
            workload: columns.next()?,
            phase: columns.parse("PHASE", phase)?,
            created_ns: columns.u64()?,
            sent_ns: columns.optional_u64()?,
            first_byte_ns: columns.optional_u64()?,
            done_ns: columns.optional_u64()?,
            outcome: read_outcome(columns)?,
            status: columns.next()?,
            server: columns.next()?,
            response_bytes: columns.u64()?,
        })
    }
}

/// The status as the original programs mean it: that of a whole answer, else -1.
fn original_status(trace: &Trace) -> i32 {
    match trace.outcome {
        Outcome::Completed | Outcome::Failed(FailureKind::Http4xx | FailureKind::Http5xx) => {
            trace.status.map_or(-1, i32::from)
        }
        Outcome::Failed(_) | Outcome::Unfinished | Outcome::Dropped => -1,
    }
}

/// The words for an outcome: what became of the request, and why if it failed.
pub(crate) fn outcome_words(outcome: Outcome) -> (&'static str, Option<&'static str>) {
    match outcome {
        Outcome::Completed => ("completed", None),
        Outcome::Failed(kind) => ("failed", Some(kind.as_str())),
        Outcome::Unfinished => ("unfinished", None),
        Outcome::Dropped => ("dropped", None),
    }
}

fn read_outcome(columns: &mut Columns<'_>) -> Result<Outcome, ReadError> {
    let outcome: String = columns.next()?;
    let failure = columns.optional_parse("FAILURE", failure)?;
    match (outcome.as_str(), failure) {
        ("completed", None) => Ok(Outcome::Completed),
        ("failed", Some(kind)) => Ok(Outcome::Failed(kind)),
        ("unfinished", None) => Ok(Outcome::Unfinished),
        ("dropped", None) => Ok(Outcome::Dropped),
        _ => Err(columns.unknown("OUTCOME", &outcome)),
    }
}

/// The phase with this word.
pub(super) fn phase(word: &str) -> Option<Phase> {
    let all = [Phase::Setup, Phase::Warmup, Phase::Measured, Phase::Drain];
    all.into_iter().find(|phase| phase.as_str() == word)
}

fn failure(word: &str) -> Option<FailureKind> {
    use FailureKind::{Closed, Connect, Http4xx, Http5xx, Protocol, Reset, Timeout};
    [Connect, Timeout, Reset, Closed, Protocol, Http4xx, Http5xx]
        .into_iter()
        .find(|kind| kind.as_str() == word)
}
